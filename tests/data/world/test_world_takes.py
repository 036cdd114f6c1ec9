"""Long takes: what the scene puts on record is what the frames show."""

from __future__ import annotations

import numpy as np
import pytest

from flipbook.data.world import draw
from flipbook.data.world.font import bitmap


def steps(clip):
    """Largest change of any pixel from each frame to the next, (T - 1,)."""
    frames = clip.frames.astype(int)
    return np.abs(frames[1:] - frames[:-1]).max(axis=(1, 2, 3))


def takes(count, num_frames=96):
    return [draw("takes", seed, num_frames=num_frames) for seed in range(count)]


def test_shots_cover_a_take_and_every_border_is_a_cut():
    for clip in takes(20):
        scene = clip.scene
        starts = {shot["start"] for shot in scene["shots"]} - {0}
        assert starts == {cut.get("start", cut["frame"]) for cut in scene["cuts"]}
        seen = np.zeros(96, int)
        for shot in scene["shots"]:
            seen[shot["start"] : shot["end"]] += 1
            assert len(shot["times"]) == shot["end"] - shot["start"]
            assert 0.0 <= min(shot["times"]) <= max(shot["times"]) <= 1.0
        dissolving = sum(cut["end"] - cut["start"] for cut in scene["cuts"] if cut["kind"] == "dissolve")
        assert (seen >= 1).all()
        assert (seen == 2).sum() == dissolving


def test_pictures_change_at_hard_cuts_and_nowhere_else_as_much():
    for clip in takes(15):
        change = np.abs(np.diff(clip.frames.astype(int), axis=0)).mean(axis=(1, 2, 3))
        hard = [cut["frame"] - 1 for cut in clip.scene["cuts"] if cut["kind"] != "dissolve"]
        calm = np.delete(change, hard)
        assert all(change[i] > np.median(calm) for i in hard)


def test_still_ranges_stand_still_and_moving_ones_do_not():
    for clip in takes(25):
        scene, change = clip.scene, steps(clip)
        if (scene["change"] or {}).get("kind") == "noisy":
            continue
        written = {overlay[key] for overlay in scene["overlays"] for key in ("start", "end")}
        still = {i for start, end in scene["still_ranges"] for i in range(start + 1, end)}
        frozen = [i for i in range(1, 96) if change[i - 1] == 0]
        assert all(change[i - 1] == 0 for i in still - written)
        runs = [i for i in frozen if i - 1 in frozen and i not in still and i - 1 not in still]
        assert not runs                            # people may pass through one pose twice in a row, but not for longer


def test_overlays_are_written_in_their_box_and_time():
    written = [clip for clip in takes(40) if clip.scene["overlays"]]
    assert len(written) > 10
    for clip in written:
        for overlay in clip.scene["overlays"]:
            x0, y0, x1, y1 = np.rint(np.array(overlay["box"]) * 64).astype(int)
            ink = bitmap(overlay["text"])
            assert ink.shape == (y1 - y0, x1 - x0)
            area = clip.frames[overlay["start"], y0:y1, x0:x1]
            assert (area[ink] == overlay["rgb"]).all()
            before = clip.frames[overlay["start"] - 1, y0:y1, x0:x1] if overlay["start"] else None
            assert before is None or not (before[ink] == overlay["rgb"]).all()


def test_near_duplicates_look_like_their_original_and_nobody_else_does():
    copies = [clip for clip in takes(90, 32) if clip.scene["duplicate_of"] is not None]
    assert 4 <= len(copies) <= 20
    for copy in copies:
        original = draw("takes", copy.scene["duplicate_of"], num_frames=32)
        assert original.scene["duplicate_of"] is None
        frames = copy.frames[:, :, ::-1] if copy.scene["change"]["kind"] == "mirrored" else copy.frames
        likeness = lambda other: np.abs(frames.astype(int) - other.frames).mean()
        assert likeness(original) < 0.5 * likeness(draw("takes", copy.scene["duplicate_of"] + 500, num_frames=32))


def test_broken_captions_are_on_record():
    clips = [draw("takes", seed, num_frames=32, frames=[0]) for seed in range(120)]
    faults = [clip.scene["caption_fault"] for clip in clips]
    assert {None, "empty", "wrong", "truncated", "boilerplate"} == set(faults)
    assert np.mean([fault is not None for fault in faults]) == pytest.approx(0.3, abs=0.12)
    for clip in clips:
        right = clip.scene["true_caption"]
        assert (clip.caption == right) == (clip.scene["caption_fault"] is None)
        if clip.scene["caption_fault"] == "truncated":
            assert right.startswith(clip.caption)
        if clip.scene["caption_fault"] == "empty":
            assert clip.caption == ""


def test_a_take_keeps_its_truth_in_the_scene():
    clip = draw("takes", 0, num_frames=32)
    assert clip.truth() == {}
    with pytest.raises(ValueError, match="keeps its truth in"):
        _ = clip.depth
