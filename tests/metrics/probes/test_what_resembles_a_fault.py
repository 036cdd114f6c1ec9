"""Each condition of a probe, by the harmless picture that it keeps from being called."""

from __future__ import annotations

import numpy as np
import pytest

import damage
from flipbook.data.world import draw
from flipbook.metrics.probes import Reading, probe_video
from flipbook.video import Video


def read(frames: np.ndarray, probe: str, fps: float = 8.0) -> Reading:
    return probe_video(Video(damage.stored(frames), fps), [probe], shot_starts=[])[0]


def grey(picture: np.ndarray, num_frames: int = 6) -> np.ndarray:
    """A picture (H, W) of grey levels as a clip."""
    return np.broadcast_to(picture[None, :, :, None], (num_frames, *picture.shape, 3))


def wall(size: int = 64, seed: int = 0) -> np.ndarray:
    """A picture with texture down its columns that hardly changes from column to column, grey levels around 120."""
    rng = np.random.default_rng(seed)
    rows = np.interp(np.arange(size), np.arange(0, size + 8, 8), rng.uniform(60, 180, size // 8 + 1))
    return rows[:, None] + rng.normal(0, 0.5, (size, size))


LEFT = (np.arange(64) < 24)[None]


def test_a_step_in_a_wall_is_a_seam():
    """The picture from which the next four differ in one thing each."""
    reading = read(grey(wall() + 12 * LEFT), "seams")
    assert reading.fired
    assert reading.details == {"column": 24.0}


@pytest.mark.parametrize(
    ("what", "picture"),
    [
        ("a horizon between two plain areas", np.where(LEFT, 140.0, 110.0).repeat(64, 0)),
        ("a border between different things", np.where(LEFT, wall(seed=1) + 30, wall(seed=2))),
        ("the outline of a thing that is shorter than the picture", wall() + 12 * LEFT * (np.arange(64) > 16)[:, None]),
        ("an outline that is soft", wall() + 12 * np.clip((26 - np.arange(64)) / 4, 0, 1)[None]),
    ],
)
def test_no_seam(what, picture):
    assert not read(grey(picture), "seams").fired, what


def test_a_camera_that_jerks_is_no_seam_between_chunks():
    """The median cell may well change its colour for good, but every cell by another one."""
    picture = draw("sky", 2, frames=[0]).frames[0].astype(float) + np.linspace(0, 60, 64)[None, :, None]
    frames = np.stack([picture] * 9 + [np.roll(picture, 24, axis=1)] * 7)
    assert not read(frames, "chunk seams").fired


def dissolving(mixed: int) -> np.ndarray:
    """A grey morning that turns over `mixed` frames into a bright, other picture, both at rest: float (12 + mixed, 64, 64, 3)."""
    before, after = (draw("sky", seed, frames=[0]).frames[0].astype(float) for seed in (4, 11))
    share = np.concatenate([np.zeros(6), np.arange(1, mixed + 1) / (mixed + 1), np.ones(6)])[:, None, None, None]
    return before[None] * (1 - share) + after[None] * share


@pytest.mark.parametrize("mixed", [4, 8, 12])
def test_a_dissolve_is_a_new_shot_and_no_drift_of_colours(mixed):
    frames = dissolving(mixed)
    assert not read(frames, "colour drift").fired
    assert not read(frames, "chunk seams").fired
    reading = read(frames, "cuts")
    assert reading.marks == (6,)
    assert "a dissolve" in reading.reason


def test_a_drift_to_the_colours_of_the_other_picture_is_a_drift():
    """As far as the dissolve goes, by the colours alone: what is to be seen stays the same, so it is no new shot."""
    frames = dissolving(8)
    colour = frames.mean((1, 2), keepdims=True)
    spoilt = frames[:1] - colour[:1] + colour
    assert read(spoilt, "colour drift").fired
    assert not read(spoilt, "cuts").fired


def test_a_pan_and_clouds_that_keep_changing_are_no_dissolves():
    """Within a few frames a pan shows another picture, but never a mixture; clouds are always mixtures, and no sooner here than there."""
    strip = np.concatenate([draw("sky", seed, frames=[0]).frames[0] for seed in (4, 11, 7)], axis=1).astype(float)
    pan = np.stack([strip[:, x : x + 64] for x in range(0, 128, 6)])
    pictures = [draw("sky", seed, frames=[0]).frames[0].astype(float) for seed in (4, 11, 4, 11)]
    clouds = np.stack([pictures[k] * (1 - i / 6) + pictures[k + 1] * i / 6 for k in range(3) for i in range(6)])
    for frames in (pan, clouds):
        assert read(frames, "cuts").details == {"dissolves": 0.0}


def test_letters_over_a_picture_are_no_checkerboard_and_one_all_over_it_is():
    from flipbook.data.world.font import bitmap

    picture = np.tile(draw("sky", 4, frames=[0]).frames[0].astype(float), (4, 1, 1, 1))
    ink = bitmap("WATCH NOW!")
    written = picture.copy()
    written[:, 52 : 52 + ink.shape[0], 2 : 2 + ink.shape[1]][:, ink] = 250
    assert not read(written, "checkerboard").fired
    uneven = written + 10 * (-1.0) ** np.arange(64)[None, None, :, None]
    assert read(uneven, "checkerboard").fired


def test_a_drift_that_nobody_sees_is_none_however_fast():
    frames = draw("figures", 1).frames
    reading = read(damage.drifting(frames, 4), "colour drift")
    assert reading.value == 0
    assert reading.series[-1] > 0.5


def test_a_pan_over_a_picture_of_changing_colour_is_no_drift():
    """Every cell sees other colours in the end, and each its own."""
    rng = np.random.default_rng(0)
    stripes = np.interp(np.arange(192), np.arange(0, 200, 8), rng.uniform(20, 230, 25))
    pan = np.stack([np.broadcast_to(stripes[None, 6 * t : 6 * t + 64, None], (64, 64, 3)) for t in range(16)])
    reading = read(pan, "colour drift")
    assert reading.series[-1] > 3                                                    # the median cell is far from where it was
    assert not reading.fired


def test_changes_between_very_bright_pictures_are_no_flashes():
    at = [2, 6, 10, 14, 18]
    bright = np.full((24, 16, 16, 3), 236, np.uint8)
    assert read(damage.flashing(bright, at, 19), "flashes", fps=24.0).value == 0
    assert read(damage.flashing(bright - 26, at, 19), "flashes", fps=24.0).value == 5


def test_parts_that_flash_one_frame_apart_flash_together():
    """An eighth of the picture and then another eighth: a quarter, as the rule counts."""
    frames = np.full((48, 64, 64, 3), 90, np.uint8)
    for k, at in enumerate(([2, 8, 14, 20], [3, 9, 15, 21])):
        frames[:, :, 8 * k : 8 * k + 8] = damage.flashing(frames[:, :, 8 * k : 8 * k + 8], at)
    assert read(frames, "flashes", fps=24.0).value == 4


def test_a_thing_that_passes_is_no_local_flicker():
    """Each cell brightens and darkens once as it passes: much on the mean over time, nothing on the median."""
    x = np.arange(64)[None, None, :] - 4 * np.arange(16)[:, None, None]
    frames = 60 + 150 * ((x >= 0) & (x < 12)) * np.ones((1, 64, 1))
    assert read(frames[..., None].repeat(3, -1), "local flicker").value == 0


def test_blocks_along_one_line_are_an_outline():
    """One hard edge of a thing may lie on the grid; the median over the borders lets it."""
    picture = wall() + np.linspace(0, 20, 64)[None] + 60 * (np.arange(64) < 32)[None]
    assert not read(grey(picture), "blockiness").fired


def test_a_picture_that_is_black_but_for_a_few_specks_shows_nothing():
    frames = np.zeros((6, 32, 32, 3), np.uint8)
    frames[:, ::16, ::16] = 255                                                      # 4 of 1024 pixels: far from one colour
    assert read(frames, "dead").value == 1
    assert read(255 - frames, "dead").value == 1


def test_blur_along_either_axis_counts():
    frames = draw("figures", 1).frames.astype(float)
    smeared = sum(np.roll(frames, k, axis=1) for k in range(-5, 6)) / 11
    turned = smeared.transpose(0, 2, 1, 3)
    assert read(smeared, "sharpness").value == pytest.approx(read(turned, "sharpness").value, abs=0.01)
    assert read(smeared, "sharpness").value > read(frames, "sharpness").value + 0.1
