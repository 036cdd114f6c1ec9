"""Temporal attention: every cell reads the same cell in other frames, in any way the literature tells it the order of frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from flipbook.nn.attention import attend_frames
from flipbook.nn.clip import Clip, FrameMask
from flipbook.nn.embed import zero_
from flipbook.nn.inserts.host import Host
from flipbook.nn.inserts.positions import BucketBias, DistanceTables, frame_rotation, interleaved_sinusoid
from flipbook.nn.rope import rotate

Position = Literal["bucket", "shaw", "rope", "sinusoidal"]


@dataclass(frozen=True, kw_only=True)
class AttentionOverTime:
    """How one layer of temporal attention works.

    heads, head_dim: one or both; neither: as the image network has them there.
    positions:       none, or any of "bucket", "shaw", "rope", "sinusoidal" together.
    rope_dim:        how many channels of a head turn (None: all).
    mask:            "full", "causal" (a frame reads itself and earlier ones) or "identity" (itself only).
    max_frames:      what the layer was trained for: length of the sinusoidal table, reach of the distance tables, farthest bucket.
    """

    heads: int | None = None
    head_dim: int | None = None
    positions: tuple[Position, ...] = ()
    rope_dim: int | None = None
    mask: FrameMask = "full"
    max_frames: int = 32


class FrameAttention(nn.Module):
    """Self-attention over T in every cell, (B, T, H, W, C) to the same."""

    def __init__(self, channels: int, heads: int, head_dim: int, how: AttentionOverTime):
        super().__init__()
        self.heads, self.rope_dim, self.how = heads, min(how.rope_dim or head_dim, head_dim), how
        self.q, self.k, self.v = (nn.Linear(channels, heads * head_dim, bias=False) for _ in range(3))
        self.out = nn.Linear(heads * head_dim, channels)
        self.bucket = BucketBias(heads, max_distance=how.max_frames) if "bucket" in how.positions else None
        self.tables = DistanceTables(head_dim, how.max_frames) if "shaw" in how.positions else None

    def forward(self, x: Tensor, clip: Clip) -> Tensor:
        if "sinusoidal" in self.how.positions:
            x = x + interleaved_sinusoid(clip.index, x.shape[-1])[:, :, None, None].to(x.dtype)
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).flatten(2, 3) for layer in (self.q, self.k, self.v))   # (B, T, S, heads, d)
        if "rope" in self.how.positions:
            cos, sin = (part[:, :, None] for part in frame_rotation(clip.index, self.rope_dim))
            q, k = (torch.cat([rotate(x[..., : self.rope_dim], (cos, sin)), x[..., self.rope_dim :]], dim=-1) for x in (q, k))
        bias = None if self.bucket is None else self.bucket(clip.index)
        tables = None if self.tables is None else self.tables(clip.index)
        out = attend_frames(q, k, v, clip.pairs(self.how.mask), bias, tables)
        return self.out(out.reshape(*x.shape[:-1], -1))


@dataclass(frozen=True, kw_only=True)
class TemporalAttention(AttentionOverTime):
    """x + attention(layer norm x): the norm spans channels alone, so no frame leaks through it."""

    kind: Literal["temporal_attention"] = "temporal_attention"

    def build(self, host: Host) -> nn.Module:
        return TemporalAttentionBranch(host, self)


class TemporalAttentionBranch(nn.Module):
    def __init__(self, host: Host, how: TemporalAttention):
        super().__init__()
        self.norm = nn.LayerNorm(host.channels)
        self.attention = FrameAttention(host.channels, *host.heads_of(how.heads, how.head_dim), how)

    def start_as_identity(self) -> None:
        zero_(self.attention.out)

    def forward(self, x: Tensor, clip: Clip) -> Tensor:
        return x + self.attention(self.norm(x), clip)
