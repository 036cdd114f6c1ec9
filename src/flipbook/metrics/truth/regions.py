"""Connected regions of label maps in plain numpy: runs of equal labels along a row, joined between rows."""

from __future__ import annotations

import numpy as np


def label_regions(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the 4-connected regions of equal, non-zero label, frame by frame.

    labels: (T, H, W) integers, 0 = nothing. Returns `regions` (T, H, W) int, 0 = nothing and 1..N the regions in the
    order in which they are first met, and `values` (N + 1,), the label of each region (values[0] = 0).
    """
    num_frames, height, width = labels.shape
    breaks = np.ones((num_frames, height, width), bool)
    breaks[..., 1:] = labels[..., 1:] != labels[..., :-1]
    run = np.cumsum(breaks.ravel()) - 1                                   # every pixel's run, counted over the whole clip
    run_label = labels.ravel()[breaks.ravel()]
    run = run.reshape(labels.shape)

    joined = (labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] != 0)
    above, below = run[:, :-1][joined], run[:, 1:][joined]
    root = np.arange(len(run_label))
    while True:                                                           # min over neighbours, then jump: log-many rounds
        low = np.minimum(root[above], root[below])
        before = root.copy()
        np.minimum.at(root, root[above], low)
        np.minimum.at(root, root[below], low)
        np.minimum.at(root, above, low)
        np.minimum.at(root, below, low)
        root = root[root]
        if np.array_equal(root, before):
            break
    kept = np.unique(root[run_label != 0])
    number = np.zeros(len(run_label) + 1, np.int64)
    number[kept] = np.arange(1, len(kept) + 1)
    region_of_run = np.where(run_label != 0, number[root], 0)
    return region_of_run[run], np.concatenate([[0], run_label[kept]])


def neighbourhood(mask: np.ndarray, reduce: np.ufunc) -> np.ndarray:
    """Reduce each 3 x 3 square of (T, H, W): `np.minimum` erodes, `np.maximum` dilates. The border repeats its edge pixels."""
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
    """Let non-zero `seeds` (T, H, W) spread into `allowed` pixels, 4-connected, at most `steps` pixels far; first come, first kept."""
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
