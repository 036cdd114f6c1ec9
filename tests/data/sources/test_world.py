import numpy as np
import pytest

from flipbook.data.framing import Framing
from flipbook.data.labels import LABELS
from flipbook.data.sources.world import WorldSource


def test_asking_for_labels_changes_nothing_else_of_a_sample():
    framing = Framing(num_frames=4, clip_frames=16, frame_stride=5, height=32, width=48)
    plain, told = (WorldSource("shapes", options, framing, "train").sample(3, 7, 3) for options in ({}, {"labels": True}))
    assert np.array_equal(plain.video, told.video)
    assert plain.caption == told.caption
    assert plain.extra == {}
    assert {name: one.shape for name, one in told.extra["labels"].items()} == dict.fromkeys(LABELS, (4, 8, 12))
    assert all(one.any() for one in told.extra["labels"].values())


SMALL = Framing(num_frames=4, clip_frames=16, frame_stride=5, height=32, width=48)
SENTENCES = ["a red circle moves right on a black background", "a green square stays still on a gray background"]


def test_sentences_are_shown_in_turn_each_scene_anew():
    source = WorldSource("shapes", {"sentences": SENTENCES}, SMALL, "train")
    samples = [source.sample(k, 7, k) for k in range(4)]
    assert [sample.caption for sample in samples] == SENTENCES * 2
    assert not np.array_equal(samples[0].video, samples[2].video)
    assert np.array_equal(source.sample(2, 7, 2).video, samples[2].video)


def test_sentences_that_training_must_not_show_or_that_cannot_be_shown_are_refused():
    for options, message in (
        ({"sentences": ["a blue square stays still on a black background"]}, "held out"),
        ({"sentences": ["a dog barks"]}, "plain grammar"),
        ({"sentences": SENTENCES, "num_objects": 1}, "Leave out num_objects"),
    ):
        with pytest.raises(ValueError, match=message):
            WorldSource("shapes", options, SMALL, "train")


def test_motion_is_the_length_of_the_true_flow_whatever_the_stride():
    source = lambda stride: WorldSource("shapes", {"sentences": SENTENCES, "motion": True}, Framing(num_frames=16 // stride, frame_stride=stride), "train")
    moves, rests = (source(1).sample(k, 7, k).extra["motion"] for k in (0, 1))
    assert rests == pytest.approx(0.0, abs=1e-9)
    assert moves > 0.01
    assert source(2).sample(0, 7, 0).extra["motion"] == pytest.approx(moves, rel=0.05)
