"""A transformer that is told the time in another way: what each code can and cannot see, against plain sums over tokens."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from flipbook.denoisers.dit import DiT, DiTConfig, grid_coordinates
from flipbook.nn.doors import Doors
from flipbook.nn.kv_cache import KVCache
from flipbook.nn.positions import slopes
from flipbook.nn.rope import rotary_table, rotate, split_axes
from flipbook.nn.time_codes import CODES, ON_LOGITS, FrameCode, Placed
from flipbook.nn.xpos import fading

SMALL = DiTConfig(in_channels=4, text_dim=16, dim=48, depth=2, num_heads=2, max_frames=8)
T = 5


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def awake(code, **changes):
    """Every weight drawn, so that whatever a code adds is heard."""
    torch.manual_seed(0)
    net = DiT(replace(SMALL, time_code=code, **changes))
    with torch.no_grad():
        for p in net.parameters():
            if not p.any():
                p.normal_(std=0.3)
    return net.eval()


@torch.no_grad()
def answer(net, index, *, order=None, **how):
    x = draw(1, 4, T, 4, 4)
    if order is not None:
        x = x[:, :, order]
    return net(x, torch.full((1, T), 0.5), Doors(tokens=draw(1, 3, 16)), frame_index=torch.tensor([index]), **how)


@pytest.mark.parametrize("code", CODES)
def test_codes_of_distance_do_not_know_where_a_clip_stands_and_codes_of_place_do(code):
    net, index = awake(code), [0.0, 1.0, 2.0, 3.0, 4.0]
    moved = answer(net, [i + 2.5 for i in index])
    same = torch.allclose(moved, answer(net, index), atol=1e-4)
    assert same == (code not in ("learned", "sinusoidal"))


@pytest.mark.parametrize("code", CODES)
def test_every_code_but_none_knows_the_order_of_frames(code):
    net, order = awake(code), [2, 0, 4, 1, 3]
    straight, mixed = answer(net, [0.0, 1.0, 2.0, 3.0, 4.0]), answer(net, [0.0, 1.0, 2.0, 3.0, 4.0], order=order)
    assert torch.allclose(mixed, straight[:, :, order], atol=1e-4) == (code == "none")


@pytest.mark.parametrize("code", CODES)
def test_every_code_but_none_tells_a_clip_from_its_reverse(code):
    """Only so can a sentence decide which way a thing moves."""
    net, order = awake(code), [4, 3, 2, 1, 0]
    forth, back = answer(net, [0.0, 1.0, 2.0, 3.0, 4.0]), answer(net, [0.0, 1.0, 2.0, 3.0, 4.0], order=order)
    assert torch.allclose(back, forth[:, :, order], atol=1e-4) == (code == "none")


@pytest.mark.parametrize("code", CODES)
def test_frames_that_are_parted_do_not_touch_each_other_whatever_the_code(code):
    net, index = awake(code), torch.arange(float(T))[None]
    x = draw(1, 4, T, 4, 4)
    other = x.clone()
    other[:, :, 4] += 1.0
    attends = torch.ones(T, T, dtype=torch.bool)
    attends[:4, 4] = attends[4, :4] = False
    told = {"frame_index": index, "frame_attends": attends}
    with torch.no_grad():
        one, two = (net(clip, torch.full((1, T), 0.5), Doors(tokens=draw(1, 3, 16)), **told) for clip in (x, other))
    torch.testing.assert_close(one[:, :, :4], two[:, :, :4], atol=1e-5, rtol=0)
    assert not torch.allclose(one[:, :, 4], two[:, :, 4], atol=1e-3)


def test_alibi_subtracts_slope_times_distance_of_frames_from_every_pair_of_their_tokens_that_a_head_reads():
    q, k, v = (draw(1, T * 4, 2, 24, seed=n) for n in range(3))
    index = torch.tensor([[0.0, 1.0, 2.5, 3.0, 7.0]])
    coords = grid_coordinates(index, 2, 2)
    placed = FrameCode("alibi", 48, 2, 8).placed(coords, index)
    turns = rotary_table(coords * torch.tensor([0.0, 1.0, 1.0]), 24)
    logits = torch.einsum("bihd,bjhd->bhij", rotate(q, turns), rotate(k, turns)) / math.sqrt(24)
    frame = index[0].repeat_interleave(4)
    later = frame - frame[:, None]                                          # than query i stands key j
    logits = logits - slopes(1)[0] * later.abs()
    logits[:, 0, later > 0] = logits[:, 1, later < 0] = float("-inf")      # one head for what was, one for what comes
    expected = torch.einsum("bhij,bjhd->bihd", logits.softmax(-1), v)
    torch.testing.assert_close(placed.attend(q, k, v, (T, 4), "full", None), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("index", [[0.0, 1.0, 2.5, 3.0, 7.0], [3.0, 0.0, 7.0, 1.0, 2.5]])
def test_xpos_fades_each_pair_of_turning_channels_with_the_distance_of_frames_in_whatever_order(index):
    q, k, v = (draw(1, T * 4, 2, 24, seed=n) for n in range(3))
    index = torch.tensor([index])
    coords = grid_coordinates(index, 2, 2)
    turns, turning = rotary_table(coords, 24), split_axes(24)[0]
    a, b = rotate(q, turns), rotate(k, turns)
    frame = index[0].repeat_interleave(4)
    zeta = torch.cat([fading(turning), torch.ones((24 - turning) // 2, dtype=torch.float64)]).repeat(2)
    fade = zeta ** ((frame[:, None] - frame).abs() / 4.0)[..., None]                     # (N, N, d)
    logits = torch.einsum("bihd,bjhd,ijd->bhij", a.double(), b.double(), fade) / math.sqrt(24)
    expected = torch.einsum("bhij,bjhd->bihd", logits.softmax(-1), v.double()).float()
    got = FrameCode("xpos", 48, 2, 8).placed(coords, index).attend(q, k, v, (T, 4), "full", None)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(got, Placed(turns).attend(q, k, v, (T, 4), "full", None), atol=1e-3)


@pytest.mark.parametrize("code", CODES)
def test_a_network_with_rotary_places_is_loaded_by_every_other_and_a_fresh_code_adds_nothing(code):
    plain = awake("rotary")
    other = DiT(replace(SMALL, time_code=code))
    missing, unexpected = other.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith("code.") for name in missing)
    untold = DiT(replace(SMALL, time_code="none"))
    untold.load_state_dict(plain.state_dict())
    index = [0.0, 1.0, 2.0, 3.0, 4.0]
    if code in ("buckets", "sinusoidal"):
        torch.testing.assert_close(answer(other, index), answer(untold, index), atol=1e-5, rtol=0)


def test_what_cannot_be_is_refused():
    for code in ON_LOGITS:
        with pytest.raises(ValueError, match=r"patterns=\('spatial', 'temporal'\).*act on the logits of all tokens at once"):
            replace(SMALL, time_code=code, patterns=("spatial", "temporal"))
    with pytest.raises(ValueError, match="it is one of rotary, xpos"):
        replace(SMALL, time_code="clock")
    with pytest.raises(ValueError, match="has no past to read"):
        answer(awake("alibi"), [0.0, 1.0, 2.0, 3.0, 4.0], cache=KVCache(4))
    with pytest.raises(ValueError, match="learned places reach from 0 to 7"):
        answer(awake("learned"), [0.0, 2.0, 4.0, 6.0, 8.0])
