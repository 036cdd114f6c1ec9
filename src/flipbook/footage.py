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
DISSOLVE_SPANS = (4, 5, 6, 7, 8, 9, 11, 13, 16, 20, 25)  # frames from the last of one shot alone to the first of the next alone
SEEN, EVERYWHERE = 6.0, 0.5  # grey levels: a dissolve changes more than half of the picture by more
HURRY, BESIDE = 1.5, 4 # a dissolve changes the picture so many times faster than the few frames on either side
EVEN = 0.4             # of its even share each step of a dissolve goes the way from one picture to the other, at least
BLENDED = 0.35         # of that way may be left in a frame that is mixed of both; a pan leaves most of it

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


def find_dissolves(frames: np.ndarray) -> list[tuple[int, int]]:
    """Stretches [start, end) of frames that are mixed of the shot before and the shot after, in order; none touches another.

    Two pictures that are no one shot's, as for a cut, and between them frames that lie on the straight line from one to the
    other, each further along it: a pan is never a mixture of its ends, a drift keeps the picture, and a thing that grows or
    turns another colour leaves what is around it. Clouds that change for ever do so as fast before and after.
    """
    small = cells(frames, THUMBNAIL).reshape(len(frames), -1)                        # (T, D)
    steps = np.abs(np.diff(small, axis=0)).mean(1)                                   # (T - 1,)
    found: list[tuple[int, int]] = []
    for span in (span for span in reversed(DISSOLVE_SPANS) if span < len(small)):    # whole dissolves before parts of them
        way = np.abs(small[span:] - small[:-span])
        everywhere = (way.reshape(len(way), -1, 3).max(2) > SEEN).mean(1) > EVERYWHERE
        begins = np.flatnonzero((way.mean(1) > CUT_DIFFERENCE) & everywhere)
        rests = sorted((unblended(small[begin : begin + span + 1]), int(begin)) for begin in begins)
        for rest, begin in rests:
            start, end = begin + 1, begin + span
            if rest < BLENDED and hurry(steps, begin, begin + span) > HURRY and all(end < other_start or start > other_end for other_start, other_end in found):
                found.append((start, end))
    return sorted(found)


def hurry(steps: np.ndarray, begin: int, end: int) -> float:
    """How many times faster the picture changes in steps [begin, end) than in the few before and after, the faster of them."""
    beside = [steps[max(begin - BESIDE, 0) : begin], steps[end : end + BESIDE]]
    return float(steps[begin:end].mean()) / max(*(float(np.median(part)) if len(part) else 0.0 for part in beside), 0.5)


def unblended(small: np.ndarray) -> float:
    """How far the frames between the ends of (n, D) are from mixtures of the two, as a share of the way between them; 1 where
    the ends are one shot's, or the frames between them do not go evenly from one to the other."""
    first, last = small[0], small[-1]
    way = last - first
    a, b = (end.reshape(-1, 3) - end.reshape(-1, 3).mean(0) for end in (first, last))
    lengths = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if min(lengths) < np.sqrt(a.size) or (a * b).sum() > SAME_SHOT * lengths[0] * lengths[1]:
        return 1.0
    along = (small - first) @ way / (way @ way)                                      # (n,) from 0 to 1
    if np.diff(along).min() < EVEN / (len(small) - 1):
        return 1.0
    rest = small - first - along[:, None] * way
    return float(np.linalg.norm(rest, axis=1).max() / np.linalg.norm(way))


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
