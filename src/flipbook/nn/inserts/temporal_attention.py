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
from flipbook.nn.positions import (
    BucketBias,
    DistanceTables,
    LearnedPlaces,
    Longer,
    distance_slopes,
    frame_rotation,
    interleaved_sinusoid,
    interpolated,
    ntk_base,
)
from flipbook.nn.rope import rotate
from flipbook.nn.xpos import attend_fading

Position = Literal["bucket", "shaw", "rope", "xpos", "alibi", "sinusoidal", "learned"]


@dataclass(frozen=True, kw_only=True)
class AttentionOverTime:
    """How one layer of temporal attention works.

    heads, head_dim: one or both; neither: as the image network has them there.
    positions:       none, or any of "bucket", "shaw", "rope", "xpos", "alibi", "sinusoidal", "learned" together, but "xpos", which is "rope"
                     that fades, with neither "rope" nor "shaw".
    rope_dim:        how many channels of a head turn (None: all).
    longer:          clips beyond max_frames keep their places "as it is", have them moved together ("interpolate"), or turn slower ("ntk").
    mask:            "full", "causal" (a frame reads itself and earlier ones) or "identity" (itself only).
    masks:           what the mask acts on: "logits", or the softmax's "weights", as MagicVideo prints it (arXiv:2211.11018): those of a frame sum to
                     less than 1 then, by how much the masked frames would have been read, so that they show all the same.
    max_frames:      what the layer was trained for: number of learned places, reach of the distance tables, farthest bucket.
    """

    heads: int | None = None
    head_dim: int | None = None
    positions: tuple[Position, ...] = ()
    rope_dim: int | None = None
    mask: FrameMask = "full"
    masks: Literal["logits", "weights"] = "logits"
    max_frames: int = 32
    longer: Longer = "as it is"

    def __post_init__(self) -> None:
        if "xpos" in self.positions and {"rope", "shaw"} & set(self.positions):
            raise ValueError(f"positions={self.positions}: xpos are rotations already, and have no tables. Leave out rope and shaw.")
        if self.longer == "ntk" and "rope" not in self.positions:
            raise ValueError(f"longer='ntk' slows rotations, and positions={self.positions} have none. Try 'interpolate', or positions=('rope',).")
        if self.masks not in ("logits", "weights") or (self.masks == "weights" and "xpos" in self.positions):
            raise ValueError(f"masks={self.masks!r} with positions={self.positions}: it acts on logits, or without xpos on weights. Try 'logits'.")


class FrameAttention(nn.Module):
    """Self-attention over T in every cell, (B, T, H, W, C) to the same."""

    def __init__(self, channels: int, heads: int, head_dim: int, how: AttentionOverTime):
        super().__init__()
        self.heads, self.rope_dim, self.how = heads, min(how.rope_dim or head_dim, head_dim), how
        self.q, self.k, self.v = (nn.Linear(channels, heads * head_dim, bias=False) for _ in range(3))
        self.out = nn.Linear(heads * head_dim, channels)
        self.bucket = BucketBias(heads, max_distance=how.max_frames) if "bucket" in how.positions else None
        self.tables = DistanceTables(head_dim, how.max_frames) if "shaw" in how.positions else None
        self.places = LearnedPlaces(how.max_frames, channels) if "learned" in how.positions else None

    def forward(self, x: Tensor, clip: Clip) -> Tensor:
        how, index = self.how, clip.index
        if how.longer == "interpolate":
            index = interpolated(index, how.max_frames)
        if "sinusoidal" in how.positions:
            x = x + interleaved_sinusoid(index, x.shape[-1])[:, :, None, None].to(x.dtype)
        if self.places is not None:
            x = x + self.places(index)[:, :, None, None].to(x.dtype)
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).flatten(2, 3) for layer in (self.q, self.k, self.v))   # (B, T, S, heads, d)
        bias = None if self.bucket is None else self.bucket(index)
        if "alibi" in how.positions:
            fall = distance_slopes(index, self.heads)
            bias = fall if bias is None else bias + fall
        attends, kept = clip.pairs(how.mask), None
        if how.masks == "weights":
            attends, kept = clip.pairs(), clip.pairs(how.mask)
        if "xpos" in how.positions:
            out = attend_fading(q, k, v, index, attends, bias, scale=how.max_frames / 2)      # the paper's 512 suits texts
        else:
            if "rope" in how.positions:
                q, k = self._turned(q, k, index)
            out = attend_frames(q, k, v, attends, bias, None if self.tables is None else self.tables(index), kept)
        return self.out(out.reshape(*x.shape[:-1], -1))

    def _turned(self, q: Tensor, k: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        dim = self.rope_dim
        base = ntk_base(index, self.how.max_frames, dim) if self.how.longer == "ntk" else 10_000.0
        cos, sin = (part[:, :, None] for part in frame_rotation(index, dim, base))
        q, k = (torch.cat([rotate(x[..., :dim], (cos, sin)), x[..., dim:]], dim=-1) for x in (q, k))
        return q, k


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
