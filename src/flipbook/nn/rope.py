"""Rotary positions over real-valued (t, y, x): a logit depends only on differences of coordinates (arXiv:2104.09864)."""

from __future__ import annotations

import torch
from torch import Tensor

from flipbook.nn.positions import real


def split_axes(head_dim: int) -> tuple[int, int, int]:
    """How many of a head's channels turn with t, y and x: y and x get 2 * (head_dim // 6) each, t the rest."""
    side = 2 * (head_dim // 6)
    return head_dim - 2 * side, side, side


def rotary_table(coords: Tensor, head_dim: int, bases: tuple[float, float, float] = (100.0, 100.0, 100.0)) -> tuple[Tensor, Tensor]:
    """Cosines and sines for tokens at real coordinates.

    coords: (..., N, 3), the (t, y, x) of each token: t in units of 1/8 second, y and x in latent cells from the centre.
    Returns two tensors (..., N, head_dim / 2), float32, or float64 as the coordinates. Small bases suit short axes: the slowest wave spans about 2 pi * base.
    """
    parts = []
    for axis, (dim, base) in enumerate(zip(split_axes(head_dim), bases, strict=True)):
        places = real(coords[..., axis, None])
        freqs = base ** (-torch.arange(0, dim, 2, dtype=places.dtype, device=coords.device) / dim)
        parts.append(places * freqs)
    angles = torch.cat(parts, dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the channel pairs (i, i + head_dim / 2) of queries or keys (B, N, heads, head_dim) by the table's angles."""
    cos, sin = (part.unsqueeze(-2).to(x.dtype) for part in table)           # (..., N, 1, head_dim / 2)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
