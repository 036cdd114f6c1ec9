import numpy as np

from flipbook.data import world
from flipbook.data.framing import Framing
from flipbook.data.sources.world import LABELS, WorldSource, label_map


def test_labels_name_the_shape_that_is_seen_at_each_place():
    clip = world.draw("shapes", 5, num_objects=2)
    labels = label_map(clip)
    for thing, mask in zip(clip.scene["objects"], clip.masks, strict=True):
        assert (labels[mask[:, 2::4, 2::4]] == LABELS.index(thing["shape"])).all()
    assert not labels[~clip.masks.any(0)[:, 2::4, 2::4]].any()


def test_figures_have_a_label_and_skies_none():
    assert set(np.unique(label_map(world.draw("figures", 1)))) == {0, LABELS.index("figure")}
    assert not label_map(world.draw("sky", 1)).any()


def test_asking_for_labels_changes_nothing_else_of_a_sample():
    framing = Framing(num_frames=4, clip_frames=16, frame_stride=5, height=32, width=48)
    plain, told = (WorldSource("shapes", options, framing, "train").sample(3, 7, 3) for options in ({}, {"labels": True}))
    assert np.array_equal(plain.video, told.video)
    assert plain.caption == told.caption
    assert plain.extra == {}
    assert told.extra["labels"].shape == (4, 8, 12)
    assert told.extra["labels"].any()
