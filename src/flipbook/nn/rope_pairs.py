"""Rotary positions as public checkpoints have them: neighbouring channels are a pair, and the three axes share one base (arXiv:2104.09864)."""

from __future__ import annotations

import torch
from torch import Tensor

from flipbook.nn.rope import split_axes


def rotary_pairs(frame_index: Tensor, rows: int, columns: int, head_dim: int, base: float = 10_000.0) -> Tensor:
    """Cosine and sine (B, T rows columns, head_dim / 2, 2), float32, for each channel pair of a token, tokens in (t h w) order.

    frame_index: (B, T) real. Rows and columns count from 0. A head's pairs are split among the axes as `split_axes` says.
    """
    b, frames = frame_index.shape
    device = frame_index.device
    places = (frame_index, torch.arange(rows, device=device)[None], torch.arange(columns, device=device)[None])
    parts = []
    for axis, (place, dim) in enumerate(zip(places, split_axes(head_dim), strict=True)):
        freqs = base ** (-torch.arange(0, dim, 2, dtype=torch.float64, device=device) / dim)
        angles = place.to(torch.float64)[..., None] * freqs                # (B or 1, n, dim / 2)
        turn = torch.stack([angles.cos(), angles.sin()], dim=-1).float()
        shape = [turn.shape[0], 1, 1, 1, dim // 2, 2]
        shape[1 + axis] = turn.shape[1]
        parts.append(turn.view(shape).expand(b, frames, rows, columns, -1, -1))
    return torch.cat(parts, dim=-2).flatten(1, 3)


def frame_pairs(frame_index: Tensor, cells: int, head_dim: int, base: float = 10_000.0) -> Tensor:
    """The same for the time of a token alone, which all channel pairs turn with: (B, T cells, head_dim / 2, 2)."""
    freqs = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64, device=frame_index.device) / head_dim)
    angles = frame_index.to(torch.float64)[..., None] * freqs               # (B, T, head_dim / 2)
    return torch.stack([angles.cos(), angles.sin()], dim=-1).float().repeat_interleave(cells, dim=1)


def rotate_pairs(x: Tensor, turns: Tensor) -> Tensor:
    """Turn the channel pairs (2 i, 2 i + 1) of queries or keys (B, N, heads, head_dim) by `turns` (B or 1, N, head_dim / 2, 2)."""
    pairs, turns = x.float().unflatten(-1, (-1, 2)), turns.unsqueeze(-3)
    if torch.compiler.is_compiling():                                       # complex numbers are quick in eager code, and not compiled
        (a, b), (cos, sin) = pairs.unbind(-1), turns.unbind(-1)
        return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2).to(x.dtype)
    return torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(turns)).flatten(-2).to(x.dtype)
