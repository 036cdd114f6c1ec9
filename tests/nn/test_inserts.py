"""Each kind of insert by itself: closed forms, and what makes it special."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from flipbook.nn.attention import attend_frames
from flipbook.nn.clip import Clip, GroupNorm, TimeConv
from flipbook.nn.inserts import (
    FrameAdaptor,
    Insert,
    InsertTable,
    PluggedInsert,
    TemporalAttention,
    TemporalConv,
    insert_table,
)
from flipbook.nn.inserts.alpha_mixer import AlphaMixer
from flipbook.nn.inserts.host import Host
from flipbook.nn.positions import BucketBias, DistanceTables, interleaved_sinusoid

HOST = Host(channels=16, heads=2, groups=4, eps=1e-5, time_dim=8, token_dim=None)


def clip(frames=4, batch=2, **known):
    return Clip(batch, frames, torch.zeros(batch, 1, 8), torch.arange(float(frames))[None], **known)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def plugged(kind, **how):
    torch.manual_seed(0)
    return PluggedInsert(Insert(name="it", at="after_resnet", kind=kind, **how), HOST)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("frames", [1, 2, 4])
def test_a_convolution_over_time_is_the_three_dimensional_one_with_and_without_a_mask(kernel, frames):
    torch.manual_seed(0)
    conv, x = TimeConv(16, 8, kernel), draw(2, frames, 3, 2, 16)
    expected = F.conv3d(x.permute(0, 4, 1, 2, 3), conv.weight[..., None, None], conv.bias, padding=(kernel // 2, 0, 0)).permute(0, 2, 3, 4, 1)
    torch.testing.assert_close(conv(x, clip(frames)), expected, atol=1e-5, rtol=1e-5)
    everyone = torch.ones(1, frames, frames, dtype=torch.bool)
    torch.testing.assert_close(conv(x, clip(frames, attends=everyone)), expected, atol=1e-5, rtol=1e-5)


def test_frames_before_an_image_see_zeros_as_at_the_end_of_a_clip():
    torch.manual_seed(0)
    conv, x = TimeConv(16, 16), draw(2, 4, 2, 2, 16)
    alike = torch.eye(4, dtype=torch.bool)[None].clone()
    alike[:, :2, :2] = True
    out = conv(x, clip(attends=alike))
    torch.testing.assert_close(out[:, :2], conv(x[:, :2], clip(2)))
    torch.testing.assert_close(out[:, 2:3], conv(x[:, 2:3], clip(1)))


@pytest.mark.parametrize("over", ["frame", "clip"])
def test_a_norm_spans_what_it_says_and_leaves_images_out(over):
    norm, x = GroupNorm(4, 16, over=over), draw(2, 4, 3, 3, 16) * 3 + 1
    norm.weight.data, norm.bias.data = draw(16), draw(16, seed=1)
    as_torch = lambda y: F.group_norm(y.permute(0, 4, 1, 2, 3), 4, norm.weight, norm.bias).permute(0, 2, 3, 4, 1)
    whole = as_torch(x) if over == "clip" else as_torch(x.reshape(8, 1, 3, 3, 16)).reshape(x.shape)
    torch.testing.assert_close(norm(x, clip()), whole, atol=1e-5, rtol=1e-5)
    still = torch.tensor([[False, False, True, False], [False, False, False, True]])
    out = norm(x, clip(still=still))
    if over == "clip":
        torch.testing.assert_close(out[0, [0, 1, 3]], as_torch(x[:1, [0, 1, 3]])[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(out[0, 2], as_torch(x[:1, 2:3])[0, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_over_time_is_softmax_written_out(fused, masked, monkeypatch):
    from flipbook.nn.attention import kernels

    q, k, v = (draw(2, 4, 3, 2, 8, seed=i) for i in range(3))
    attends = torch.ones(1, 4, 4).tril().bool() if masked else None
    monkeypatch.setattr(kernels, "SHORT", 0 if fused else 64)
    logits = torch.einsum("bishd,bjshd->bshij", q, k) / 8**0.5
    if masked:
        logits = logits.masked_fill(~attends[:, None, None], float("-inf"))
    expected = torch.einsum("bshij,bjshd->bishd", logits.softmax(-1), v)
    torch.testing.assert_close(attend_frames(q, k, v, attends), expected, atol=1e-5, rtol=1e-5)


def test_distance_tables_are_shaws_formula_and_clip_far_distances():
    torch.manual_seed(0)
    q, k, v = (draw(1, 5, 2, 1, 4, seed=i) for i in range(3))
    tables = DistanceTables(4, reach=2)
    keys, values = tables(torch.arange(5.0)[None])
    out = attend_frames(q, k, v, tables=(keys, values))
    for i in range(5):
        places = [max(-2, min(2, j - i)) + 2 for j in range(5)]
        logits = torch.stack([(q[0, i, 0, 0] * (k[0, j, 0, 0] + tables.keys[p])).sum() / 2 for j, p in enumerate(places)])
        expected = sum(w * (v[0, j, 0, 0] + tables.values[places[j]]) for j, w in enumerate(logits.softmax(0)))
        torch.testing.assert_close(out[0, i, 0, 0], expected, atol=1e-5, rtol=1e-5)
    assert tables(torch.arange(40.0)[None])[0].isfinite().all()


def test_buckets_hold_one_near_distance_each_then_widen_and_know_the_direction():
    bias = BucketBias(heads=2, num_buckets=32, max_distance=32)
    near, far = bias.buckets(torch.arange(8)), bias.buckets(torch.tensor([8, 9, 16, 31, 32, 500]))
    assert near.tolist() == [0, *range(17, 24)]
    assert bias.buckets(-torch.arange(8)).tolist() == list(range(8))
    assert far.tolist() == sorted(far.tolist())
    assert far[-1] == far[-2] == 31
    assert bias(torch.arange(4.0)[None]).shape == (1, 2, 4, 4)


def test_sinusoidal_places_are_real_numbers():
    table = interleaved_sinusoid(torch.tensor([[0.0, 1.0, 2.5]]), 6)[0]
    torch.testing.assert_close(table[2, 0], torch.tensor(2.5).sin())
    torch.testing.assert_close(table[2, 3], (torch.tensor(2.5) / 10_000 ** (2 / 6)).cos())


@pytest.mark.parametrize("position", ["bucket", "shaw", "rope", "sinusoidal"])
def test_each_kind_of_position_tells_the_order_by_itself_and_without_any_frames_may_be_shuffled(position):
    x, order = draw(2, 4, 2, 2, 16), torch.tensor([2, 0, 3, 1])
    layer = plugged(TemporalAttention(positions=(position,)), start="plain")
    assert (layer(x[:, order], clip()) - layer(x, clip())[:, order]).abs().max() > 1e-3
    later = replace(clip(), index=torch.arange(4.0)[None] + 5)
    same = torch.allclose(layer(x, later), layer(x, clip()), atol=1e-5)
    assert same == (position != "sinusoidal")                # only distances count, but for places in a table
    blind = plugged(TemporalAttention(), start="plain")
    torch.testing.assert_close(blind(x[:, order], clip()), blind(x, clip())[:, order])


def test_the_mask_of_a_layer_narrows_what_it_reads():
    x = draw(2, 4, 2, 2, 16)
    for mask, seen in (("full", [0, 1, 2, 3]), ("causal", [2, 3]), ("identity", [2])):
        layer = plugged(TemporalAttention(mask=mask), start="plain")
        changed = x.clone()
        changed[:, 2] = draw(2, 2, 2, 16, seed=1)
        moved = (layer(changed, clip()) - layer(x, clip())).abs().amax((0, 2, 3, 4)) > 1e-6
        assert moved.nonzero().flatten().tolist() == seen, mask


def test_a_mask_on_the_weights_is_a_triangle_times_the_softmax():
    """Their sums fall short of one in all frames but the last, which reads all; a frame that the clip itself keeps apart stays unread."""
    q, k, v = (draw(2, 4, 3, 2, 8, seed=i) for i in range(3))
    triangle, apart = torch.ones(1, 4, 4).tril().bool(), torch.ones(1, 4, 4, dtype=torch.bool)
    apart[:, 1:, 0] = apart[:, 0, 1:] = False
    for attends in (None, apart):
        logits = torch.einsum("bishd,bjshd->bshij", q, k) / 8**0.5
        logits = logits if attends is None else logits.masked_fill(~attends[:, None, None], float("-inf"))
        expected = torch.einsum("bshij,bjshd->bishd", logits.softmax(-1) * triangle[:, None, None], v)
        torch.testing.assert_close(attend_frames(q, k, v, attends, kept=triangle), expected, atol=1e-5, rtol=1e-5)
    sums = attend_frames(q, k, torch.ones_like(v), kept=triangle)
    assert (sums[:, :3] < 0.999).all()
    torch.testing.assert_close(sums[:, 3], torch.ones_like(sums[:, 3]))
    x, read = draw(2, 4, 2, 2, 16), {}
    for masks in ("weights", "logits"):
        layer = plugged(TemporalAttention(heads=1, mask="causal", masks=masks), start="plain")
        read[masks] = layer(x, clip()) - x - layer.branch.attention.out.bias
    torch.testing.assert_close(read["weights"][:, 3], read["logits"][:, 3], atol=1e-5, rtol=1e-5)
    first, alone = read["weights"][:, 0], read["logits"][:, 0]              # of the first frame itself is read, and that by a share
    share = (first * alone).sum(-1, keepdim=True) / alone.square().sum(-1, keepdim=True)
    torch.testing.assert_close(first, share * alone, atol=1e-5, rtol=1e-5)
    assert (share > 0).all()
    assert (share < 0.9).all()
    with pytest.raises(ValueError, match="masks='sums'"):
        TemporalAttention(masks="sums")


def test_a_mixer_at_one_is_the_image_whatever_the_branch_and_can_come_back_from_beyond():
    mixer = AlphaMixer("clamp")
    image, other = draw(2, 3), draw(2, 3, seed=1)
    assert torch.equal(mixer(image, other), image)
    mixer.p.data.fill_(1.7)
    assert torch.equal(mixer(image, other), image)
    mixer(image, other).sum().backward()
    assert mixer.p.grad.any()
    assert AlphaMixer("sigmoid").alpha.item() == pytest.approx(0.6225, abs=1e-4)


def test_images_may_skip_a_layer_or_pass_it_alone():
    x, still = draw(2, 4, 2, 2, 16), torch.tensor([[False, False, False, True]]).expand(2, 4)
    alike = (~(still[:, :, None] | still[:, None, :])) | torch.eye(4, dtype=torch.bool)
    known = clip(still=still, attends=alike)
    for bypass in ("skip", "alone"):
        layer = plugged(TemporalAttention(), start="plain", bypass=bypass)
        expected = x[:, 3:] if bypass == "skip" else layer(x[:, 3:], clip(1))
        torch.testing.assert_close(layer(x, known)[:, 3:], expected, atol=1e-6, rtol=1e-6)


def test_default_values_in_place_of_dirac_break_the_identity():
    x = draw(2, 4, 2, 2, 16)
    assert torch.equal(plugged(TemporalConv(layout="dirac"))(x, clip()), x)
    assert (plugged(TemporalConv(layout="dirac"), start="plain")(x, clip()) - x).abs().max() > 0.1


def test_zero_queries_keys_and_values_learn_through_the_distance_tables_and_not_without_them():
    """Base systems, check E: with q, k, v and the output at zero, every gradient but the table's way in is exactly zero."""
    alive = {}
    for positions in (("shaw",), ()):
        layer, x = plugged(TemporalAttention(positions=positions), start="zero_qkv"), draw(2, 4, 2, 2, 16)
        optimiser = torch.optim.SGD(layer.parameters(), lr=1.0)
        for _ in range(3):
            optimiser.zero_grad()
            (layer(x, clip()) - draw(2, 4, 2, 2, 16, seed=1)).square().sum().backward()
            optimiser.step()
        alive[positions] = {name.split(".")[-2] for name, p in layer.named_parameters() if name.endswith("weight") and p.grad.any()}
    assert {"v", "out"} <= alive[("shaw",)]
    assert "v" not in alive[()]
    assert "out" not in alive[()]


def test_a_frame_adaptor_has_two_numbers_per_frame_and_channel_and_stretches_only_when_told():
    layer = plugged(FrameAdaptor(num_frames=4))
    assert sum(p.numel() for p in layer.parameters()) == 2 * 16 * 4
    with pytest.raises(ValueError, match=r"num_frames=7.*hold 4 frames.*Try num_frames=4"):
        layer(draw(2, 7, 2, 2, 16), clip(7))
    stretched = plugged(FrameAdaptor(num_frames=4, resample="linear"))
    stretched.branch.shift.data = torch.arange(4.0)[:, None].expand(4, 16)
    out = stretched(torch.zeros(2, 7, 1, 1, 16), clip(7))
    torch.testing.assert_close(out[0, :, 0, 0, 0], torch.arange(7) / 2)


def test_rows_that_cannot_stand_in_a_table_are_refused():
    row = Insert(name="a", at="after_resnet", kind=TemporalConv())
    with pytest.raises(ValueError, match="share a name"):
        InsertTable((row, row))
    with pytest.raises(ValueError, match=r"'behind_conv' is unknown.*after_conv_in"):
        replace(row, at="behind_conv")
    with pytest.raises(ValueError, match=r"name 'a\.b' becomes part of weight names"):
        replace(row, name="a.b")
    with pytest.raises(ValueError, match="layout 'k9' is unknown"):
        TemporalConv(layout="k9")
    with pytest.raises(ValueError, match="kind 'spell' of an insert is unknown"):
        insert_table([{"name": "a", "at": "after_resnet", "kind": {"kind": "spell"}}])
    with pytest.raises(ValueError, match="16 channels with heads=3"):
        plugged(TemporalAttention(heads=3))
