import pytest
import torch

from flipbook.nn.attention import PATTERNS, attend, attend_dense, kernels, pattern_mask, softmax_attention

GRID = (5, 6)       # frames, cells


def qkv(batch=2, heads=3, dim=8, dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    return [torch.randn(batch, GRID[0] * GRID[1], heads, dim, generator=g).to(dtype) for _ in range(3)]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_folded_path_of_every_pattern_equals_one_dense_masked_product(pattern, causal):
    if causal and pattern in ("spatial", "identity"):
        pytest.skip("a pattern within one frame has nothing to narrow")
    frame_attends = torch.ones(GRID[0], GRID[0]).tril().bool() if causal else None
    q, k, v = qkv()
    torch.testing.assert_close(attend(q, k, v, GRID, pattern, frame_attends), attend_dense(q, k, v, GRID, pattern, frame_attends), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("pattern", "pairs"), [("full", 900), ("spatial", 180), ("temporal", 150), ("identity", 30)])
def test_a_pattern_reads_as_many_pairs_as_its_formula_says(pattern, pairs):
    assert int(pattern_mask(GRID, pattern).sum()) == pairs


@pytest.mark.parametrize("pattern", ["full", "temporal"])
def test_under_a_causal_mask_later_frames_do_not_change_earlier_ones(pattern):
    q, k, v = qkv()
    causal = torch.ones(GRID[0], GRID[0]).tril().bool()
    before = attend(q, k, v, GRID, pattern, causal)
    for x in (q, k, v):
        x[:, 3 * GRID[1] :] += 1.0
    after = attend(q, k, v, GRID, pattern, causal)
    torch.testing.assert_close(before[:, : 3 * GRID[1]], after[:, : 3 * GRID[1]], atol=0, rtol=0)
    assert not torch.equal(before[:, 3 * GRID[1] :], after[:, 3 * GRID[1] :])


def test_full_attention_on_one_frame_is_spatial_attention():
    q, k, v = qkv()
    torch.testing.assert_close(attend(q, k, v, (1, 30), "full"), attend(q, k, v, (1, 30), "spatial"), atol=0, rtol=0)


def test_an_unknown_pattern_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'diagonal' is unknown.*temporal"):
        attend(*qkv(), GRID, "diagonal")


@pytest.mark.parametrize("keys", [16, 64, 300])
def test_the_cpu_policy_agrees_with_the_fused_kernel(keys, monkeypatch):
    g = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(2, n, 2, 16, generator=g) for n in (300, keys, keys))
    mask = torch.rand(2, 1, 300, keys, generator=g) > 0.3
    reference = torch.nn.functional.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)), attn_mask=mask).transpose(1, 2)
    monkeypatch.setattr(kernels, "SHORT", 10_000)          # plain products whatever the length
    torch.testing.assert_close(softmax_attention(q, k, v, mask), reference, atol=2e-6, rtol=1e-5)
    in_bf16 = softmax_attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), mask)
    torch.testing.assert_close(in_bf16.float(), reference, atol=0.03, rtol=0.03)


def test_keys_that_the_mask_hides_do_not_matter():
    q, k, v = qkv()
    mask = torch.ones(2, 1, 1, 30, dtype=torch.bool)
    mask[..., 20:] = False
    short = softmax_attention(q, k[:, :20], v[:, :20])
    torch.testing.assert_close(softmax_attention(q, k, v, mask), short, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("short", "dtype", "tolerance"), [(64, torch.float32, 1e-6), (0, torch.float32, 1e-6), (0, torch.bfloat16, 0.02)])
def test_a_row_with_log_m_added_to_its_logit_counts_as_m_rows(monkeypatch, short, dtype, tolerance):
    q, k, v = qkv(dtype=dtype)
    bias = torch.zeros(2, 1, 1, 30)
    bias[1, ..., -1] = torch.tensor(41.0).log()
    many = [torch.cat([x[1:], x[1:, -1:].expand(-1, 40, -1, -1)], dim=1) for x in (k, v)]
    monkeypatch.setattr(kernels, "SHORT", short)
    got = softmax_attention(q, k, v, bias)
    torch.testing.assert_close(got[:1], softmax_attention(q[:1], k[:1], v[:1]), atol=tolerance, rtol=0)
    torch.testing.assert_close(got[1:], softmax_attention(q[1:], *many), atol=tolerance, rtol=0)
