"""Whether what is there stays the same thing: from each frame to the next, without any belief about how it moves."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from flipbook.metrics.truth.background import read_background
from flipbook.metrics.truth.colour import rgb_to_lab
from flipbook.metrics.truth.tracks import MIN_AREA, Sight, find_regions, measure_regions

FARTHEST = 6.0           # of S over the clip, per frame 6 / T: twice as fast as anything in the world
NEW_COLOUR = 40.0         # CIELAB from frame to frame: red and orange are 37 apart
NEW_SIZE = 2.0            # times the area, or a part of it


def kept_share(clip: Any) -> float:
    """Of all objects seen in a frame, the share that the next frame has again: near, of that colour, of about that size. [0, 1].

    clip: uint8 (T, H, W, 3) or `Video`. A frame in which nothing is seen counts as one object that is lost. A frozen clip scores 1, so
    read it beside what is said of motion. Raises ValueError for clips of one frame.
    """
    frames = np.asarray(getattr(clip, "frames", clip))
    if len(frames) < 2:
        raise ValueError("a clip of one frame keeps nothing. Give two frames or more.")
    lab, short = rgb_to_lab(frames), min(frames.shape[1:3])
    seen = [
        [sight for sight in sights if sight.area >= MIN_AREA * short**2]
        for sights in measure_regions(lab, find_regions(lab, read_background(frames, lab)))
    ]
    reach = FARTHEST * short / len(frames)
    kept = [any(_same(one, other, reach) for other in after) for before, after in pairwise(seen) for one in before]
    return sum(kept) / (len(kept) + sum(not sights for sights in seen[:-1]))


def _same(one: Sight, other: Sight, reach: float) -> bool:
    near = np.linalg.norm(one.centre - other.centre) < reach
    alike = np.linalg.norm(one.lab - other.lab) < NEW_COLOUR
    return bool(near and alike and 1 / NEW_SIZE < other.area / one.area < NEW_SIZE)
