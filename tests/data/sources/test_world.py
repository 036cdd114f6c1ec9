import numpy as np

from flipbook.data.framing import Framing
from flipbook.data.sources.world import WorldSource


def test_asking_for_labels_changes_nothing_else_of_a_sample():
    framing = Framing(num_frames=4, clip_frames=16, frame_stride=5, height=32, width=48)
    plain, told = (WorldSource("shapes", options, framing, "train").sample(3, 7, 3) for options in ({}, {"labels": True}))
    assert np.array_equal(plain.video, told.video)
    assert plain.caption == told.caption
    assert plain.extra == {}
    assert {name: one.shape for name, one in told.extra["labels"].items()} == {"kinds": (4, 8, 12), "moves": (4, 8, 12)}
    assert all(one.any() for one in told.extra["labels"].values())
