"""Frames that repeat the one before."""

from __future__ import annotations

import numpy as np

from flipbook.footage import cells

from .base import Footage, Reading

STILL = 0.5   # grey levels: the busiest of 16 x 16 cells changes by less in a repeated frame
MOVING = 2.0  # grey levels: what the busiest cell did before, so that a thing which comes to rest is no freeze
RUN = 3       # repeated frames in a row are a freeze, if other frames move
FINE = 16     # cells per side; a small thing that moves must show in one of them


def frozen(footage: Footage) -> Reading:
    """The longest run of frames that repeat the one before, where the picture was in motion just before.

    Not the mean of the change over the picture, which a small mover hardly lifts, but that of the busiest of 16 x 16 cells. A clip
    that stands still from its start has no freeze: details say so by `share` of repeated frames, for whoever asked for motion.
    """
    change = np.zeros(len(footage.frames))                                           # (T,) grey levels in the busiest cell
    for t in range(1, len(change)):
        step = np.abs(footage.frames[t].astype(np.int16) - footage.frames[t - 1])
        change[t] = cells(step[None], FINE).max()
    repeated = (change < STILL) & ~footage.is_new_shot
    runs = run_lengths(repeated)
    starts = np.arange(len(runs)) - runs                                             # the last frame that moved
    sudden = (change[starts] > MOVING) & ~footage.is_new_shot[starts]
    lengths = np.where(sudden, runs, 0)
    longest, end = int(lengths.max()), int(lengths.argmax())
    share = float(repeated.sum() / max((~footage.is_new_shot).sum(), 1))
    fired = longest >= RUN
    marks = tuple(range(end - longest + 1, end + 1)) if fired else ()
    reason = f"{longest} frames from frame {marks[0]} on repeat the one before" if fired else "no freeze"
    if share == 1 and len(runs) > 1:
        reason = "nothing moves in the whole clip"
    return Reading("frozen", float(longest), "frames", RUN - 1.0, fired, reason, lengths.astype(float), marks,
                   {"share": share}, RUN)  # fmt: skip


def run_lengths(flags: np.ndarray) -> np.ndarray:
    """How many flags in a row, up to and with each place, bool (T,) to int (T,)."""
    lengths = np.zeros(len(flags), int)
    for t, flag in enumerate(flags):
        lengths[t] = (lengths[t - 1] + 1 if t else 1) if flag else 0
    return lengths
