"""Closed forms behind the restorers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import damage
from flipbook.data.world import draw
from flipbook.editing.restorers import auto_levels, equalise, levels, match_colour
from flipbook.editing.restorers.colour import monge_map, statistics
from flipbook.editing.restorers.common import gaussian_blur, smooth_over_time, unit_frames, with_unit_frames
from flipbook.editing.restorers.deflicker import gain_between
from flipbook.editing.restorers.hold import maps_to_first
from flipbook.editing.restorers.levels import limited_tables, luma, to_linear, to_stored
from flipbook.video import Video


def colours(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(3, 3, generator=generator) * 0.1
    return (torch.randn(1, 64 * 64, 3, generator=generator) @ mix + 0.5).transpose(1, 2).view(1, 3, 64, 64)


def test_unit_frames_come_back_bit_for_bit():
    video = Video(np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3), 8.0)
    assert np.array_equal(with_unit_frames(video, unit_frames(video)).frames, video.frames)


def test_a_straight_line_survives_smoothing_to_its_ends_and_an_alternation_does_not():
    t = torch.arange(24.0)
    line = 3 - 0.2 * t
    torch.testing.assert_close(smooth_over_time(line, 4.0), line)
    alternating = (-1.0) ** t
    assert smooth_over_time(line + alternating, 4.0).sub(line).abs().max() < 0.35
    assert smooth_over_time(line + alternating, 4.0).sub(line)[6:-6].abs().max() < 0.02


@pytest.mark.parametrize("count", [1, 2, 3])
def test_very_short_series_can_be_smoothed(count):
    assert torch.isfinite(smooth_over_time(torch.rand(count, 3), 4.0)).all()


def test_a_blur_keeps_the_mean_and_is_its_own_transpose():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(1, 3, 20, 20, generator=generator, dtype=torch.float64) for _ in range(2))
    torch.testing.assert_close(gaussian_blur(torch.ones(1, 3, 20, 20), 1.5), torch.ones(1, 3, 20, 20))
    inner = torch.zeros_like(x)
    inner[..., 8:12, 8:12] = x[..., 8:12, 8:12]                                      # away from the mirrored border
    torch.testing.assert_close((gaussian_blur(inner, 1.0) * y).sum(), (inner * gaussian_blur(y, 1.0)).sum())


def test_the_monge_map_carries_one_covariance_into_the_other():
    (_, source), (_, goal) = statistics(colours(0)), statistics(colours(1))
    map = monge_map(source, goal)[0].double()
    torch.testing.assert_close(map @ source[0].double() @ map, goal[0].double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(map, map.T)


def test_equal_statistics_map_by_the_identity():
    _, covariance = statistics(colours(0))
    torch.testing.assert_close(monge_map(covariance, covariance)[0], torch.eye(3), atol=1e-5, rtol=0)
    flat = torch.zeros(1, 3, 3)                                                      # a plain frame has no covariance
    torch.testing.assert_close(monge_map(flat, flat)[0], torch.eye(3), atol=1e-5, rtol=0)


def test_matched_colours_have_the_mean_of_the_reference():
    clip, other = (Video(draw("sky", seed).frames, 8.0) for seed in (2, 5))
    matched = match_colour(clip, reference=other, cuts=[])
    assert np.abs(matched.frames.mean((0, 1, 2)) - other.frames.mean((0, 1, 2))).max() < 2
    half = match_colour(clip, reference=other, cuts=[], strength=0.0)
    assert np.array_equal(half.frames, clip.frames)


def test_matched_colours_have_the_contrast_and_the_hues_of_the_reference():
    clip, other = (with_unit_frames(Video(np.zeros((1, 64, 64, 3), np.uint8), 8.0), colours(seed)) for seed in (0, 1))
    (_, had), (_, goal) = statistics(unit_frames(clip)), statistics(unit_frames(other))
    _, got = statistics(unit_frames(match_colour(clip, reference=other, cuts=[])))
    assert (got - goal).norm() < 0.2 * (had - goal).norm()                            # some colours leave the range


def test_when_the_scenery_is_gone_the_last_map_of_colour_is_kept():
    generator = torch.Generator().manual_seed(0)
    scenery, other = torch.rand(2, 3, 40, 40, generator=generator) * 0.6 + 0.2
    maps = maps_to_first(torch.stack([scenery, scenery + 0.05, other]))
    torch.testing.assert_close(maps[1], torch.tensor([[0.0] * 3] * 3 + [[-0.05] * 3]), atol=2e-3, rtol=0)
    assert torch.equal(maps[2], maps[1])


def test_a_gain_is_found_though_a_third_of_the_picture_is_something_else():
    before = torch.rand(3000, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.1
    now = 1.07 * before
    now[:1000] = torch.rand(1000, generator=torch.Generator().manual_seed(1))
    assert float(gain_between(before, now)) == pytest.approx(1.07, abs=0.003)
    assert float(gain_between(torch.zeros(100), torch.zeros(100))) == 1


def test_linear_light_and_back_is_the_identity():
    x = torch.linspace(0, 1, 256)
    torch.testing.assert_close(to_stored(to_linear(x)), x)
    assert float(to_linear(torch.tensor(0.5))) == pytest.approx(0.2140, abs=1e-4)


def test_a_gain_in_linear_light_scales_the_light():
    video = Video(np.full((1, 8, 8, 3), 100, np.uint8), 8.0)
    brighter = levels(video, gain=2.0)
    light = lambda v: float(to_linear(unit_frames(v)).mean())
    assert light(brighter) == pytest.approx(2 * light(video), rel=0.01)


def test_auto_levels_stretch_a_grey_clip_and_follow_a_fade_monotonically():
    frames = draw("sky", 2).frames
    grey = Video(damage.stored(frames.mean(-1, keepdims=True).repeat(3, -1) * 0.6 + 50), 8.0)
    stretched = auto_levels(grey, cuts=[])
    y = luma(unit_frames(stretched))
    assert float(torch.quantile(y, 0.01)) < 0.03
    assert float(torch.quantile(y, 0.99)) > 0.97
    fade = Video(damage.stored(frames[:1] * np.linspace(1, 0.4, 20)[:, None, None, None]), 8.0)
    assert np.all(np.diff(equalise(fade, cuts=[], strength=0.3).frames.mean((1, 2, 3))) < 0)


def test_local_equalisation_raises_contrast_and_strength_zero_is_the_identity():
    video = Video(damage.stored(draw("sky", 2).frames * 0.4 + 80), 8.0)
    assert equalise(video, cuts=[]).frames.std() > 1.2 * video.frames.std()
    assert np.array_equal(equalise(video, cuts=[], strength=0.0).frames, video.frames)


def test_a_nearly_plain_clip_is_stretched_fourfold_at_most():
    frames = damage.stored(np.random.default_rng(0).normal(120, 4, (6, 32, 32, 1)).repeat(3, -1))
    assert auto_levels(Video(frames, 8.0), cuts=[]).frames.std() == pytest.approx(4 * frames.std(), rel=0.05)


def test_the_table_of_a_plain_picture_spans_the_range_and_is_hardly_steeper_than_its_limit():
    """All of one value: without the limit a step from 0 to 1. What is cut off lifts all bins alike, by less than the identity."""
    table = limited_tables(torch.full((1, 16, 16), 0.5), 2.0, 2)                     # (1, BINS, 2, 2)
    assert 64 * table.diff(dim=1).max() <= 2 + 1
    assert table[:, 0].max() < 0.02
    assert table[:, -1].min() > 0.98


def test_local_contrast_does_not_pump_when_something_bright_comes_in():
    """The wall beside it changes by the course of the tables, over many frames, and not at once."""
    frames = np.repeat(damage.stored(draw("sky", 2, frames=[0]).frames * 0.4 + 80), 16, 0)
    frames[8:, :12, :12] = 255
    wall = equalise(Video(frames, 8.0), cuts=[]).frames[:, 12:24, :12].astype(float)
    steps = np.abs(np.diff(wall, axis=0)).mean((1, 2, 3))
    assert steps[7] < 0.25 * np.abs(wall[-1] - wall[0]).mean()


def test_options_that_cannot_work_are_refused():
    video = Video(np.zeros((1, 8, 8, 3), np.uint8), 8.0)
    for call in (
        lambda: levels(video, gamma=0.0),
        lambda: equalise(video, limit=0.5),
        lambda: match_colour(video, reference=video, strength=2.0),
        lambda: gaussian_blur(torch.zeros(1, 3, 8, 8), 0.0),
    ):
        with pytest.raises(ValueError):
            call()
