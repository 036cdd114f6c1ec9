"""Every probe finds the fault that was put in, more of it when there is more, and says where."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import damage
from flipbook.data.world import draw
from flipbook.metrics.probes import Reading, probe_video
from flipbook.video import Video


def clip(domain: str = "sky", seed: int = 2, **size) -> np.ndarray:
    return draw(domain, seed, **size).frames


def read(frames: np.ndarray, probe: str, fps: float = 8.0, **options) -> Reading:
    return probe_video(Video(frames, fps), [probe], **options)[0]


# probe, five levels of the fault, what they do to a clip, the clip
FAULTS = {
    "flicker": ([0.01, 0.02, 0.04, 0.08, 0.16], damage.flicker, ("figures", 1)),
    "local flicker": ([0.02, 0.04, 0.06, 0.08, 0.16], damage.flicker, ("sky", 2)),
    "frozen": ([3, 4, 5, 6, 7], lambda f, n: damage.frozen(f, 5, n), ("shapes", 3)),
    "blockiness": ([0.3, 0.45, 0.6, 0.75, 0.9], damage.blocky, ("sky", 2)),
    "colour drift": ([12, 20, 30, 40, 50], damage.drifting, ("figures", 1)),
    "seams": ([6, 8, 10, 14, 20], lambda f, s: damage.seam_in_space(f, 24, s), ("sky", 2)),
    "chunk seams": ([4, 8, 12, 16, 24], lambda f, s: damage.seam_in_time(f, 9, s), ("sky", 2)),
    "flashes": ([4, 5, 6, 7, 8], lambda f, n: damage.flashing(f[:1].repeat(24, 0), [2 * k + 3 for k in range(n)]), ("figures", 1)),
}


@pytest.mark.parametrize("probe", FAULTS)
def test_a_probe_finds_its_fault_and_rises_with_it(probe):
    levels, spoil, (domain, seed) = FAULTS[probe]
    frames = clip(domain, seed)
    fps = 24.0 if probe == "flashes" else 8.0
    readings = [read(spoil(frames, level), probe, fps) for level in levels]
    values = [read(frames, probe, fps).value, *(reading.value for reading in readings)]
    assert all(a < b for a, b in itertools.pairwise(values)), values
    assert not read(frames, probe, fps).fired
    assert [reading.fired for reading in readings] == [True] * 5
    assert all(len(reading.series) in (16, 24) for reading in readings)


def test_blur_rises_with_blurring_and_a_strong_one_is_called():
    frames = clip("figures", 1)
    readings = [read(frames, "sharpness"), *(read(damage.blurred(frames, sigma), "sharpness") for sigma in (0.5, 1, 2, 3, 4))]
    values = [reading.value for reading in readings]
    assert all(a < b for a, b in itertools.pairwise(values)), values
    assert not readings[0].fired
    assert readings[-1].fired


@pytest.mark.parametrize("amplitude", [1.0, 3.0, 10.0])
def test_flicker_is_four_times_the_amplitude(amplitude):
    level = 100 + amplitude * (-1.0) ** np.arange(24)
    frames = damage.stored(np.broadcast_to(level[:, None, None, None], (24, 32, 32, 3)))
    assert read(frames, "flicker").value == pytest.approx(4 * amplitude, rel=0.01)
    assert read(frames, "local flicker").value == pytest.approx(2 * amplitude, rel=0.01)


def test_fades_pans_and_switched_lamps_are_no_flicker():
    fade = damage.stored(clip("figures", 1)[:1] * np.linspace(1, 0.1, 16)[:, None, None, None])
    lamp = damage.stored(clip("figures", 1) * np.where(np.arange(16) < 8, 0.4, 1.0)[:, None, None, None])
    pan = np.stack([np.roll(clip(seed=5)[0], 2 * t, axis=1) for t in range(16)])
    for frames in (fade, lamp, pan):
        assert read(frames, "flicker").value < 0.2


def test_flicker_in_a_corner_shows_only_locally():
    frames = clip().copy()
    frames[:, :, 32:] = damage.flicker(frames[:, :, 32:], 0.06)
    frames[:, :, :32] = damage.flicker(frames[:, :, :32], -0.06)                      # the mean stays, the halves do not
    assert read(frames, "flicker").value < 0.3 * read(frames, "local flicker").value
    assert read(frames, "local flicker").fired


def test_a_freeze_is_marked_where_it_stands():
    reading = read(damage.frozen(clip("shapes", 3), 5, 6), "frozen")
    assert reading.value == 6
    assert reading.marks == (5, 6, 7, 8, 9, 10)


def test_a_clip_that_stands_still_throughout_is_told_apart_from_a_freeze():
    reading = read(clip()[:1].repeat(12, 0), "frozen")
    assert not reading.fired
    assert reading.details == {"share": 1.0}
    assert reading.reason == "nothing moves in the whole clip"


def test_seams_are_placed():
    assert read(damage.seam_in_space(clip(), 24, 10), "seams").details == {"column": 24.0}
    turned = damage.seam_in_space(clip("shapes", 3).transpose(0, 2, 1, 3), 40, 10).transpose(0, 2, 1, 3)
    assert read(turned, "seams").details == {"row": 40.0}
    assert read(damage.seam_in_time(clip(), 9, 12), "chunk seams").marks == (9,)


def test_a_jump_that_is_taken_back_is_no_chunk_seam():
    assert not read(damage.flicker(clip(), 0.1), "chunk seams").fired
    assert not read(damage.flashing(clip(), [8], 40), "chunk seams").fired


def test_blocks_of_another_grid_are_not_counted():
    frames = damage.blocky(clip(height=80, width=80), 0.9)
    assert read(frames, "blockiness").fired
    assert not read(frames[:, 3:67, 5:69], "blockiness").fired


def test_a_checkerboard_is_found_at_its_strength():
    frames = clip().astype(float)
    board = (np.indices(frames.shape[1:3]).sum(0) % 2 * 2 - 1)[None, :, :, None]
    stripes = (np.arange(frames.shape[2]) % 2 * 2 - 1)[None, None, :, None]
    for pattern in (board, stripes):
        values = [read(damage.stored(frames + s * pattern), "checkerboard").value for s in (0, 1, 2, 4, 8, 16)]
        assert all(a < b for a, b in itertools.pairwise(values)), values
        assert values[0] < 3 < values[2]


@pytest.mark.parametrize("rate", [1, 2, 3, 4, 6])
def test_as_many_flashes_are_counted_as_there_are(rate):
    """`rate` flashes in one second of grey at 24 frames a second; only more than three are a fault."""
    at = [2 + round(k * 22 / rate) for k in range(rate)]
    reading = read(damage.flashing(np.full((48, 16, 16, 3), 90, np.uint8), at), "flashes", fps=24.0)
    assert reading.value == rate
    assert reading.fired == (rate > 3)
    assert reading.series.max() == rate


def test_flashes_in_a_small_part_of_the_picture_do_not_count():
    frames = np.full((48, 64, 64, 3), 90, np.uint8)
    frames[:, :24, :24] = damage.flashing(frames[:, :24, :24], list(range(2, 24, 4)))
    assert read(frames, "flashes", fps=24.0).value == 0


@pytest.mark.parametrize("seed", range(6))
def test_every_hard_cut_of_a_take_is_found_and_no_other(seed):
    take = draw("takes", seed)
    true = [cut["frame"] for cut in take.scene["cuts"] if cut["kind"] != "dissolve"]
    dissolves = [range(cut["start"], cut["end"] + 1) for cut in take.scene["cuts"] if cut["kind"] == "dissolve"]
    found = [t for t in read(take.frames, "cuts").marks if not any(t in d for d in dissolves)]
    assert found == true


def test_flicker_flashes_and_fades_are_no_cuts():
    frames = clip("figures", 1)
    for spoilt in (damage.flicker(frames, 0.3), damage.flashing(frames, [5, 9], 150), damage.noisy(frames, 20)):
        assert read(spoilt, "cuts").marks == ()


def test_probes_over_time_do_not_look_across_cuts():
    both = np.concatenate([clip("figures", 1), clip("sky", 2)])
    for probe in ("flicker", "local flicker", "colour drift", "chunk seams", "frozen"):
        assert not read(both, probe).fired
    assert read(both, "chunk seams", shot_starts=[]).fired


def test_frames_that_show_nothing_are_counted():
    frames = clip().copy()
    frames[4:8] = 0
    reading = read(frames, "dead")
    assert reading.value == 0.25
    assert reading.marks == (4, 5, 6, 7)


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 16, 8), (3, 64, 64), (5, 9, 300)])
def test_any_size_and_length_can_be_probed(shape):
    frames = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    for reading in probe_video(Video(frames, 8.0)):
        assert len(reading.series) == shape[0]
        assert np.isfinite(reading.series).all()
        assert np.isfinite(reading.value)


def test_an_unknown_probe_is_refused():
    with pytest.raises(ValueError, match="Did you mean 'flicker'"):
        probe_video(Video(clip(), 8.0), ["flickr"])
