"""Each restorer moves a spoilt clip of the world towards the clean one, and leaves the clean one alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import damage
from damage import psnr
from flipbook.data.world import draw
from flipbook.editing.restorers import (
    deblur,
    deflicker,
    denoise,
    denoise_spatial,
    hold_colour,
    levels,
    match_colour,
    match_low_frequencies,
    sharpen,
)
from flipbook.footage import noise_level
from flipbook.metrics.probes import probe_video
from flipbook.video import Video

CLIPS = [("shapes", 3), ("sky", 2), ("figures", 1)]


def clean(domain: str, seed: int) -> Video:
    return Video(draw(domain, seed).frames, 8.0)


def value(probe: str, video: Video) -> float:
    return probe_video(video, [probe], shot_starts=[])[0].value


@pytest.fixture(params=CLIPS, ids=[f"{d}-{s}" for d, s in CLIPS])
def clip(request) -> Video:
    return clean(*request.param)


def gained(clip: Video, spoilt: np.ndarray, restorer, **options) -> float:
    """Decibels won."""
    after = restorer(replace(clip, frames=spoilt), cuts=[], **options)
    return psnr(after.frames, clip.frames) - psnr(spoilt, clip.frames)


@pytest.mark.parametrize("restorer", [denoise, denoise_spatial])
def test_noise_goes_down_by_five_decibels(clip, restorer):
    pytest.importorskip("cv2")
    noisy = damage.noisy(clip.frames, 10)
    assert gained(clip, noisy, restorer) > 5
    restored = restorer(replace(clip, frames=noisy), cuts=[])
    assert noise_level(restored.frames) < 0.6 * noise_level(noisy)


@pytest.mark.parametrize("sigma", [4, 8, 16])
def test_denoising_wins_at_every_noise_it_may_meet(sigma):
    pytest.importorskip("cv2")
    clip = clean("figures", 1)
    assert gained(clip, damage.noisy(clip.frames, sigma), denoise) > 4


def test_denoising_leaves_a_clean_clip_bit_for_bit(clip):
    pytest.importorskip("cv2")
    for restorer in (denoise, denoise_spatial):
        assert np.array_equal(restorer(clip, cuts=[]).frames, clip.frames)


def test_a_thing_that_comes_from_behind_leaves_no_ghost_in_strong_noise():
    """A bright square is uncovered all at once. No flow explains it, so nothing of one frame may enter the other: an average
    without the gate moves the frames on both sides by 20 grey levels, which the bound of four standard deviations lets through.
    """
    pytest.importorskip("cv2")
    frames = np.full((12, 48, 48, 3), 90, np.uint8)
    frames[6:, 12:36, 12:36] = 200
    restored = denoise(Video(damage.noisy(frames, 16), 8.0), cuts=[]).frames
    inside = restored[5:7, 16:32, 16:32].mean((1, 2, 3))
    assert inside == pytest.approx([90, 200], abs=4)


def test_denoising_follows_the_motion_of_what_has_texture():
    """A wall of strong texture that the camera passes at 3 pixels a frame: without the flow no two frames would agree anywhere."""
    pytest.importorskip("cv2")
    rough = np.random.default_rng(0).normal(0, 1, (1, 64, 96, 1)) * 500 + 128
    wall = damage.blurred(np.clip(rough, -1000, 1200), 2.0).repeat(3, -1)[0]
    frames = np.stack([wall[:, 3 * t : 3 * t + 64] for t in range(10)])
    assert gained(Video(frames, 8.0), damage.noisy(frames, 10), denoise) > 3


def test_the_last_frame_is_denoised_as_well_as_the_first():
    pytest.importorskip("cv2")
    noisy = Video(damage.noisy(draw("figures", 1).frames[:5], 10), 8.0)
    backwards = denoise(replace(noisy, frames=noisy.frames[::-1].copy()), cuts=[], noise=0.04).frames[::-1]
    np.testing.assert_array_equal(denoise(noisy, cuts=[], noise=0.04).frames, backwards)


def test_no_value_changes_by_more_than_noise_could_have_changed_it():
    """Told that there is little noise, denoising takes what differs by more for texture: 0.7 of four standard deviations at most."""
    pytest.importorskip("cv2")
    frames = damage.noisy(np.full((6, 32, 32, 3), 120, np.uint8), 20)
    change = np.abs(denoise(Video(frames, 8.0), cuts=[], noise=0.01).frames.astype(int) - frames)
    assert 6 <= change.max() <= 0.7 * 4 * 0.01 * 255 + 1


def test_a_moving_edge_keeps_its_gradient_under_denoising():
    """A vertical edge that moves two pixels a frame, in noise: its steepest step stays above 90 % of the clean one."""
    pytest.importorskip("cv2")
    x = np.arange(64)[None, None, :, None] - 2 * np.arange(12)[:, None, None, None]
    frames = damage.stored(np.broadcast_to(40 + 160 / (1 + np.exp(-(x - 20.0))), (12, 64, 64, 3)))
    restored = denoise(Video(damage.noisy(frames, 10), 8.0), cuts=[]).frames
    steepest = lambda f: np.abs(np.diff(f[2:-2].astype(float).mean(1), axis=1)).max(axis=1).mean()
    assert steepest(restored) > 0.9 * steepest(frames)


@pytest.mark.parametrize("amplitude", [0.02, 0.05, 0.10])
def test_flicker_falls_tenfold(clip, amplitude):
    spoilt = replace(clip, frames=damage.flicker(clip.frames, amplitude))
    steady = deflicker(spoilt, cuts=[])
    assert value("flicker", steady) - value("flicker", clip) < 0.1 * value("flicker", spoilt)
    assert psnr(steady.frames, clip.frames) > psnr(spoilt.frames, clip.frames) + 8


def test_each_colour_has_a_flicker_of_its_own():
    clip = clean("figures", 1)
    sign = np.where(np.arange(len(clip)) % 2, 1.0, -1.0)[:, None, None, None] * np.array([1.0, 0.0, -1.0])
    assert gained(clip, damage.stored(clip.frames * (1 + 0.06 * sign)), deflicker) > 8


def test_deflicker_leaves_a_steady_clip_as_it_is(clip):
    assert psnr(deflicker(clip, cuts=[]).frames, clip.frames) > 50


def test_a_fade_survives_deflickering():
    """To a third of its brightness, steadily: no frame's mean moves by more than one per cent of the first one's."""
    clip = clean("figures", 1)
    fade = np.linspace(1, 0.3, len(clip))[:, None, None, None]
    faded = replace(clip, frames=damage.stored(clip.frames * fade))
    before, after = (f.mean((1, 2, 3)) for f in (faded.frames, deflicker(faded, cuts=[]).frames))
    assert np.abs(after - before).max() < 0.01 * before[0]


def test_a_known_blur_is_undone_and_a_wrong_one_makes_it_worse(clip):
    spoilt = damage.blurred(clip.frames, 1.0)
    assert gained(clip, spoilt, deblur, sigma=1.0) > 2
    assert gained(clip, spoilt, deblur, sigma=2.0) < 0
    assert value("sharpness", deblur(replace(clip, frames=spoilt))) < value("sharpness", replace(clip, frames=spoilt))


def test_sharpening_helps_a_blurred_clip_and_never_overshoots(clip):
    spoilt = replace(clip, frames=damage.blurred(clip.frames, 1.0))
    sharp = sharpen(spoilt)
    assert psnr(sharp.frames, clip.frames) > psnr(spoilt.frames, clip.frames) + 1
    assert value("sharpness", sharp) < value("sharpness", spoilt)
    assert sharp.frames.max() <= spoilt.frames.max()
    assert sharp.frames.min() >= spoilt.frames.min()


@pytest.mark.parametrize("restorer", [sharpen, deblur])
def test_a_plain_picture_has_nothing_to_sharpen(restorer):
    plain = Video(np.full((3, 16, 16, 3), 90, np.uint8), 8.0)
    assert np.array_equal(restorer(plain).frames, plain.frames)


def test_a_drift_of_colour_is_held():
    for domain, seed in (("shapes", 5), ("figures", 1), ("figures", 4)):
        clip = clean(domain, seed)
        spoilt = replace(clip, frames=damage.drifting(clip.frames, 24))
        held = hold_colour(spoilt, cuts=[])
        assert psnr(held.frames, clip.frames) > psnr(spoilt.frames, clip.frames) + 10
        assert value("colour drift", held) < 0.2 * value("colour drift", spoilt)
        assert psnr(hold_colour(clip, cuts=[]).frames, clip.frames) > 45


def test_colours_of_a_reference_are_taken(clip):
    spoilt = damage.stored(clip.frames * np.array([1.1, 0.9, 0.8]) + [5, 0, -5])
    assert gained(clip, spoilt, match_colour, reference=clip) > 3


def test_low_frequencies_of_a_reference_are_taken(clip):
    spoilt = damage.drifting(clip.frames, 24)
    assert gained(clip, spoilt, match_low_frequencies, reference=clip) > 8
    assert np.array_equal(match_low_frequencies(clip, reference=clip).frames, clip.frames)


def test_levels_are_undone_by_their_inverse(clip):
    dark = levels(clip, gain=0.5, gamma=0.8)
    assert psnr(levels(dark, gain=2.0**1.25, gamma=1.25).frames, clip.frames) > 30     # what 8 bits of a dark clip can hold
    assert np.array_equal(levels(clip).frames, clip.frames)
