"""Temporal transformer: norm, linear in, one or more blocks over T, linear out, added to its input."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from flipbook.nn.clip import Clip, GroupNorm, Scope
from flipbook.nn.embed import zero_
from flipbook.nn.inserts.host import Host
from flipbook.nn.inserts.temporal_attention import AttentionOverTime, FrameAttention
from flipbook.nn.transformer import CrossAttention, GatedMLP


@dataclass(frozen=True, kw_only=True)
class TemporalTransformer:
    """Two attentions and a gated MLP, `depth` times, between two linear layers.

    attention: how both read other frames. AnimateDiff (arXiv:2307.04725): sinusoidal positions; ModelScope (arXiv:2308.06571): none.
    second:    what the second attention reads: "frames" again, or the clip's "tokens".
    norm:      what the first group norm's statistics span: "frame" (AnimateDiff), "clip" (ModelScope, VideoCrafter).
    """

    attention: AttentionOverTime = field(default_factory=AttentionOverTime)
    depth: int = 1
    second: Literal["frames", "tokens"] = "frames"
    norm: Scope = "frame"
    kind: Literal["temporal_transformer"] = "temporal_transformer"

    def build(self, host: Host) -> nn.Module:
        return TemporalTransformerBranch(host, self)


class TemporalTransformerBranch(nn.Module):
    def __init__(self, host: Host, how: TemporalTransformer):
        super().__init__()
        heads, head_dim = host.heads_of(how.attention.heads, how.attention.head_dim)
        inner = heads * head_dim
        self.norm = GroupNorm(host.groups, host.channels, 1e-6, how.norm)
        self.enter = nn.Linear(host.channels, inner)
        self.blocks = nn.ModuleList(TemporalBlock(inner, heads, head_dim, host.token_dim, how) for _ in range(how.depth))
        self.leave = nn.Linear(inner, host.channels)

    def start_as_identity(self) -> None:
        zero_(self.leave)

    def forward(self, x: Tensor, clip: Clip) -> Tensor:
        h = self.enter(self.norm(x, clip))
        for block in self.blocks:
            h = block(h, clip)
        return x + self.leave(h)


class TemporalBlock(nn.Module):
    def __init__(self, dim: int, heads: int, head_dim: int, token_dim: int | None, how: TemporalTransformer):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim) for _ in range(3))
        self.first = FrameAttention(dim, heads, head_dim, how.attention)
        self.second: nn.Module
        if how.second == "tokens":
            if token_dim is None:
                raise ValueError("a temporal transformer whose second attention reads tokens needs a network with text_dim. Try second='frames'.")
            self.second = CrossAttention(dim, heads, head_dim, token_dim)
        else:
            self.second = FrameAttention(dim, heads, head_dim, how.attention)
        self.mlp = GatedMLP(dim)

    def forward(self, x: Tensor, clip: Clip) -> Tensor:
        x = x + self.first(self.norm1(x), clip)
        x = x + self.second(self.norm2(x), clip)
        return x + self.mlp(self.norm3(x))
