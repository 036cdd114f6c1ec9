"""The measures of curation in closed form: shots, motion, stillness, writing, duplicates, captions, rules, splits."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("cv2", reason="curation needs the extra `data`")

from flipbook.data.curation.captions import Words, fault_of
from flipbook.data.curation.cut import scenedetect_borders
from flipbook.data.curation.dedup import Dedup
from flipbook.data.curation.detector import (
    STEPS,
    VISIBLE,
    break_between,
    find_borders,
    novelty_of,
    read_signals,
    small_lab,
    steady_share,
)
from flipbook.data.curation.expression import Rule
from flipbook.data.curation.hashes import Hash
from flipbook.data.curation.motion import Motion
from flipbook.data.curation.overlay import covered, find_text
from flipbook.data.curation.select import Select
from flipbook.data.curation.split import Split
from flipbook.data.curation.still import still_ranges
from flipbook.data.world import draw
from flipbook.data.world.font import bitmap
from flipbook.video import Video


def texture(seed: int, height: int = 64, width: int = 96) -> np.ndarray:
    """A smooth random picture, uint8 (H, W, 3)."""
    import cv2

    coarse = np.random.default_rng(seed).integers(0, 256, (8, 12, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def look_at(frames: np.ndarray, fps: float = 8.0) -> SimpleNamespace:
    return SimpleNamespace(every=Video(frames, fps))


def scenes_with_dissolve() -> np.ndarray:
    """20 frames, a cut, 25 frames, 10 frames of dissolve (45 to 54), 20 frames."""
    a, b, c = (texture(seed).astype(float) for seed in (1, 2, 3))
    ramp = [b + (c - b) * k / 11 for k in range(1, 11)]
    return np.stack([*[a] * 20, *[b] * 25, *ramp, *[c] * 20]).round().astype(np.uint8)


def plain_break(before, after):
    """The definition, block by block: the least mean distance within two pixels, averaged."""
    h, w = after.shape[:2]
    around = np.pad(before.astype(int), ((2, 2), (2, 2), (0, 0)), mode="edge")
    least = [
        min(np.abs(after[y : y + 4, x : x + 4].astype(int) - around[y + dy : y + dy + 4, x + dx : x + dx + 4]).mean() for dy in range(5) for dx in range(5))
        for y in range(0, h, 4) for x in range(0, w, 4)
    ]  # fmt: skip
    return np.mean(least)


def test_a_break_is_what_of_a_frame_is_found_nowhere_near_its_place():
    rng = np.random.default_rng(0)
    for width in (8, 20):
        before, after = rng.integers(0, 256, (2, 12, width, 3), dtype=np.uint8)
        assert break_between(before, after) == pytest.approx(plain_break(before, after), rel=1e-12)
    moved = np.roll(before, (1, -2), (0, 1))
    assert break_between(before, moved) < 0.5 * break_between(before, after)
    tinted = np.clip(before.astype(int) // 2 + [40, 10, 0], 0, 255).astype(np.uint8)
    toned = np.clip(tinted + np.rint(before.mean((0, 1)) - tinted.mean((0, 1))), 0, 255).astype(np.uint8)
    assert novelty_of(before, tinted) == pytest.approx(plain_break(before, toned), rel=1e-12)


def test_ramps_of_all_rates_are_those_of_their_six_pictures():
    """Steps between pictures are kept from frame to frame; whatever the rate, they are the ones of this ramp."""
    frames = np.random.default_rng(1).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    frames[:, :16] = np.linspace(0, 255, 24)[:, None, None, None]                       # half of the picture brightens steadily
    pictures = [small_lab(frame).astype(int) for frame in frames]
    signals = read_signals(frames)
    for row, stride in zip(signals.ramps, (1, 2, 4), strict=True):
        first = (STEPS * stride + 1) // 2
        for i in range(24 - STEPS * stride):
            steps = np.diff(np.stack(pictures[i : i + STEPS * stride + 1 : stride]), axis=0)
            one_way = (np.sign(steps) == np.sign(steps[0])).all(0)
            seen = STEPS * np.where(one_way, np.abs(steps).min(0), 0).sum(-1)
            assert row[first + i] == (seen > VISIBLE).mean() >= 0.45
            assert row[first + i] == steady_share([step.astype(np.int16) for step in steps])


def test_a_cut_and_a_ten_frame_dissolve_are_found_within_two_frames_and_a_single_threshold_misses_the_dissolve():
    frames = scenes_with_dissolve()
    borders = find_borders(read_signals(frames))
    assert [border.kind for border in borders] == ["cut", "dissolve"]
    assert borders[0].frame == 20
    assert abs(borders[1].frame - 50) <= 2
    pytest.importorskip("scenedetect")
    single, _ = scenedetect_borders(frames, 8.0, "content", None)
    assert [border.frame for border in single] == [20]


def test_a_flash_and_a_fast_pan_are_no_cuts():
    wide = texture(4, 64, 400)
    pan = np.stack([wide[:, 4 * i : 4 * i + 96] for i in range(60)])
    pan[30] = 255
    assert find_borders(read_signals(pan)) == []


def test_a_still_an_oscillation_and_a_pan_rank_by_motion_where_the_signed_mean_would_cancel():
    wide = texture(5, 64, 300)
    shifts = {"still": [0] * 17, "shaken": [2 * (i % 2) for i in range(17)], "pan": [6 * i for i in range(17)]}
    found = {
        name: Motion().run({}, look_at(np.stack([wide[:, 40 + s : 136 + s] for s in path])))
        for name, path in shifts.items()
    }
    assert found["still"]["motion_p50"] < 1e-3 < found["shaken"]["motion_p50"] < found["pan"]["motion_p50"]
    assert found["shaken"]["motion_p50"] == pytest.approx(2 / 64 * 8, rel=0.15)
    assert found["pan"]["motion_global_share"] > 0.8


def test_speed_does_not_depend_on_size_or_rate():
    wide = texture(6, 128, 600)
    fast = np.stack([wide[:, 2 * i : 2 * i + 192] for i in range(33)])
    small = np.stack([frame[::2, ::2] for frame in fast])
    speeds = [Motion().run({}, look_at(frames, fps))["motion_p50"] for frames, fps in ((fast, 32.0), (small[::4], 8.0))]
    assert speeds[0] == pytest.approx(speeds[1], rel=0.1)


def test_grain_stands_still_and_a_slow_drift_does_not():
    grain = np.random.default_rng(0).integers(-6, 7, (24, 64, 96, 3))
    held = np.clip(texture(7) + grain, 0, 255).astype(np.uint8)
    assert still_ranges(held, 5) == [(0, 24)]
    wide = texture(7, 64, 140)
    assert still_ranges(np.stack([wide[:, i : i + 96] for i in range(24)]), 5) == []


def test_writing_is_found_where_it_stands_and_only_there():
    frames = draw("shapes", 3, num_frames=4).frames
    assert find_text(frames, (64,)) == []
    ink = bitmap("NEWS 24")
    written = frames.copy()
    written[:, 50 : 50 + ink.shape[0], 5 : 5 + ink.shape[1]][:, ink] = 250
    (box,) = find_text(written, (64,))
    assert np.abs(np.array(box) * 64 - [6, 51, 4 + ink.shape[1], 58]).max() <= 2
    assert covered([box]) == pytest.approx(7 * (ink.shape[1] - 2) / 64**2, rel=0.3)


def as_row(name: str, frames: np.ndarray) -> dict:
    facts = {"clip_id": name, "source": name, "path": name, "frames": len(frames), "fps": 8.0}
    size = {"height": frames.shape[1], "width": frames.shape[2]}
    return {**facts, **size, **Hash().run({}, look_at(frames))}


def test_two_things_that_move_before_one_wall_are_no_copies():
    """They look alike in every frame; a learned vector of single frames would call them the same."""
    wall = texture(3)
    signs = []
    for down in (False, True):
        frames = np.stack([wall] * 16)
        for i in range(16):
            y, x = (20 + 2 * i, 40) if down else (34, 26 + 2 * i)
            frames[i, y : y + 12, x : x + 12] = 230
        signs.append(frames)
    rows = [as_row(name, frames) for name, frames in zip("ab", signs, strict=True)]
    loose = {"distance": 32, "cosine": 0.5}
    assert Dedup(**loose).pairs(rows) == []
    assert Dedup(**loose, course=9.0).pairs(rows) == [(0, 1)]


def test_copies_are_found_and_mirrored_or_other_clips_are_not(tmp_path):
    import cv2

    frames = draw("shapes", 11, height=96, width=128).frames
    cropped = np.stack([cv2.resize(frame[1:95, 1:127], (128, 96)) for frame in frames])
    small = np.stack([cv2.resize(frame, (64, 48), interpolation=cv2.INTER_AREA) for frame in frames])
    coded = Video.read(Video(frames, 8.0).write(tmp_path / "a.mp4", quality="small")).frames
    other = draw("shapes", 12, height=96, width=128).frames
    clips = {"whole": frames, "crop": cropped, "small": small, "coded": coded, "mirror": frames[:, :, ::-1], "other": other}
    rows = [as_row(name, clip) for name, clip in clips.items()]
    gone = {row["clip_id"] for row in Dedup().run(rows, tmp_path) if not row.get("keep", True)}
    assert len(gone) == 3
    assert gone < {"whole", "crop", "small", "coded"}
    assert "small" in gone                                     # the largest stays
    gone = {row["clip_id"] for row in Dedup(mirrored=True).run(rows, tmp_path) if not row.get("keep", True)}
    assert len(gone) == 4
    assert "other" not in gone


@pytest.mark.parametrize(
    ("caption", "fault"),
    [
        ("", "empty"), ("...", "boilerplate"), ("IMG_204.MOV", "boilerplate"), ("click the link and subscribe", "boilerplate"),
        ("a red ball rolls over the", "truncated"), ("seen from above.", None), ("a red ball ro", "truncated"), ("a red ball rolls", None),
    ],
)  # fmt: skip
def test_faults_of_captions_are_named(caption, fault):
    if caption == "...":
        fault = "empty"
    words = Words(f"a {colour} ball rolls over the {place} road" for colour in ("red", "blue") for place in ("old", "long"))
    assert fault_of(caption, words) == fault


def test_rules_are_read_and_nothing_is_executed():
    rows = [{"speed": float(i), "name": "a"} for i in range(101)]
    rule = Rule("speed >= percentile(speed, 25) and not name in ('b', 'c')", rows)
    assert [rule.holds(row) for row in rows] == [i >= 25 for i in range(101)]
    assert not rule.holds({"name": "a"})                       # what is not known does not pass
    for bad in ("__import__('os')", "speed.real > 1", "(lambda: 1)()", "speed >", "[x for x in speed]", "speed ** 9"):
        with pytest.raises(ValueError, match="rule"):
            Rule(bad, rows)


def test_every_rejection_says_which_rule_and_why(tmp_path):
    rows = [{"clip_id": str(i), "speed": float(i)} for i in range(4)]
    done = Select(keep_if=("speed >= percentile(speed, 50)",)).run(rows, tmp_path)
    assert [row.get("keep", True) for row in done] == [False, False, True, True]
    assert done[0]["drop_rule"] == "speed >= percentile(speed, 50)"
    assert "speed is 0" in done[0]["drop_reason"]
    assert "1.5" in done[0]["drop_reason"]


def test_no_source_stands_in_two_splits_and_more_footage_moves_nobody(tmp_path):
    rows = [{"clip_id": f"{s}-{k}", "source": f"video{s}.mp4"} for s in range(200) for k in range(3)]
    done = Split(val_share=0.2).run(rows, tmp_path)
    splits = {row["source"]: {other["split"] for other in done if other["source"] == row["source"]} for row in done}
    assert all(len(found) == 1 for found in splits.values())
    assert 20 <= sum(found == {"val"} for found in splits.values()) <= 60
    fewer = Split(val_share=0.2).run(rows[:90], tmp_path)
    assert [row["split"] for row in fewer] == [row["split"] for row in done[:90]]
