"""Clips of one length out of a long video."""

from __future__ import annotations

import numpy as np
import pytest

from flipbook.editing.restorers import cuts_behind, prepared_clips, restore, split
from flipbook.video import Video
from footage import numbered, numbers_of, tone


def test_clips_have_one_length_stay_within_their_shot_and_lose_only_the_rest():
    video = Video(numbered(23), fps=8.0, audio=tone(2.0))
    clips = split(video, 4, cuts=[10])
    assert [numbers_of(clip.frames) for clip in clips] == [[0, 1, 2, 3], [4, 5, 6, 7], [10, 11, 12, 13], [14, 15, 16, 17], [18, 19, 20, 21]]
    assert all(clip.audio is None and clip.fps == 8.0 for clip in clips)
    assert [numbers_of(clip.frames)[0] for clip in split(video, 6, hop=3, cuts=[10])] == [0, 3, 10, 13, 16]
    assert split(video, 24, cuts=[]) == []
    with pytest.raises(ValueError, match=r"num_frames=0.*count from 1"):
        split(video, 0)


def test_prepared_clips_are_pieces_of_the_mended_video_with_the_shots_of_the_raw_one():
    rng = np.random.default_rng(0)
    ramp = np.linspace(40, 120, 32)
    scenes = [np.zeros((8, 32, 32, 3)) + np.array(colour) + part for colour, part in (((90, 0, 0), ramp[:, None, None]), ((0, 0, 110), ramp[None, :, None]))]
    noisy = np.concatenate(scenes) + rng.normal(0, 6, (16, 32, 32, 3))
    video = Video(noisy.clip(0, 255).round().astype(np.uint8), fps=8.0)
    clips = prepared_clips(video, 4)
    mended = restore(video, ["denoise", "auto-levels"], cuts=[8])
    assert len(clips) == 4
    assert np.array_equal(np.concatenate([clip.frames for clip in clips]), mended.frames)
    assert not np.array_equal(clips[0].frames, video.frames[:4])
    told = [clip.frames for clip in prepared_clips(video, 4, steps=["deblur"], cuts=[6])]
    assert np.array_equal(np.stack(told), np.stack([restore(video, ["deblur"], cuts=[6]).frames[k : k + 4] for k in (0, 6, 10)]))


def test_frames_that_come_between_others_move_the_shots_of_prepared_clips():
    frames = np.concatenate([np.full((6, 8, 8, 3), 40, np.uint8), np.full((6, 8, 8, 3), 200, np.uint8)])
    clips = prepared_clips(Video(frames, fps=8.0), 4, steps=["interpolate"], cuts=[6])
    assert len(clips) > 2
    assert all(np.ptp(clip.frames) < 10 for clip in clips)                  # no clip has both colours
    assert cuts_behind(["denoise", ("interpolate", {"factor": 3})], [6]) == cuts_behind([("interpolate", {"factor": 3})], [6]) != [6]
