import math

import pytest
import torch

from flipbook.nn.clip import Clip
from flipbook.nn.inserts.temporal_attention import AttentionOverTime, FrameAttention
from flipbook.nn.positions import (
    BucketBias,
    DistanceTables,
    LearnedPlaces,
    distance_slopes,
    distances,
    frame_rotation,
    interleaved_sinusoid,
    interpolated,
    ntk_base,
    one_sided_slopes,
    slopes,
)
from flipbook.nn.rope import rotary_table, rotate
from flipbook.nn.xpos import attend_fading, fading, fading_logits

PLACES = torch.tensor([[0.0, 1.0, 2.5, 4.0, 7.0, 11.0]], dtype=torch.float64)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def logits(code, index):
    """Logits (heads, T, T) of one cell under a code, from the same queries and keys."""
    q, k = (draw(1, 6, 1, 2, 8, seed=i) for i in range(2))
    if code == "xpos":
        return fading_logits(q, k, index)[0, 0]
    if code == "rope":
        q, k = (rotate(x, tuple(part[:, :, None] for part in frame_rotation(index, 8))) for x in (q, k))
    if code == "rope of (t, y, x)":
        cos, sin = rotary_table(torch.stack([index, 0 * index, 0 * index], dim=-1), 8)
        q, k = (rotate(x, (cos[:, :, None], sin[:, :, None])) for x in (q, k))
    if code == "sinusoid":
        q, k = (x + interleaved_sinusoid(index, 8)[:, :, None, None] for x in (q, k))
    out = torch.einsum("bishd,bjshd->bhij", q, k)[0]
    return out + distance_slopes(index, 2)[0] if code == "alibi" else out


@pytest.mark.parametrize("code", ["rope", "rope of (t, y, x)", "xpos", "alibi"])
def test_a_clip_that_begins_37_frames_later_has_the_same_logits(code):
    torch.testing.assert_close(logits(code, PLACES + 37), logits(code, PLACES), atol=1e-12, rtol=0)
    assert (logits(code, PLACES * 2) - logits(code, PLACES)).abs().max() > 1e-3         # and yet places matter


def test_an_absolute_code_tells_a_clip_that_begins_later():
    assert (logits("sinusoid", PLACES + 37) - logits("sinusoid", PLACES)).abs().max() > 0.1


@pytest.mark.parametrize("code", [BucketBias(heads=2), DistanceTables(4, reach=8)])
def test_buckets_and_tables_of_distances_ignore_a_shift_even_between_frames(code):
    assert all(torch.equal(a, b) for a, b in zip(distances(PLACES.round() + 37), distances(PLACES.round()), strict=True))
    values = lambda index: torch.stack([*code(index)])
    for shift in (37.0, 0.25):
        torch.testing.assert_close(values(PLACES + shift), values(PLACES), atol=1e-6, rtol=0)
    assert (values(PLACES * 1.5) - values(PLACES)).abs().max() > 1e-3


@pytest.mark.parametrize("code", [BucketBias(heads=2), DistanceTables(4, reach=8)])
def test_at_twice_the_frame_rate_distances_are_those_of_the_same_moments_and_a_mix_between_them(code):
    """Distances that are rounded instead are 0, 0, 1, 2, 2, ... frames: neighbours of half a frame would look alike or a whole frame apart."""
    values = lambda index: code(index) if isinstance(code, BucketBias) else code(index)[0].movedim(-1, 1)      # (1, n, T, T)
    slow, fast = values(torch.arange(4.0)[None]), values(torch.arange(8.0)[None] / 2)
    torch.testing.assert_close(fast[:, :, ::2, ::2], slow, atol=0, rtol=0)
    torch.testing.assert_close(fast[0, :, 0, 3], (slow[0, :, 0, 1] + slow[0, :, 0, 2]) / 2)
    torch.testing.assert_close(fast[0, :, 3, 0], (slow[0, :, 1, 0] + slow[0, :, 2, 0]) / 2)


@pytest.mark.parametrize("reach", [4, 8, 9, 128])
def test_buckets_for_clips_of_any_length_rise_with_the_distance_and_end_at_the_last(reach):
    buckets = BucketBias(heads=1, max_distance=reach).buckets(torch.arange(200))
    assert (buckets[1:].diff() >= 0).all()
    assert int(buckets.min()) == 0
    assert int(buckets.max()) == 31


def test_slopes_are_geometric_and_their_bias_is_one_number_per_distance():
    torch.testing.assert_close(slopes(8), torch.tensor([2.0**-h for h in range(1, 9)]))
    bias = distance_slopes(torch.arange(5.0)[None], 4)[0]
    for head in range(4):
        for offset in range(-4, 5):
            diagonal = bias[head].diagonal(offset)
            torch.testing.assert_close(diagonal, torch.full_like(diagonal, -slopes(4)[head] * abs(offset)))


def test_one_sided_slopes_read_the_past_in_half_of_the_heads_and_the_future_in_the_others():
    index = torch.tensor([[0.0, 1.0, 2.5, 4.0]])
    bias, both = one_sided_slopes(index, 6)[0], distance_slopes(index, 3)[0]
    before = torch.ones(4, 4, dtype=torch.bool).tril()                      # key j stands no later than query i
    for head in range(6):
        reads = before if head < 3 else before.T
        assert torch.equal(bias[head].isfinite(), reads)
        assert torch.equal(bias[head][reads], both[head % 3][reads])
    assert one_sided_slopes(index, 1).shape == (1, 1, 4, 4)


def test_slopes_of_both_sides_cannot_tell_a_clip_from_its_reverse_and_one_sided_ones_can():
    """Attention that reads distances alone answers frames in reverse order with the same answers in reverse order."""
    q, k, v = (draw(1, 5, 4, 8, seed=n).float() for n in range(3))
    index = torch.arange(5.0)[None]

    def answers(slopes_of, *, reverse):
        a, b, c = (x.flip(1) for x in (q, k, v)) if reverse else (q, k, v)
        weights = (torch.einsum("bihd,bjhd->bhij", a, b) + slopes_of(index, 4)).softmax(-1)
        out = torch.einsum("bhij,bjhd->bihd", weights, c)
        return out.flip(1) if reverse else out

    torch.testing.assert_close(answers(distance_slopes, reverse=True), answers(distance_slopes, reverse=False))
    assert (answers(one_sided_slopes, reverse=True) - answers(one_sided_slopes, reverse=False)).abs().max() > 0.1


def test_xpos_multiplies_each_channel_pair_by_zeta_to_the_distance():
    """Written out pair by pair as complex numbers, for frames before and behind."""
    q, k = draw(1, 4, 1, 1, 8), draw(1, 4, 1, 1, 8, seed=1)
    index = PLACES[:, :4]
    out = fading_logits(q, k, index, scale=5.0)[0, 0, 0]
    for i in range(4):
        for j in range(4):
            far = float(index[0, j] - index[0, i])
            total = 0.0
            for m in range(4):
                a, b = (complex(float(x[0, n, 0, 0, m]), float(x[0, n, 0, 0, m + 4])) for x, n in ((q, i), (k, j)))
                turn = complex(math.cos(far * 10_000 ** (-m / 4)), math.sin(far * 10_000 ** (-m / 4)))
                total += ((2 * m + 3.2) / 11.2) ** (abs(far) / 5.0) * (a.conjugate() * b * turn).real
            assert float(out[i, j]) == pytest.approx(total / math.sqrt(8), abs=1e-10)


def test_fast_waves_fade_first_and_none_grows():
    zeta = fading(16)
    assert (zeta.diff() > 0).all()
    assert zeta[0] > 0
    assert zeta[-1] < 1


def test_fading_attention_that_hardly_fades_is_rotary_attention():
    from flipbook.nn.attention import attend_frames

    q, k, v = (draw(2, 6, 3, 2, 8, seed=i) for i in range(3))
    table = tuple(part[:, :, None] for part in frame_rotation(PLACES, 8))
    causal = torch.ones(1, 6, 6).tril().bool()
    expected = attend_frames(rotate(q, table), rotate(k, table), v, causal, distance_slopes(PLACES, 2))
    out = attend_fading(q, k, v, PLACES, causal, distance_slopes(PLACES, 2), scale=1e9)
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-5)
    assert (attend_fading(q, k, v, PLACES, causal, scale=2.0) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("code", [interleaved_sinusoid, lambda i, d: torch.cat(frame_rotation(i, d), -1), lambda i, d: distance_slopes(i, 4)])
def test_seconds_as_places_make_a_clip_at_another_frame_rate_agree_at_the_same_moments(code):
    eight, sixteen = torch.arange(8.0) / 8, torch.arange(16.0) / 16
    torch.testing.assert_close(code(eight[None], 16), code(sixteen[None, ::2], 16), atol=0, rtol=0)


def test_interpolation_moves_a_longer_clip_into_the_places_of_training_and_leaves_others():
    index = torch.stack([torch.arange(32.0), torch.arange(32.0) + 5])
    moved = interpolated(index, 16)
    torch.testing.assert_close(moved, index * 15 / 31)
    assert moved[0, -1] == 15
    torch.testing.assert_close(interpolated(index[:, :10], 16), index[:, :10], atol=0, rtol=0)


def test_under_the_ntk_base_the_slowest_wave_ends_where_it_did_in_training_and_the_fastest_is_kept():
    long = torch.arange(64.0)[None].double()
    base = ntk_base(long, 16, 32)
    waves = base ** (-torch.arange(0, 32, 2).double() / 32)
    trained = 10_000.0 ** (-torch.arange(0, 32, 2).double() / 32)
    assert float(waves[0, 0]) == float(trained[0])
    torch.testing.assert_close(63 * waves[0, -1], 15 * trained[-1], atol=1e-12, rtol=1e-12)
    cos, sin = frame_rotation(long, 32, base)
    torch.testing.assert_close(cos[0, 5], (5 * waves[0]).cos())
    torch.testing.assert_close(sin[0, 5], (5 * waves[0]).sin())


def test_learned_places_mix_their_neighbours_and_end_where_the_table_ends():
    torch.manual_seed(0)
    places = LearnedPlaces(4, 6)
    torch.testing.assert_close(places(torch.tensor([[0.0, 3.0]]))[0], places.table[[0, 3]])
    torch.testing.assert_close(places(torch.tensor([[1.25]]))[0, 0], 0.75 * places.table[1] + 0.25 * places.table[2])
    torch.testing.assert_close(LearnedPlaces(1, 6)(torch.zeros(1, 2)).shape, torch.Size([1, 2, 6]))
    torch.testing.assert_close(places(torch.tensor([[-1e-6, 3.0 + 1e-5]]))[0], places.table[[0, 3]])      # moved together, and rounded
    with pytest.raises(ValueError, match=r"0 to 4.*from 0 to 3.*longer='interpolate'"):
        places(torch.arange(5.0)[None])


def clip(frames, start=0.0):
    return Clip(batch=1, frames=frames, time=torch.zeros(1, 1, 1), index=torch.arange(frames)[None] + start)


def layer(**how):
    torch.manual_seed(1)
    return FrameAttention(16, 2, 8, AttentionOverTime(max_frames=8, **how))


@pytest.mark.parametrize(
    ("how", "absolute"),
    [(("rope",), False), (("xpos",), False), (("alibi", "rope"), False), (("bucket",), False), (("shaw",), False),
     (("sinusoidal",), True), (("learned",), True)],
)
def test_a_layer_knows_order_by_any_code_and_a_shift_only_by_an_absolute_one(how, absolute):
    attention, x = layer(positions=how), draw(1, 4, 1, 2, 16).float()
    out = attention(x, clip(4))
    assert (attention(x.flip(1), clip(4)).flip(1) - out).abs().max() > 1e-4             # without a code this is the same
    assert ((attention(x, clip(4, start=3.0)) - out).abs().max() > 1e-4) == absolute


@pytest.mark.parametrize("how", [("learned",), ("sinusoidal",), ("rope",), ("alibi",)])
def test_a_layer_that_interpolates_gives_a_longer_clip_the_code_of_a_slower_one(how):
    x = draw(1, 16, 1, 2, 16).float()
    half = Clip(batch=1, frames=16, time=torch.zeros(1, 1, 1), index=torch.arange(16)[None] * (7 / 15))
    torch.testing.assert_close(layer(positions=how, longer="interpolate")(x, clip(16)), layer(positions=how)(x, half))


def test_a_layer_turns_slower_in_a_longer_clip_and_as_ever_in_a_short_one():
    x = draw(1, 16, 1, 2, 16).float()
    plain, slow = layer(positions=("rope",)), layer(positions=("rope",), longer="ntk")
    assert (plain(x, clip(16)) - slow(x, clip(16))).abs().max() > 1e-4
    torch.testing.assert_close(plain(x[:, :8], clip(8)), slow(x[:, :8], clip(8)), atol=1e-6, rtol=1e-5)


def test_codes_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="Leave out rope and shaw"):
        AttentionOverTime(positions=("xpos", "rope"))
    with pytest.raises(ValueError, match="have none"):
        AttentionOverTime(positions=("alibi",), longer="ntk")
