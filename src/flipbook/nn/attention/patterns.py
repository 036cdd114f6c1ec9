"""Attention is one operation with a pattern.

A pattern says which tokens of a (T, S) grid, T frames of S patches in (t h w) order, each token may read:

    full        every token                         spatial     the tokens of its own frame
    temporal    its own patch in every frame        identity    its own patch in its own frame

and a boolean `frame_attends` (T, T), True where frame i may read frame j, narrows any of them (causal, block-causal, ...).
Each pattern has a folded fast path and a dense masked reference that agree: `attend` and `attend_dense`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from flipbook.nn.attention.kernels import softmax_attention

Pattern = Literal["full", "spatial", "temporal", "identity"]
PATTERNS: tuple[Pattern, ...] = ("full", "spatial", "temporal", "identity")


def attend(q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int], pattern: Pattern = "full", frame_attends: Tensor | None = None) -> Tensor:
    """Self-attention over a (T, S) grid of tokens. q, k, v and the result: (B, T S, heads, head_dim)."""
    b, _, heads, d = q.shape
    frames, cells = grid
    if pattern == "identity":
        return v
    if pattern == "spatial":
        q, k, v = (x.reshape(b * frames, cells, heads, d) for x in (q, k, v))
        return softmax_attention(q, k, v).reshape(b, frames * cells, heads, d)
    if pattern == "temporal":
        q, k, v = (x.reshape(b, frames, cells, heads, d).transpose(1, 2).reshape(b * cells, frames, heads, d) for x in (q, k, v))
        out = softmax_attention(q, k, v, frame_attends)
        return out.reshape(b, cells, frames, heads, d).transpose(1, 2).reshape(b, frames * cells, heads, d)
    if pattern == "full":
        mask = None
        if frame_attends is not None:
            mask = frame_attends.repeat_interleave(cells, 0).repeat_interleave(cells, 1)
        return softmax_attention(q, k, v, mask)
    raise ValueError(f"attention pattern {pattern!r} is unknown. Try one of {', '.join(PATTERNS)}.")


def attend_dense(q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int], pattern: Pattern = "full", frame_attends: Tensor | None = None) -> Tensor:
    """The same as `attend`, as one masked product over all pairs of tokens: slow, and plainly right."""
    return softmax_attention(q, k, v, pattern_mask(grid, pattern, frame_attends, device=q.device))


def pattern_mask(grid: tuple[int, int], pattern: Pattern, frame_attends: Tensor | None = None, device: torch.device | str = "cpu") -> Tensor:
    """(N, N) bool, True where token i may read token j, N = T S."""
    frames, cells = grid
    frame = torch.arange(frames, device=device).repeat_interleave(cells)
    cell = torch.arange(cells, device=device).repeat(frames)
    same_frame, same_cell = frame[:, None] == frame, cell[:, None] == cell
    mask = {"full": same_frame | ~same_frame, "spatial": same_frame, "temporal": same_cell, "identity": same_frame & same_cell}[pattern]
    if frame_attends is not None and pattern in ("full", "temporal"):
        mask = mask & frame_attends[frame][:, frame]
    return mask
