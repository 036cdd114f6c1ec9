"""Frames that repeat the one before."""

from __future__ import annotations

import numpy as np

from flipbook.footage import cells

from .base import Footage, Reading

STILL = 0.5   # grey levels: the busiest of 16 x 16 cells changes by less in a repeated frame
RUN = 3       # repeated frames in a row are a freeze, if other frames move
FINE = 16     # cells per side; a small thing that moves must show in one of them


def frozen(footage: Footage) -> Reading:
    """The longest run of frames that repeat the one before, in a clip that otherwise moves; details: their share.

    Not the mean of the change over the picture, which a small mover hardly lifts, but that of the busiest of 16 x 16 cells. A clip
    that stands still throughout has no freeze: details say so by `share` = 1, and whoever asked for motion looks there.
    """
    y = footage.luma
    change = np.zeros(len(y))                                                        # (T,) grey levels in the busiest cell
    for t in range(1, len(y)):
        change[t] = 255 * cells(np.abs(y[t : t + 1] - y[t - 1 : t]), FINE).max()
    comparable = ~footage.is_new_shot
    repeated = (change < STILL) & comparable
    runs = run_lengths(repeated)
    longest = int(runs.max())
    share = float(repeated.sum() / max(comparable.sum(), 1))
    fired = longest >= RUN and share < 1
    end = int(runs.argmax())
    marks = tuple(range(end - longest + 1, end + 1)) if fired else ()
    if fired:
        reason = f"{longest} frames from frame {end - longest + 1} on repeat the one before"
    else:
        reason = "nothing moves in the whole clip" if share == 1 and len(y) > 1 else "no freeze"
    return Reading("frozen", float(longest) if share < 1 else 0.0, "frames", RUN - 1.0, fired, reason, np.where(repeated, runs, 0).astype(float),
                   marks, {"share": share})  # fmt: skip


def run_lengths(flags: np.ndarray) -> np.ndarray:
    """How many flags in a row, up to and with each place, bool (T,) to int (T,)."""
    lengths = np.zeros(len(flags), int)
    for t, flag in enumerate(flags):
        lengths[t] = (lengths[t - 1] + 1 if t else 1) if flag else 0
    return lengths
