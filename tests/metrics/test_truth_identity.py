"""Whether a thing stays the same thing: one in the world's clips, none where every frame is from another clip."""

from __future__ import annotations

import numpy as np
import pytest

from flipbook.data.world import draw
from flipbook.metrics.prompts import own_prompts
from flipbook.metrics.truth.identity import jitter, kept_share


def clips(count, num_objects=1):
    return [draw("shapes", 2 * s + 1, height=32, width=32, num_frames=8, num_objects=num_objects, plain=True).frames for s in range(count)]


@pytest.mark.parametrize("num_objects", [1, 2])
def test_things_of_the_world_stay_what_they_are(num_objects):
    assert np.mean([kept_share(clip) for clip in clips(20, num_objects)]) > 0.95


def test_frames_of_different_clips_keep_hardly_anything():
    world = clips(24)
    mixed = [np.stack([world[(i + 5 * t) % 24][t] for t in range(8)]) for i in range(12)]
    assert np.mean([kept_share(clip) for clip in mixed]) < 0.35


def disc(x, y, colour=(255, 0, 0), radius=5):
    rows, columns = np.mgrid[:32, :32]
    frame = np.zeros((32, 32, 3), np.uint8)
    frame[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = colour
    return frame


def test_each_way_of_becoming_another_thing_counts():
    still = [disc(8, 16)] * 8
    assert kept_share(np.stack(still)) == 1.0
    for other in (disc(8, 16, colour=(0, 0, 255)), disc(8, 16, radius=9)):
        assert kept_share(np.stack([*still[:7], other])) == pytest.approx(6 / 7)
    lost = np.zeros((32, 32, 3), np.uint8)
    assert kept_share(np.stack([*still[:6], lost, lost])) == pytest.approx(5 / 7)   # it goes, and stays away
    long = np.stack([disc(6, 16)] * 15 + [disc(26, 16)])
    assert kept_share(long) == pytest.approx(14 / 15)                       # a jump that nothing in the world makes


def test_what_goes_straight_does_not_jitter_and_a_jump_counts_by_its_length():
    straight = [disc(6 + 2 * t, 16) for t in range(8)]
    assert jitter(np.stack(straight)) < 0.01
    assert jitter(np.stack([disc(8, 16)] * 8)) == 0.0
    jump = np.stack([disc(8, 16)] * 4 + [disc(8, 8)] + [disc(8, 16)] * 3)   # 8 pixels of 32 away, for one frame
    assert jitter(jump) == pytest.approx((0.25 + 2 * 0.125) / 6, abs=0.01)
    gone = np.stack([disc(8, 16)] * 7 + [np.zeros((32, 32, 3), np.uint8)])
    assert jitter(gone) == pytest.approx(1 / 6)


def test_motions_of_the_world_jitter_far_less_than_frames_in_any_order():
    chance, world = np.random.default_rng(0), clips(12)
    assert np.mean([jitter(clip) for clip in world]) < 0.5 * np.mean([jitter(clip[chance.permutation(8)]) for clip in world])
    with pytest.raises(ValueError, match="no frame between two others"):
        jitter(world[0][:2])


def test_one_frame_keeps_nothing():
    with pytest.raises(ValueError, match="two frames or more"):
        kept_share(np.stack([disc(8, 8)]))


def test_sentences_of_ones_own_are_judged_where_they_are_plain():
    texts = ["a red circle falls on a black background", "a red circle falls and a blue star spins on a teal background", "a cat in the rain"]
    prompts = own_prompts(texts, 3)
    assert [prompt.group in ("seen", "held-out") for prompt in prompts] == [True, False, False]
    assert [prompt.group for prompt in prompts[1:]] == ["two", "own"]
    assert len({prompt.seed for prompt in own_prompts(texts * 2, 3)}) == 6
    assert [prompt.seed for prompt in own_prompts(texts, 4)] != [prompt.seed for prompt in prompts]
