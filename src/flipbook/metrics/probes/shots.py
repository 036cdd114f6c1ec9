"""Cuts, and pictures that show nothing."""

from __future__ import annotations

import numpy as np

from .base import Footage, Reading

FLAT = 2.0         # grey levels of standard deviation: less is an empty frame
CLIPPED = 0.98     # share of the values at either end of the range
EMPTY_SHARE = 0.1  # of the frames may be empty, a fade for instance


def cuts(footage: Footage) -> Reading:
    """The number of cuts and dissolves. One shot was asked for in most requests, so any fires; `marks` are the first frames
    that show a new shot."""
    melting = [start for start, end in footage.dissolves if not any(start <= cut <= end for cut in footage.cuts)]
    marks = tuple(sorted([*footage.cuts, *melting]))
    series = np.zeros(len(footage.frames))
    series[list(marks)] = 1.0
    where = ", ".join(f"{t}{' (a dissolve)' if t in melting else ''}" for t in marks[:6])
    reason = f"a new shot begins at frame {where}" if marks else "one shot"
    return Reading("cuts", float(len(marks)), "cuts", 0.0, bool(marks), reason, series, marks, {"dissolves": float(len(melting))})


def dead(footage: Footage) -> Reading:
    """The share of frames that are nearly one colour, or clipped nearly everywhere at one end of the range."""
    flat = np.array([frame.reshape(-1, 3).std(0).max() < FLAT for frame in footage.frames])
    clipped = np.array([max((frame <= 1).mean(), (frame >= 254).mean()) > CLIPPED for frame in footage.frames])
    empty = flat | clipped
    value = float(empty.mean())
    fired = value > EMPTY_SHARE
    reason = f"{value:.0%} of the frames show nothing" if fired else "every frame shows something"
    return Reading("dead", value, "share of frames", EMPTY_SHARE, fired, reason, empty.astype(float),
                   tuple(int(t) for t in np.flatnonzero(empty)) if fired else ())  # fmt: skip
