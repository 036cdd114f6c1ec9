"""Brightness that goes to and fro: of the whole picture, and of parts of it."""

from __future__ import annotations

import numpy as np

from .base import Footage, Reading

THRESHOLD = 1.0        # grey levels; +-0.25 grey levels of alternating mean brightness
LOCAL_THRESHOLD = 1.0  # grey levels by which half of the picture's cells turn back, on average over the frames


def flicker(footage: Footage) -> Reading:
    """How much the mean luma of a frame turns back, in grey levels (0 to 255): 2 min(|a|, |b|) for changes a, b of opposite sign.

    An alternation of +-A gives 4 A, as the second difference does, of which this is the part that returns: an explosion, a
    lamp that is switched on and a fade, however fast, give nothing. Frames across a cut are not compared.
    """
    level = 255 * footage.luma.mean((1, 2))                                          # (T,)
    series = np.zeros(len(level))
    for shot in footage.shots:
        a, b = np.diff(level[shot])[:-1], np.diff(level[shot])[1:]
        series[shot][1:-1] = 2 * np.minimum(np.abs(a), np.abs(b)) * (a * b < 0)
    usable = sum(max(shot.stop - shot.start - 2, 0) for shot in footage.shots)
    value = float(series.sum() / max(usable, 1))
    worst = tuple(int(t) for t in np.flatnonzero(series > 4 * THRESHOLD)[:64])
    fired = value > THRESHOLD
    reason = f"the mean brightness wavers by {value:.2g} grey levels a frame" if fired else "steady brightness"
    return Reading("flicker", value, "grey levels", THRESHOLD, fired, reason, series, worst if fired else (), line=THRESHOLD)


def local_flicker(footage: Footage) -> Reading:
    """Grey levels by which parts of the picture brighten and darken in turn while others may not: 8 x 8 cells.

    A cell turns back by min(|a|, |b|) when its two next changes a and b have opposite signs. What passes through a cell turns
    it back once; what flickers does so at every frame, hence the median over time of each cell, and the upper quartile of the
    cells. An alternation of +-A in a quarter of the picture or more gives 2 A.
    """
    change = 255 * np.diff(footage.cell_luma.reshape(len(footage.frames), -1), axis=0)  # (T - 1, N)
    change[footage.is_new_shot[1:]] = 0
    back = np.minimum(np.abs(change[:-1]), np.abs(change[1:])) * (change[:-1] * change[1:] < 0)  # (T - 2, N)
    series = np.zeros(len(footage.frames))
    if not len(back):
        return Reading("local flicker", 0.0, "grey levels", LOCAL_THRESHOLD, False, "too short to tell", series)
    series[1:-1] = np.percentile(back, 75, axis=1)
    value = float(np.percentile(np.median(back, axis=0), 75))
    fired = value > LOCAL_THRESHOLD
    reason = f"a quarter of the picture wavers by {value:.2g} grey levels a frame" if fired else "no part wavers"
    return Reading("local flicker", value, "grey levels", LOCAL_THRESHOLD, fired, reason, series, line=LOCAL_THRESHOLD)
