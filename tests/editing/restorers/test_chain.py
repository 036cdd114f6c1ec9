"""Chains: what a video carries besides its pixels stays, cuts divide, mistakes are told early."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import damage
from flipbook.data.world import draw
from flipbook.editing.restorers import ORDER, RESTORERS, denoise, restore
from flipbook.footage import find_cuts
from flipbook.video import Audio, Video

RECIPE = {"made_by": "flipbook", "seed": 3}
SOUND = Audio(np.zeros((1, 800), np.float32), 8000)


def options(name: str, video: Video) -> dict:
    return {"reference": video} if name == "match-colour" else {}


def two_shots() -> np.ndarray:
    return damage.noisy(np.concatenate([draw("figures", 1).frames[:6], draw("sky", 2).frames[:6]]), 8)


@pytest.mark.parametrize("name", ORDER)
def test_rate_sound_and_recipe_stay(name):
    pytest.importorskip("cv2")
    video = Video(damage.noisy(draw("shapes", 3).frames[:4], 6), 8.0, audio=SOUND, recipe=RECIPE)
    after = RESTORERS[name](video, **options(name, video))
    assert after.audio is SOUND
    assert after.recipe is RECIPE
    assert after.fps == (16.0 if name == "interpolate" else 8.0)
    assert after.frames.shape[1:] == video.frames.shape[1:]


@pytest.mark.parametrize("name", ORDER)
def test_a_cut_divides_as_two_files_would(name):
    """Two shots in one file come out as each of them alone: nothing passes the cut."""
    pytest.importorskip("cv2")
    frames = two_shots()
    both, first, second = (Video(f, 8.0) for f in (frames, frames[:6], frames[6:]))
    assert find_cuts(frames) == [6]
    given = options(name, both) | ({"noise": 0.03} if name.startswith("denoise") else {})
    run = lambda video, cuts: RESTORERS[name](video, cuts=cuts, **given).frames
    whole, a, b = run(both, None), run(first, []), run(second, [])
    np.testing.assert_array_equal(whole[: len(a)], a)
    np.testing.assert_array_equal(whole[-len(b) :], b)


@pytest.mark.parametrize("name", ["denoise", "deflicker", "auto-levels"])
def test_without_the_cut_it_would_not(name):
    pytest.importorskip("cv2")
    frames = damage.flicker(two_shots(), 0.05)
    given = {"noise": 0.03} if name == "denoise" else {}
    apart = RESTORERS[name](Video(frames[6:], 8.0), cuts=[], **given).frames
    assert not np.array_equal(RESTORERS[name](Video(frames, 8.0), cuts=[], **given).frames[6:], apart)


def test_a_chain_is_its_restorers_one_after_the_other():
    pytest.importorskip("cv2")
    video = Video(damage.flicker(two_shots(), 0.05), 8.0, recipe=RECIPE)
    by_hand = RESTORERS["interpolate"](RESTORERS["deflicker"](denoise(video, cuts=[6]), cuts=[6], sigma=2.0), cuts=[6])
    chained = restore(video, ["denoise", ("deflicker", {"sigma": 2.0}), "interpolate"], cuts=[6])
    np.testing.assert_array_equal(chained.frames, by_hand.frames)
    assert chained.recipe == RECIPE | {
        "restored": [{"name": "denoise"}, {"name": "deflicker", "sigma": 2.0}, {"name": "interpolate"}]
    }
    assert video.recipe == RECIPE


def test_after_interpolation_the_chain_still_knows_the_cut():
    pytest.importorskip("cv2")
    video = Video(two_shots(), 8.0)
    restored = restore(video, ["interpolate", ("denoise", {"noise": 0.03})], cuts=[6])
    alone = restore(Video(video.frames[6:], 8.0), ["interpolate", ("denoise", {"noise": 0.03})], cuts=[])
    np.testing.assert_array_equal(restored.frames[-11:], alone.frames)


@pytest.mark.parametrize(
    ("steps", "says"),
    [(["denois"], "Did you mean 'denoise'"), ([("deflicker", {"sigmas": 1})], "Did you mean 'sigma'")],
)
def test_a_wrong_name_is_told_before_any_work(steps, says):
    with pytest.raises(ValueError, match=says):
        restore(Video(np.zeros((2, 8, 8, 3), np.uint8), 8.0), steps)


def test_cuts_outside_the_video_are_refused():
    with pytest.raises(ValueError, match=r"cuts=\[9\]"):
        restore(Video(np.zeros((4, 8, 8, 3), np.uint8), 8.0), ["deflicker"], cuts=[9])


def test_without_opencv_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r"flipbook\[data\]"):
        denoise(Video(two_shots(), 8.0), cuts=[6])


def test_one_frame_is_a_video_too():
    pytest.importorskip("cv2")
    video = Video(damage.noisy(draw("shapes", 3).frames[:1], 8), 8.0)
    for name in ORDER:
        assert len(RESTORERS[name](video, **options(name, video))) == 1
