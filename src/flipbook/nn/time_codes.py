"""How a transformer of whole clips is told when its frames are: by rotary places in time, or by another code in their stead.

Places in space stay rotary in every case. Codes that act on logits, or on how far they reach, need attention over all tokens at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from flipbook.nn.attention import AnyPattern, attend, softmax_attention
from flipbook.nn.embed import zero_
from flipbook.nn.positions import BucketBias, LearnedPlaces, interleaved_sinusoid, one_sided_slopes
from flipbook.nn.rope import rotary_table, rotate, split_axes
from flipbook.nn.xpos import fading, fading_products

TimeCode = Literal["rotary", "xpos", "alibi", "buckets", "learned", "sinusoidal", "none"]
CODES: tuple[TimeCode, ...] = get_args(TimeCode)
ON_LOGITS: tuple[TimeCode, ...] = ("xpos", "alibi", "buckets")


@dataclass(frozen=True, eq=False)
class Placed:
    """Where the tokens of a clip stand, as attention is told.

    turns: rotary table of the tokens, (B, N, head_dim / 2) twice.
    bias:  added to the logits, (1 or B, heads, T, T).
    power: how queries fade with their place, (B, N, head_dim / 2), the logarithm; keys grow as much, and the other way round for keys behind.
    """

    turns: tuple[Tensor, Tensor]
    bias: Tensor | None = None
    power: Tensor | None = None

    def attend(self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int], pattern: AnyPattern, frame_attends: Tensor | None) -> Tensor:
        """`nn.attention.attend` of queries and keys (B, N, heads, head_dim) that are turned here."""
        q, k = rotate(q, self.turns), rotate(k, self.turns)
        if self.bias is None and self.power is None:
            return attend(q, k, v, grid, pattern, frame_attends)
        whole = lambda x: x.repeat_interleave(grid[1], -2).repeat_interleave(grid[1], -1)   # of frames to of tokens
        may = None if frame_attends is None else whole(frame_attends if frame_attends.dim() == 3 else frame_attends[None])[:, None]
        if self.bias is not None:
            bias = whole(self.bias).to(q.dtype)
            return softmax_attention(q, k, v, bias if may is None else bias.masked_fill(~may, float("-inf")))
        assert self.power is not None
        q, k = (x.transpose(1, 2) for x in (q / math.sqrt(q.shape[-1]), k))  # (B, heads, N, d)
        logits = fading_products(q, k, self.power[:, None])
        weights = torch.softmax(logits if may is None else logits.masked_fill(~may, float("-inf")), -1, dtype=torch.float32)
        return torch.einsum("bhij,bjhd->bihd", weights.to(v.dtype), v)


class FrameCode(nn.Module):
    """A code of time other than rotary places. It begins as no code at all where it is learned from nothing, so that a trained network can take it up.

    max_frames: of training: learned places, the farthest bucket, and twice the distance over which xPos fades (its 512 suits texts).
    """

    GAIN = 16.0     # thumb's tokens have a root mean square of 6 to 20, what an optimiser adds in a hundred steps is of order one tenth

    def __init__(self, code: TimeCode, dim: int, heads: int, max_frames: int):
        super().__init__()
        self.code, self.heads, self.head_dim, self.max_frames = code, heads, dim // heads, max_frames
        self.places = LearnedPlaces(max_frames, dim) if code == "learned" else None
        self.lead = zero_(nn.Linear(dim, dim)) if code == "sinusoidal" else None
        self.buckets = BucketBias(heads, max_distance=max_frames) if code == "buckets" else None
        if self.buckets is not None:
            nn.init.zeros_(self.buckets.table.weight)

    def onto(self, tokens: Tensor, index: Tensor) -> Tensor:
        """Tokens (B, T, S, D) with what says the places (B, T) of their frames. Raises ValueError for frames outside the learned places."""
        if self.places is not None:
            return tokens + self.GAIN * self.places(index)[:, :, None].to(tokens.dtype)
        if self.lead is not None:
            return tokens + self.GAIN * self.lead(interleaved_sinusoid(index, tokens.shape[-1]).to(tokens.dtype))[:, :, None]
        return tokens

    def placed(self, coords: Tensor, index: Tensor) -> Placed:
        """coords: (t, y, x) of every token, (B, N, 3).   index: (B, T)."""
        if self.code == "xpos":
            turning = split_axes(self.head_dim)[0]
            rate = torch.nn.functional.pad(fading(turning).log(), (0, (self.head_dim - turning) // 2)).to(coords)
            time = coords[..., :1] - index.mean(-1)[:, None, None].to(coords)   # powers stay near 1 wherever the clip stands
            return Placed(rotary_table(coords, self.head_dim), power=rate * time * (2.0 / self.max_frames))
        still = coords * coords.new_tensor([0.0, 1.0, 1.0])
        bias = one_sided_slopes(index, self.heads) if self.code == "alibi" else None if self.buckets is None else self.GAIN * self.buckets(index)
        return Placed(rotary_table(still, self.head_dim), bias)
