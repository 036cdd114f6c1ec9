"""Squares that move, drawn in a microsecond: what tiny networks can learn in a minute."""

from __future__ import annotations

import torch

from flipbook.data.batch import Batch


def squares(n, *, first=0, frames=4, side=16, size=4):
    """n clips of one bright square on black that moves one cell per frame, bouncing; clip k is a function of its number."""
    video = torch.full((n, 3, frames, side, side), -1.0)
    for row in range(n):
        g = torch.Generator().manual_seed(7919 * (first + row) + 13)
        y, x, dy, dx, colour = (int(v) for v in torch.randint(0, 1000, (5,), generator=g))
        y, x, dy, dx = y % (side - size), x % (side - size), dy % 3 - 1, dx % 3 - 1
        for f in range(frames):
            video[row, colour % 3, f, y : y + size, x : x + size] = 1.0
            dy, dx = (-d if not 0 <= p + d <= side - size else d for p, d in ((y, dy), (x, dx)))
            y, x = y + dy, x + dx
    return Batch(
        video=video, captions=["a square moves"] * n, frame_index=torch.arange(float(frames)).expand(n, frames),
        fps=torch.full((n,), 8.0), index=list(range(first, first + n)), source=["squares"] * n,
    )  # fmt: skip
