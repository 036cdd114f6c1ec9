from math import prod

import pytest
import torch

from flipbook.nn.attention import (
    PATTERNS,
    SplitHeads,
    Window,
    apart,
    attend,
    attend_dense,
    band,
    block_causal,
    causal,
    first_frame,
    folded,
    kernels,
    pattern_mask,
    softmax_attention,
    sparse_causal,
    teacher_forcing,
)
from flipbook.nn.attention.flex import attend_flex
from flipbook.nn.attention.folded import cheaper_runs

GRID = (5, 6)       # frames, cells


def qkv(batch=2, heads=3, dim=8, dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    return [torch.randn(batch, GRID[0] * GRID[1], heads, dim, generator=g).to(dtype) for _ in range(3)]


@pytest.mark.parametrize("narrowed", [False, True])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_folded_path_of_every_pattern_equals_one_dense_masked_product(pattern, narrowed):
    if narrowed and pattern in ("spatial", "identity"):
        pytest.skip("a pattern within one frame has nothing to narrow")
    frame_attends = band(GRID[0], GRID[0]) if narrowed else None
    q, k, v = qkv()
    torch.testing.assert_close(attend(q, k, v, GRID, pattern, frame_attends), attend_dense(q, k, v, GRID, pattern, frame_attends), atol=1e-6, rtol=1e-5)


CUBE = (5, 4, 6)     # frames, rows, columns
MASKS = {
    "causal": causal(5),
    "band": band(5, 2),
    "block-causal": block_causal(5, 2),
    "block-causal, window and sink": block_causal(5, 1, window=2, sink=1),
    "apart": apart(5),
    "per sample": torch.stack([causal(5), torch.ones(5, 5, dtype=torch.bool)]),
}
BOXES = [Window(1, 4, 6), Window(5, 2, 3), Window(2, 3, 4), Window(9, 9, 9), Window(1, 1, 1)]


def cube(heads=4):
    g = torch.Generator().manual_seed(3)
    return [torch.randn(2, prod(CUBE), heads, 8, generator=g) for _ in range(3)]


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("pattern", ["full", "temporal", Window(3, 2, 3), SplitHeads(("full", "temporal"))], ids=str)
def test_every_pattern_under_every_mask_of_frames_equals_the_dense_product(pattern, mask):
    q, k, v = cube()
    folded, dense = (f(q, k, v, CUBE, pattern, MASKS[mask]) for f in (attend, attend_dense))
    torch.testing.assert_close(folded, dense, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("window", BOXES, ids=str)
def test_windows_whole_or_cut_off_at_the_ends_equal_the_dense_product(window):
    q, k, v = cube()
    torch.testing.assert_close(attend(q, k, v, CUBE, window), attend_dense(q, k, v, CUBE, window), atol=1e-6, rtol=1e-5)


def test_a_window_as_large_as_a_frame_is_spatial_and_one_cell_wide_is_temporal():
    q, k, v = cube()
    for window, name in ((Window(1, 4, 6), "spatial"), (Window(5, 1, 1), "temporal"), (Window(5, 4, 6), "full"), (Window(1, 1, 1), "identity")):
        assert torch.equal(pattern_mask(CUBE, window), pattern_mask(CUBE, name))
        torch.testing.assert_close(attend(q, k, v, CUBE, window), attend(q, k, v, CUBE, name), atol=1e-6, rtol=1e-5)


def test_split_heads_answer_each_in_their_own_pattern():
    q, k, v = cube()
    split = SplitHeads(("spatial", "temporal"))
    out = attend(q, k, v, CUBE, split)
    torch.testing.assert_close(out, attend_dense(q, k, v, CUBE, split), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(out[:, :, :2], attend(q, k, v, CUBE, "spatial")[:, :, :2], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(out[:, :, 2:], attend(q, k, v, CUBE, "temporal")[:, :, 2:], atol=1e-6, rtol=1e-5)


RAGGED = torch.tensor([[4, 0, 0], [1, 1, 2], [2, 1, 0], [3, 3, 3], [0, 1, 4]])


@pytest.mark.parametrize("table", [sparse_causal(5), first_frame(5), torch.tensor([[0, 0, 3]] * 5), RAGGED])
def test_gathered_frames_equal_the_dense_product_and_a_frame_named_twice_counts_twice(table):
    q, k, v = cube()
    gathered = attend(q, k, v, CUBE, kv_frames=table)
    torch.testing.assert_close(gathered, attend_dense(q, k, v, CUBE, kv_frames=table), atol=1e-6, rtol=1e-5)


def test_a_mask_of_frames_and_a_table_of_the_same_frames_agree():
    q, k, v = cube()
    whole = torch.arange(5).expand(5, 5)
    torch.testing.assert_close(attend(q, k, v, CUBE, kv_frames=whole), attend(q, k, v, CUBE), atol=1e-6, rtol=1e-5)
    sparse = torch.zeros(5, 5, dtype=torch.bool).scatter(1, sparse_causal(5), True)
    torch.testing.assert_close(attend(q, k, v, CUBE, kv_frames=sparse_causal(5)), attend(q, k, v, CUBE, frame_attends=sparse), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(attend(q, k, v, CUBE, kv_frames=torch.arange(5)[:, None]), attend(q, k, v, CUBE, "spatial"), atol=1e-6, rtol=1e-5)


def test_every_frame_reads_the_first_one_and_the_one_before_it():
    assert sparse_causal(4).tolist() == [[0, 0], [0, 0], [0, 1], [0, 2]]
    assert first_frame(3).tolist() == [[0], [0], [0]]


def test_divided_attention_connects_all_tokens_by_two_layers():
    space, time = (pattern_mask(CUBE, name).float() for name in ("spatial", "temporal"))
    assert int((space @ time).count_nonzero()) == prod(CUBE) ** 2


def test_chunks_see_themselves_earlier_chunks_in_reach_and_the_first_frames():
    assert block_causal(5, 2).int().tolist() == [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert block_causal(6, 2, window=1, sink=1)[5].int().tolist() == [1, 0, 0, 0, 1, 1]
    assert not block_causal(6, 2, window=1, sink=5)[0, 2:].any()            # a sink is no window on the future
    assert band(5, 1)[3].int().tolist() == [0, 0, 1, 1, 0]
    assert torch.equal(block_causal(5, 1), causal(5))
    assert torch.equal(band(5, 0), apart(5))


def test_teacher_forcing_answers_each_noisy_chunk_as_a_rollout_would():
    """Queries of the noisy chunk c over clean chunks before it and itself, one chunk at a time."""
    chunk, frames, cells = 2, 4, 3
    g = torch.Generator().manual_seed(5)
    q, k, v = (torch.randn(1, 2 * frames * cells, 2, 8, generator=g) for _ in range(3))
    both = attend(q, k, v, (2 * frames, cells), frame_attends=teacher_forcing(frames, chunk)).unflatten(1, (2, frames, cells))
    q, k, v = (x.unflatten(1, (2, frames, cells)) for x in (q, k, v))
    for start in range(0, frames, chunk):
        now = slice(start, start + chunk)
        keys = [torch.cat([x[:, 0, :start], x[:, 1, now]], dim=1).flatten(1, 2) for x in (k, v)]
        torch.testing.assert_close(both[:, 1, now].flatten(1, 2), softmax_attention(q[:, 1, now].flatten(1, 2), *keys), atol=1e-6, rtol=1e-5)
    clean = attend(*(x[:, 0].flatten(1, 2) for x in (q, k, v)), (frames, cells), frame_attends=block_causal(frames, chunk))
    torch.testing.assert_close(both[:, 0].flatten(1, 2), clean, atol=1e-6, rtol=1e-5)


def test_a_mask_of_frames_is_answered_run_by_run_only_where_that_costs_less():
    assert cheaper_runs(block_causal(6, 3), cells=64, batch_heads=2) == [(0, 3, (0, 1, 2)), (3, 6, (0, 1, 2, 3, 4, 5))]
    assert cheaper_runs(block_causal(6, 3), cells=2, batch_heads=2) is None             # two calls cost more than they save
    assert cheaper_runs(torch.ones(6, 6, dtype=torch.bool), cells=2, batch_heads=1) is None
    assert len(cheaper_runs(causal(6)[None], cells=256, batch_heads=8)) == 6
    assert cheaper_runs(torch.stack([causal(6), apart(6)]), cells=256, batch_heads=8) is None


@pytest.mark.parametrize("mask", MASKS)
def test_run_by_run_is_the_masked_product(mask, monkeypatch):
    q, k, v = cube()
    monkeypatch.setattr(folded, "CALL", 0)
    torch.testing.assert_close(attend(q, k, v, CUBE, "full", MASKS[mask]), attend_dense(q, k, v, CUBE, "full", MASKS[mask]), atol=1e-6, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("mask", [causal(4), band(4, 1)])
def test_the_block_sparse_kernel_for_gpus_equals_the_dense_product(mask):
    g = torch.Generator().manual_seed(6)
    q, k, v = (torch.randn(1, 4 * 40, 2, 16, generator=g) for _ in range(3))
    torch.testing.assert_close(attend_flex(q, k, v, 40, mask), attend_dense(q, k, v, (4, 40), "full", mask), atol=1e-5, rtol=1e-5)


def test_what_cannot_be_read_is_refused_by_name():
    q, k, v = cube()
    with pytest.raises(ValueError, match=r"rows and columns.*\(frames, rows, columns\)"):
        attend(q, k, v, (5, 24), Window(1, 2, 2))
    with pytest.raises(ValueError, match="at least one frame"):
        Window(0, 2, 2)
    with pytest.raises(ValueError, match="4 heads cannot be shared equally by 3"):
        attend(q, k, v, CUBE, SplitHeads(("spatial", "temporal", "full")))
    with pytest.raises(ValueError, match="a table of frames says all"):
        attend(q, k, v, CUBE, "spatial", kv_frames=first_frame(5))
    with pytest.raises(ValueError, match=r"Try shape \(5, m\)"):
        attend(q, k, v, CUBE, kv_frames=first_frame(4))
    with pytest.raises(ValueError, match="no frame at all"):
        attend(q, k, v, CUBE, frame_attends=torch.zeros(5, 5, dtype=torch.bool))


@pytest.mark.parametrize(("pattern", "pairs"), [("full", 900), ("spatial", 180), ("temporal", 150), ("identity", 30)])
def test_a_pattern_reads_as_many_pairs_as_its_formula_says(pattern, pairs):
    """T^2 S^2, T S^2, S T^2 and N pairs."""
    assert int(pattern_mask(GRID, pattern).sum()) == pairs


@pytest.mark.parametrize("pattern", ["full", "temporal"])
def test_under_a_causal_mask_later_frames_do_not_change_earlier_ones(pattern):
    q, k, v = qkv()
    before = attend(q, k, v, GRID, pattern, causal(GRID[0]))
    for x in (q, k, v):
        x[:, 3 * GRID[1] :] += 1.0
    after = attend(q, k, v, GRID, pattern, causal(GRID[0]))
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


@pytest.mark.parametrize(
    ("short", "dtype", "tolerance"),
    [(64, torch.float32, 1e-6), (0, torch.float32, 1e-6), (64, torch.bfloat16, 0.02), (0, torch.bfloat16, 0.02)],
)
def test_a_row_with_log_m_added_to_its_logit_counts_as_m_rows(monkeypatch, short, dtype, tolerance):
    q, k, v = qkv(dtype=dtype)
    bias = torch.zeros(2, 1, 1, 30)
    bias[1, ..., -1] = torch.tensor(41.0).log()
    many = [torch.cat([x[1:], x[1:, -1:].expand(-1, 40, -1, -1)], dim=1) for x in (k, v)]
    monkeypatch.setattr(kernels, "SHORT", short)
    got = softmax_attention(q, k, v, bias)
    torch.testing.assert_close(got[:1], softmax_attention(q[:1], k[:1], v[:1]), atol=tolerance, rtol=0)
    torch.testing.assert_close(got[1:], softmax_attention(q[1:], *many), atol=tolerance, rtol=0)
