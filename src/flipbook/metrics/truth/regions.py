"""Connected regions of label maps in plain numpy: runs of equal labels along a row, joined between rows."""

from __future__ import annotations

import numpy as np


def label_regions(labels: np.ndarray) -> np.ndarray:
    """Number the 4-connected regions of equal, non-zero label, frame by frame: (T, H, W) to (T, H, W), 0 = nothing."""
    breaks = np.ones(labels.shape, bool)
    breaks[..., 1:] = labels[..., 1:] != labels[..., :-1]
    run = np.cumsum(breaks.ravel()).reshape(labels.shape) - 1              # every pixel's run, counted over the clip
    joined = (labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] != 0)
    root = join_numbers(int(run[-1, -1, -1]) + 1, run[:, :-1][joined], run[:, 1:][joined])
    nothing = labels.ravel()[breaks.ravel()] == 0
    _, number = np.unique(root[~nothing], return_inverse=True)
    region = np.zeros(len(root), np.int64)
    region[~nothing] = number + 1
    return region[run]


def join_numbers(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The smallest member of each number's group, (count,), where first[i] and second[i] always belong together."""
    root = np.arange(count)
    while True:                                # hook each root to the smaller one beside it, then jump: log-many rounds
        a, b = root[first], root[second]
        if np.array_equal(a, b):
            return root
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(root, root[root]):
            root = root[root]


def touching_pairs(regions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ordered pairs of different non-zero numbers that are 4-neighbours somewhere in (T, H, W): (P,) and (P,)."""
    pairs = []
    for a, b in ((regions[:, 1:], regions[:, :-1]), (regions[..., 1:], regions[..., :-1])):
        meet = (a != b) & (a > 0) & (b > 0)
        pairs += [np.stack([a[meet], b[meet]]), np.stack([b[meet], a[meet]])]
    first, second = np.unique(np.concatenate(pairs, axis=1), axis=1)
    return first, second


def neighbourhood(mask: np.ndarray, reduce: np.ufunc) -> np.ndarray:
    """Reduce each 3 x 3 square of (T, H, W): `np.minimum` erodes, `np.maximum` dilates. The border repeats itself."""
    rows = mask.copy()
    reduce(rows[:, 1:], mask[:, :-1], out=rows[:, 1:])
    reduce(rows[:, :-1], mask[:, 1:], out=rows[:, :-1])
    out = rows.copy()
    reduce(out[..., 1:], rows[..., :-1], out=out[..., 1:])
    reduce(out[..., :-1], rows[..., 1:], out=out[..., :-1])
    return out


def box_mean(x: np.ndarray) -> np.ndarray:
    """Mean over each 3 x 3 square of (T, H, W, C) float; the border repeats its edge pixels."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9


def grow_labels(seeds: np.ndarray, allowed: np.ndarray, steps: int) -> np.ndarray:
    """Let non-zero `seeds` (T, H, W) spread over `allowed` 4-neighbours, at most `steps` pixels far."""
    out = seeds.copy()
    for _ in range(steps):
        offer = np.zeros_like(out)
        np.maximum(offer[:, 1:], out[:, :-1], out=offer[:, 1:])
        np.maximum(offer[:, :-1], out[:, 1:], out=offer[:, :-1])
        np.maximum(offer[..., 1:], out[..., :-1], out=offer[..., 1:])
        np.maximum(offer[..., :-1], out[..., 1:], out=offer[..., :-1])
        free = allowed & (out == 0) & (offer != 0)
        out[free] = offer[free]
    return out
