"""What probes and restorers alike need to know of frames: brightness, cells, where shots begin, how noisy it is.

Frames are uint8 (T, H, W, 3) throughout. NumPy only, so that a look at a file does not wait for torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

CUT_DIFFERENCE = 8.0   # grey levels by which the frames around a cut differ at least, on average over a thumbnail
SAME_SHOT = 0.65       # correlation of two thumbnails from which they are one shot, whatever their brightness
OTHER_SHOT = 0.30      # and below which they are two; in between the colours decide
OTHER_COLOURS = 0.30   # share of the pixels that change their colour, of 64
THUMBNAIL = 16

_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)                               # BT.709


def luma(frames: np.ndarray) -> np.ndarray:
    """Brightness as stored (not linear light) of frames (T, H, W, 3): float32 (T, H, W) in [0, 1]."""
    return np.stack([frame.astype(np.float32) @ (_LUMA / 255) for frame in frames])


def cells(values: np.ndarray, count: int) -> np.ndarray:
    """Means over `count` x `count` cells of (T, H, W, ...) or fewer where the frame is smaller: float32 (T, n, m, ...)."""
    height, width = values.shape[1:3]
    rows = np.linspace(0, height, min(count, height) + 1).astype(int)
    columns = np.linspace(0, width, min(count, width) + 1).astype(int)
    sums = np.add.reduceat(values, rows[:-1], axis=1, dtype=np.float32)
    sums = np.add.reduceat(sums, columns[:-1], axis=2)
    areas = np.diff(rows)[:, None] * np.diff(columns)[None]
    return sums / areas.reshape(areas.shape + (1,) * (values.ndim - 3)).astype(np.float32)


def find_cuts(frames: np.ndarray) -> list[int]:
    """The first frame of every shot but the first, by hard cuts; dissolves are not found.

    A cut is a change of the picture and not of its brightness: the thumbnails on both sides differ and, each freed of its
    mean, do not resemble each other. So flicker and flashes are no cuts, and neither is a fast pan.
    """
    if len(frames) < 2:
        return []
    small = cells(frames, THUMBNAIL)                                                 # (T, n, m, 3)
    difference = np.abs(small[1:] - small[:-1]).mean((1, 2, 3))
    free = small - small.mean((1, 2), keepdims=True)
    length = np.sqrt((free**2).sum((1, 2, 3))) + 1e-3
    correlation = (free[1:] * free[:-1]).sum((1, 2, 3)) / (length[1:] * length[:-1])
    correlation[np.maximum(length[1:], length[:-1]) < np.sqrt(free[0].size)] = 1     # from plain to plain nothing changes but light
    candidates = np.flatnonzero((difference > CUT_DIFFERENCE) & (correlation < SAME_SHOT))
    return [
        int(t) + 1
        for t in candidates
        if correlation[t] < OTHER_SHOT or palette_distance(frames[t], frames[t + 1]) > OTHER_COLOURS
    ]


def palette(frame: np.ndarray) -> np.ndarray:
    """Shares of 64 colours, four levels per channel, in a frame (H, W, 3): (64,)."""
    level = (frame >> 6).astype(np.intp)
    bins = level[..., 0] * 16 + level[..., 1] * 4 + level[..., 2]
    return np.bincount(bins.ravel(), minlength=64) / bins.size


def palette_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the pixels that have no counterpart of their colour in the other frame, in [0, 1]."""
    return float(1 - np.minimum(palette(a), palette(b)).sum())


def shots(num_frames: int, cuts: Sequence[int]) -> list[slice]:
    """The frames of each shot. Raises ValueError unless the cuts rise and lie inside the video."""
    edges = [0, *cuts, num_frames]
    if any(b <= a for a, b in itertools.pairwise(edges)):
        raise ValueError(
            f"cuts={list(cuts)}: a cut is the first frame of a new shot, so they rise and lie between 1 and "
            f"{num_frames - 1} in a video of {num_frames} frames. Try cuts=[] for a single shot."
        )
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def noise_level(frames: np.ndarray, *, at_most: int = 16) -> float:
    """Standard deviation of the pixel noise in luma, in units of [0, 1], from at most so many frames.

    Immerkaer's operator (Fast noise variance estimation, 1996), a second difference in both directions, sees noise but no
    smooth picture; texture is avoided by trusting the calmest quarter of 64 cells, clipped ones left out.
    """
    if min(frames.shape[1:3]) < 8:
        return 0.0
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), at_most)).astype(int))
    y = luma(frames[chosen])
    rough = y[:, :-2] - 2 * y[:, 1:-1] + y[:, 2:]
    rough = rough[:, :, :-2] - 2 * rough[:, :, 1:-1] + rough[:, :, 2:]
    deviation = cells(np.abs(rough), 8) * np.float32(np.sqrt(np.pi / 2) / 6)
    mean = cells(y[:, 1:-1, 1:-1], 8)
    usable = deviation[(mean > 0.04) & (mean < 0.96)]
    return float(np.percentile(usable, 25)) if usable.size else 0.0
