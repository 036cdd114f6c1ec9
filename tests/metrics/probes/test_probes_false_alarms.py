"""Clean clips are left in peace: of the world, and real ones."""

from __future__ import annotations

import numpy as np
import pytest

from flipbook.data.world import draw
from flipbook.metrics.probes import PROBES, drift_report, probe_video
from flipbook.metrics.probes.base import Footage
from flipbook.metrics.probes.sharpness import blur_effect
from flipbook.video import Video

REAL_FAULTS = {                                                 # what is truly to be seen in the real clips
    "film_cuts.mp4": {"cuts"},
}


@pytest.mark.parametrize("domain", ["shapes", "sky", "figures"])
def test_clean_clips_of_the_world_raise_no_alarm(domain):
    """Of 12 clips: `frozen` may name those that truly stand still at their end; stripes may pass for a seam once."""
    alarms = dict.fromkeys(PROBES, 0)
    for seed in range(12):
        for reading in probe_video(Video(draw(domain, seed).frames, 8.0)):
            alarms[reading.probe] += reading.fired
    assert alarms.pop("frozen") <= 1
    assert alarms.pop("seams") <= 1
    assert not any(alarms.values()), alarms


@pytest.mark.slow
def test_real_clips_raise_alarms_in_at_most_three_of_a_hundred_readings(shared_clips):
    """All 18 clips, all probes; compression, hand-held cameras, time-lapse and film are ordinary."""
    readings, false = 0, []
    for path in sorted(shared_clips.glob("*.mp4")):
        for reading in probe_video(Video.read(path, audio=False)):
            readings += 1
            if reading.fired and reading.probe not in REAL_FAULTS.get(path.name, set()):
                false.append((path.name, reading.probe, reading.value))
    assert readings > 0
    assert len(false) <= 0.03 * readings, false


def test_two_real_clips_raise_none(shared_clips):
    for name in ("sign_bird.mp4", "highway_dashcam.mp4"):
        video = Video.read(shared_clips / name, audio=False, start_frame=0, num_frames=24)
        assert [reading.probe for reading in probe_video(video) if reading.fired] == []


def test_the_blur_effect_is_the_formula_of_its_paper():
    """Crete et al. 2007, written out pixel by pixel for one direction."""
    frame = draw("sky", 2, height=24, width=24).frames[0].astype(np.float64).mean(-1) / 255
    rows = [np.mean([frame[mirrored(y + k, 24)] for k in range(-4, 5)], axis=0) for y in range(24)]
    total = kept = 0.0
    for y in range(1, 24):
        for x in range(24):
            detail, blurred = abs(frame[y, x] - frame[y - 1, x]), abs(rows[y][x] - rows[y - 1][x])
            total += detail
            kept += detail - max(0.0, detail - blurred)
    assert blur_effect(frame) == pytest.approx(kept / total, rel=1e-6)


def mirrored(y: int, size: int) -> int:
    return -1 - y if y < 0 else 2 * size - 1 - y if y >= size else y


def test_the_drift_report_follows_what_is_lost():
    frames = draw("figures", 1).frames
    greyer = np.linspace(1, 0.3, len(frames))[:, None, None, None]
    grey = frames.mean(-1, keepdims=True)
    fading = (grey + greyer * (frames - grey)).round().astype(np.uint8)
    report, clean = (drift_report(Footage.of(f, 8.0, [])) for f in (fading, frames))
    assert set(report) == {"blur", "lightness", "a", "b", "saturation", "contrast", "motion", "identity"}
    assert report["saturation"][-1] < 0.5 * report["saturation"][0]
    assert np.abs(clean["saturation"] - clean["saturation"][0]).max() < 0.2 * clean["saturation"][0]
    assert report["identity"][0] > 0.95
    assert report["motion"][0] == 0
    assert all(series.shape == (16,) for series in report.values())
