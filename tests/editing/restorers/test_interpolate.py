"""Frames in between, against the frames that the world has there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from damage import psnr, stored
from flipbook.data.world import draw
from flipbook.editing.restorers import interpolate
from flipbook.editing.restorers.interpolate import between, cuts_after
from flipbook.video import Video

cv2 = pytest.importorskip("cv2")


def sliding(num_frames: int, speed: float) -> np.ndarray:
    """A textured square over a textured wall, moving right at a constant speed in pixels a frame, antialiased."""
    generator = np.random.default_rng(0)
    wall = cv2.GaussianBlur(generator.uniform(0, 255, (64, 96, 3)).astype(np.float32), (0, 0), 3)
    wall = 60 + 3.0 * (wall - wall.mean())
    square = cv2.GaussianBlur(generator.uniform(0, 255, (20, 20, 3)).astype(np.float32), (0, 0), 2)
    square = 170 + 2.0 * (square - square.mean())
    frames = []
    for t in range(num_frames):
        move = np.float32([[1, 0, 10 + speed * t], [0, 1, 22]])
        layer = cv2.warpAffine(square, move, (96, 64))
        cover = cv2.warpAffine(np.ones((20, 20), np.float32), move, (96, 64))[..., None]
        frames.append(wall * (1 - cover) + layer * cover if cover.ndim == 3 else wall)
    return stored(np.stack(frames))


def halves(frames: np.ndarray) -> tuple[Video, np.ndarray, np.ndarray]:
    """Every other frame, the frames left out, and their linear blends."""
    half, truth = frames[::2], frames[1::2][: len(frames[::2]) - 1]
    return Video(half, 8.0), truth, stored((half[:-1].astype(float) + half[1:]) / 2)


def test_at_constant_velocity_the_middle_beats_blending_by_five_decibels():
    half, truth, blend = halves(sliding(11, 2.0))
    middle = interpolate(half, cuts=[]).frames[1::2]
    assert psnr(middle, truth) > psnr(blend, truth) + 5


@pytest.mark.parametrize("seed", [3, 11])
def test_with_the_true_flow_the_world_s_own_frames_are_met(seed):
    """Things that cover and uncover each other: +5 dB over blending, from the flow that the world knows."""
    whole, h = draw("shapes", seed).frames, draw("shapes", seed, frames=range(0, 16, 2))
    forward, backward = (torch.tensor(f).movedim(-1, 1) for f in (h.optical_flow, h.backward_flow))
    middle = [between(h.frames[i], h.frames[i + 1], forward[i : i + 1], backward[i : i + 1], [0.5])[0] for i in range(7)]
    _, truth, blend = halves(whole)
    assert psnr(np.stack(middle), truth) > psnr(blend, truth) + 5


def test_what_only_one_frame_shows_comes_from_that_frame():
    """A square jumps by its own width. Half-way, the wall behind it is seen afterwards only, the wall before it was seen before only."""
    before, after = (np.full((32, 64, 3), 60, np.uint8) for _ in range(2))
    before[8:24, 8:24] = after[8:24, 24:40] = 220
    forward, backward = torch.zeros(1, 2, 32, 64), torch.zeros(1, 2, 32, 64)
    forward[:, 0, 8:24, 8:24], backward[:, 0, 8:24, 24:40] = 16, -16
    middle = between(before, after, forward, backward, [0.5])[0][12:20].mean((0, 2))
    assert middle[[9, 13, 34, 38]] == pytest.approx([60] * 4, abs=10)
    assert middle[18:30] == pytest.approx([220] * 12, abs=5)


def test_thirds_lie_where_the_thing_is_at_thirds():
    frames = sliding(13, 1.0)
    in_between = interpolate(Video(frames[::3], 8.0), cuts=[], factor=3)
    assert len(in_between) == 13
    assert psnr(in_between.frames, frames) > 33


def test_the_given_frames_come_back_bit_for_bit_and_stills_stay_still():
    video = Video(draw("shapes", 3).frames[:4], 8.0)
    assert np.array_equal(interpolate(video, cuts=[], factor=3).frames[::3], video.frames)
    still = Video(np.repeat(video.frames[:1], 3, 0), 8.0)
    assert np.array_equal(interpolate(still, cuts=[]).frames, np.repeat(video.frames[:1], 5, 0))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_nothing_is_invented_across_a_cut(factor):
    a, b = draw("shapes", 3).frames[:3], draw("sky", 2).frames[:3]
    video = Video(np.concatenate([a, b]), 8.0)
    frames = interpolate(video, cuts=[3], factor=factor).frames
    [cut] = cuts_after([3], factor)
    for frame in frames[2 * factor + 1 : 3 * factor]:
        assert any(np.array_equal(frame, x) for x in (a[-1], b[0]))
    assert np.array_equal(frames[cut - 1], a[-1])
    assert np.array_equal(frames[cut], b[0])


def test_the_clock_goes_on_where_the_rate_varies():
    video = Video(np.repeat(draw("shapes", 3).frames[:1], 3, 0), 3 / 0.7, times=np.array([0.0, 0.1, 0.4]))
    twice = interpolate(video, cuts=[])
    np.testing.assert_allclose(twice.times, [0, 0.05, 0.1, 0.25, 0.4])
    assert twice.seconds == pytest.approx(0.4 + 0.15)                                # the last frame stays half as long
    assert interpolate(Video(video.frames, 8.0)).fps == 16


def test_fewer_than_one_frame_for_one_is_refused():
    with pytest.raises(ValueError, match="factor=0"):
        interpolate(Video(np.zeros((2, 8, 8, 3), np.uint8), 8.0), factor=0)
