"""The temporal half of Stable Video Diffusion's transformer, which lives between the image transformer's own linear layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.clip import Clip
from flipbook.nn.embed import sinusoid, zero_
from flipbook.nn.inserts.host import Host
from flipbook.nn.inserts.temporal_attention import AttentionOverTime, FrameAttention
from flipbook.nn.transformer import CrossAttention, GatedMLP


@dataclass(frozen=True, kw_only=True)
class FrameAwareBlock:
    """x + embedding of the frame's place in time, then gated MLP, attention over T, attention to frame 0's tokens, gated MLP,
    each added to its input (arXiv:2311.15127, appendix D). Without tokens in the network, the third part is left out."""

    attention: AttentionOverTime = field(default_factory=AttentionOverTime)
    kind: Literal["frame_aware_block"] = "frame_aware_block"

    def build(self, host: Host) -> nn.Module:
        return FrameAwareBranch(host, self)


class FrameAwareBranch(nn.Module):
    def __init__(self, host: Host, how: FrameAwareBlock):
        super().__init__()
        self.channels = channels = host.channels
        heads, head_dim = host.heads_of(how.attention.heads, how.attention.head_dim)
        self.place_in, self.place_out = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.norm_in, self.mlp_in = nn.LayerNorm(channels), GatedMLP(channels)
        self.norm1, self.attention = nn.LayerNorm(channels), FrameAttention(channels, heads, head_dim, how.attention)
        self.norm2: nn.Module | None = None
        self.cross: nn.Module | None = None
        if host.token_dim is not None:
            self.norm2, self.cross = nn.LayerNorm(channels), CrossAttention(channels, heads, head_dim, host.token_dim)
        self.norm3, self.mlp = nn.LayerNorm(channels), GatedMLP(channels)

    def start_as_identity(self) -> None:
        for layer in (self.place_out, self.mlp_in.leave, self.attention.out, self.mlp.leave):
            zero_(layer)
        if self.cross is not None:
            zero_(self.cross.out)                                           # type: ignore[union-attr,arg-type]

    def forward(self, x: Tensor, clip: Clip) -> Tensor:
        place = self.place_out(F.silu(self.place_in(sinusoid(clip.index, self.channels).to(x.dtype))))
        x = x + place[:, :, None, None]                                     # (1 or B, T, 1, 1, C)
        x = x + self.mlp_in(self.norm_in(x))
        x = x + self.attention(self.norm1(x), clip)
        if self.norm2 is not None and self.cross is not None:
            x = x + self.cross(self.norm2(x), clip, first_frame=True)
        return x + self.mlp(self.norm3(x))
