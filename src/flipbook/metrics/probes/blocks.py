"""Grids that do not belong to the picture: blocks of a codec, the checkerboard of an upsampler."""

from __future__ import annotations

import numpy as np

from .base import Footage, Reading

BLOCK = 8
BLOCKY = 1.45      # steps at the borders of blocks against those beside them
FLAT = 0.5 / 255   # added to both, so that a flat picture divides nothing by nothing
CHECKERED = 3.0    # power at the finest frequency against that of its neighbours
TILES, CALMER = 4, 40  # per side; the percentile of them that counts
SAMPLED = 48       # frames are enough for a clip's own habits


def blockiness(footage: Footage) -> Reading:
    """How much larger the steps between 8 x 8 blocks are than those beside them, counted from the first row and column.

    For each border the mean step along it, over the mean of the steps one and two pixels to both sides; the median over
    the borders, so that an outline which happens to lie on one counts for one; rows and columns averaged. 1 is no blocks.
    """
    per_frame = [np.mean([border_ratio(frame, axis) for axis in (0, 1)]) for frame in sampled(footage.luma)]
    y = sampled(footage.luma)
    value = float(np.mean([border_ratio(y, axis) for axis in (1, 2)]))
    fired = value > BLOCKY
    reason = f"steps between 8 x 8 blocks are {value:.2f} times those beside them" if fired else "no blocks"
    return Reading("blockiness", value, "ratio", BLOCKY, fired, reason, spread_out(per_frame, len(footage.frames)), line=BLOCKY)


def border_ratio(y: np.ndarray, axis: int) -> float:
    """Median over the block borders across one axis (of the last two) of (H, W) or (T, H, W)."""
    axis = axis - y.ndim
    steps = np.abs(np.diff(y, axis=axis))
    profile = steps.mean(axis=tuple(k for k in range(-y.ndim, 0) if k != axis))      # step k lies between k and k + 1
    borders = np.arange(BLOCK - 1, len(profile) - 2, BLOCK)
    if not len(borders):
        return 1.0
    beside = (profile[borders - 2] + profile[borders - 1] + profile[borders + 1] + profile[borders + 2]) / 4
    return float(np.median((profile[borders] + FLAT) / (beside + FLAT)))


def checkerboard(footage: Footage) -> Reading:
    """Power at the Nyquist frequency over that just below it (0.8 to 0.97 of it), the larger of rows and columns.

    Pictures fade out towards the finest frequency; an upsampler that treats odd and even pixels differently leaves a line there,
    all over the picture: letters laid over it, whose strokes are a pixel wide, leave theirs in a few of 4 x 4 tiles, and the
    lower middle of the tiles counts.
    """
    y = sampled(footage.luma)
    values = np.array([max(np.percentile([nyquist_ratio(tile, axis) for tile in tiles(frame)], CALMER) for axis in (0, 1)) for frame in y])
    value = float(np.median(values))
    fired = value > CHECKERED
    reason = f"odd and even pixels differ: {value:.1f} times the power of the frequencies beside" if fired else "no checkerboard"
    return Reading("checkerboard", value, "ratio", CHECKERED, fired, reason, spread_out(values, len(footage.frames)), line=CHECKERED)


def tiles(frame: np.ndarray) -> list[np.ndarray]:
    """A frame (H, W) in 4 x 4 parts of 16 pixels or more, fewer where it is smaller."""
    rows, columns = (np.array_split(np.arange(side), max(1, min(TILES, side // 16))) for side in frame.shape)
    return [frame[row[0] : row[-1] + 1, column[0] : column[-1] + 1] for row in rows for column in columns]


def nyquist_ratio(y: np.ndarray, axis: int) -> float:
    """For a part of a frame (H, W); 8-bit rounding is added as a floor to both powers."""
    even = y[: y.shape[0] // 2 * 2, : y.shape[1] // 2 * 2]
    size = even.shape[axis]
    window = np.hanning(size + 1)[:-1]
    free = even - even.mean(axis=axis, keepdims=True)
    tapered = free * (window[:, None] if axis == 0 else window[None])
    power = (np.abs(np.fft.rfft(tapered, axis=axis)) ** 2).mean(axis=1 - axis)
    floor = (window**2).sum() * (1 / 255) ** 2 / 12
    low, high = int(0.8 * size / 2), max(int(0.97 * size / 2), int(0.8 * size / 2) + 1)
    return float((power[-1] / 2 + floor) / (power[low:high].mean() + floor))         # Nyquist holds both signs of its frequency


def sampled(y: np.ndarray) -> np.ndarray:
    return y[np.unique(np.linspace(0, len(y) - 1, min(len(y), SAMPLED)).astype(int))]


def spread_out(values: np.ndarray | list, count: int) -> np.ndarray:
    """Values of sampled frames as a series for all."""
    return np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(values)), values)
