"""Whether what is there stays the same thing, and goes its way without jumps: from frame to frame, whatever was asked for."""

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
    short, seen = min(frames.shape[1:3]), _sights(frames)
    reach = FARTHEST * short / len(frames)
    kept = [any(_same(one, other, reach) for other in after) for before, after in pairwise(seen) for one in before]
    return sum(kept) / (len(kept) + sum(not sights for sights in seen[:-1]))


def jitter(clip: Any) -> float:
    """How far, in short sides, the largest thing of a frame is from half-way between where it was and where it will be; mean over frames.

    0 for whatever goes straight at a steady rate, or stands still; about 0.4 where every frame has it somewhere else. A frame that sees
    nothing, or whose neighbour does, counts as 1. clip: uint8 (T, H, W, 3) or `Video`. Raises ValueError for fewer than three frames.
    """
    frames = np.asarray(getattr(clip, "frames", clip))
    if len(frames) < 3:
        raise ValueError(f"a clip of {len(frames)} frame(s) has no frame between two others. Give three or more.")
    centres = [max(sights, key=lambda sight: sight.area).centre if sights else None for sights in _sights(frames)]
    off = [
        1.0 if before is None or now is None or after is None else min(1.0, float(np.linalg.norm(now - (before + after) / 2)) / min(frames.shape[1:3]))
        for before, now, after in zip(centres, centres[1:], centres[2:], strict=False)
    ]
    return float(np.mean(off))


def _sights(frames: np.ndarray) -> list[list[Sight]]:
    """What is seen in each frame, specks left out."""
    lab, smallest = rgb_to_lab(frames), MIN_AREA * min(frames.shape[1:3]) ** 2
    return [[s for s in sights if s.area >= smallest] for sights in measure_regions(lab, find_regions(lab, read_background(frames, lab)))]


def _same(one: Sight, other: Sight, reach: float) -> bool:
    near = np.linalg.norm(one.centre - other.centre) < reach
    alike = np.linalg.norm(one.lab - other.lab) < NEW_COLOUR
    return bool(near and alike and 1 / NEW_SIZE < other.area / one.area < NEW_SIZE)
