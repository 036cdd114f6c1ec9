"""Flashes that are dangerous to some who look at them."""

from __future__ import annotations

import numpy as np

from .base import Footage, Reading

CHANGE, DARKER = 0.10, 0.80  # of full light: size of a change, and the darker side of it (WCAG 2.2, "general flash")
AREA = 0.25                  # share of the picture that must flash together
PER_SECOND = 3               # flashes in a second that are still allowed


def flashes(footage: Footage) -> Reading:
    """The most flashes within a second, after WCAG 2.2's general flash: two opposite changes of luminance by 10 % of full light.

    A cell (of 8 x 8) changes when its linear-light brightness has come that far from its last turning point, whatever the number
    of frames it took; a change counts when a quarter of the picture makes it in the same or the next frame. Without a screen's
    size, area is measured as a share of the picture, which is stricter than the rule. A cut counts as a change like any other.
    """
    light = linear(footage.cell_luma).reshape(len(footage.frames), -1)               # (T, N)
    moves = turning_changes(light)                                                   # (T, N) in {-1, 0, 1}
    changes: list[tuple[int, int]] = []                                              # (frame, direction), directions in turn
    for t in range(1, len(moves)):
        near = moves[t - 1 : t + 1]
        for direction in (1, -1):
            if (near == direction).any(0).mean() >= AREA and (not changes or changes[-1][1] != direction):
                changes.append((t, direction))
                break
    ends = [t for (_, _), (t, _) in zip(changes[::2], changes[1::2], strict=False)]  # a flash is a pair of changes
    window = max(round(footage.fps), 1)
    series = np.array([sum(t - window < end <= t for end in ends) for t in range(len(light))], float)
    value = float(series.max(initial=0))
    fired = value > PER_SECOND
    reason = f"{value:.0f} flashes within a second" if fired else "no series of flashes"
    return Reading("flashes", value, "flashes a second", PER_SECOND, fired, reason, series, tuple(ends) if fired else (),
                   {"flashes": float(len(ends))}, PER_SECOND)  # fmt: skip


def linear(stored: np.ndarray) -> np.ndarray:
    """Relative luminance of grey stored in sRGB, both in [0, 1]."""
    return np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)


def turning_changes(light: np.ndarray) -> np.ndarray:
    """+1 or -1 in the frame in which a cell has risen or fallen far enough since it last turned, light (T, N)."""
    moves = np.zeros(light.shape, int)
    low, high = light[0].copy(), light[0].copy()                                     # extremes since the last change
    last = np.zeros(light.shape[1], int)
    for t, now in enumerate(light):
        low, high = np.minimum(low, now), np.maximum(high, now)
        rise = (now - low >= CHANGE) & (low < DARKER) & (last != 1)
        fall = (high - now >= CHANGE) & (now < DARKER) & (last != -1)
        moves[t] = rise.astype(int) - (fall & ~rise)
        turned = rise | fall
        last = np.where(moves[t] != 0, moves[t], last)
        low, high = np.where(turned | (last == -1), now, low), np.where(turned | (last == 1), now, high)
        low, high = np.where(last == 1, np.maximum(low, 0), low), high
    return moves
