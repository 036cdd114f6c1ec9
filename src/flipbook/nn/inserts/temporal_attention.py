"""Temporal attention: every cell reads the same cell in other frames, in any way the literature tells it the order of frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from flipbook.nn.attention import attend_frames
from flipbook.nn.clip import Clip, FrameMask
from flipbook.nn.embed import zero_
from flipbook.nn.inserts.positions import BucketBias, DistanceTables, frame_rotation, interleaved_sinusoid
from flipbook.nn.rope import rotate

Position = Literal["bucket", "shaw", "rope", "sinusoidal"]


def heads_of(channels: int, heads: int | None, head_dim: int | None) -> tuple[int, int]:
    """(heads, head_dim) of a layer: whichever is not given follows from the channels; both may be given."""
    if heads is None and head_dim is None:
        raise ValueError("an attention layer needs `heads` or `head_dim`. Try heads=8, or head_dim=64.")
    heads = heads or channels // (head_dim or 1)
    head_dim = head_dim or channels // heads
    if not heads or not head_dim:
        raise ValueError(f"{channels} channels do not divide into heads. Try heads=1.")
    return heads, head_dim


@dataclass(frozen=True, kw_only=True)
class AttentionOverTime:
    """How one layer of temporal attention works.

    heads, head_dim: one or both; one is enough where heads * head_dim = channels.
    positions:       none, or any of "bucket", "shaw", "rope", "sinusoidal" together.
    mask:            "full", "causal" (a frame reads itself and earlier ones) or "identity" (itself only).
    max_frames:      what the layer was trained for: length of the sinusoidal table, reach of the distance tables, farthest bucket.
    """

    heads: int | None = None
    head_dim: int | None = None
    positions: tuple[Position, ...] = ()
    mask: FrameMask = "full"
    max_frames: int = 32


class FrameAttention(nn.Module):
    """Self-attention over T in every cell, (B, T, H, W, C) to the same."""

    def __init__(self, channels: int, how: AttentionOverTime):
        super().__init__()
        heads, head_dim = heads_of(channels, how.heads, how.head_dim)
        self.heads, self.head_dim, self.how = heads, head_dim, how
        self.q, self.k, self.v = (nn.Linear(channels, heads * head_dim, bias=False) for _ in range(3))
        self.out = nn.Linear(heads * head_dim, channels)
        self.bucket = BucketBias(heads, max_distance=how.max_frames) if "bucket" in how.positions else None
        self.tables = DistanceTables(head_dim, how.max_frames) if "shaw" in how.positions else None

    def forward(self, x: Tensor, clip: Clip) -> Tensor:
        if "sinusoidal" in self.how.positions:
            x = x + interleaved_sinusoid(clip.index, x.shape[-1])[:, :, None, None].to(x.dtype)
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).flatten(2, 3) for layer in (self.q, self.k, self.v))   # (B, T, S, heads, d)
        if "rope" in self.how.positions:
            table = tuple(part[:, :, None] for part in frame_rotation(clip.index, self.head_dim))
            q, k = rotate(q, table), rotate(k, table)
        bias = None if self.bucket is None else self.bucket(clip.index)
        tables = None if self.tables is None else self.tables(clip.index)
        out = attend_frames(q, k, v, clip.pairs(self.how.mask), bias, tables)
        return self.out(out.reshape(*x.shape[:-1], -1))


@dataclass(frozen=True, kw_only=True)
class TemporalAttention(AttentionOverTime):
    """x + attention(layer norm x): the norm spans channels alone, so no frame leaks through it."""

    kind: Literal["temporal_attention"] = "temporal_attention"

    def build(self, channels: int, time_dim: int, token_dim: int | None) -> nn.Module:
        return TemporalAttentionBranch(channels, self)


class TemporalAttentionBranch(nn.Module):
    def __init__(self, channels: int, how: TemporalAttention):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attention = FrameAttention(channels, how)

    def start_as_identity(self) -> None:
        zero_(self.attention.out)

    def forward(self, x: Tensor, clip: Clip) -> Tensor:
        return x + self.attention(self.norm(x), clip)
