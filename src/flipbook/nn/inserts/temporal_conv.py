"""Temporal convolutions: four published layouts, all over T alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.clip import Clip, GroupNorm, Scope, TimeConv, per_image
from flipbook.nn.embed import zero_
from flipbook.nn.inserts.host import Host

Layout = Literal["k3x4", "k3x2", "k5x2", "dirac"]


@dataclass(frozen=True, kw_only=True)
class TemporalConv:
    """A temporal convolution.

    layout: "k3x4"  x + 4 times [norm, SiLU, (dropout), conv 3] (ModelScope arXiv:2308.06571, VideoCrafter, Show-1)
            "k3x2"  a residual block of two convs of 3 with the time embedding between (Stable Video Diffusion arXiv:2311.15127)
            "k5x2"  a residual block of a conv of 5 and one of 3, an image residual block, a 1x1 conv, added to x (LaVie's upscaler,
                    arXiv:2309.15103, as its authors' code has it)
            "dirac" one conv of 3, no norm, no sum: it follows an image convolution (Make-A-Video, arXiv:2209.14792)
    norm:   what the group norms' statistics span: "frame", or "clip" as ModelScope, VideoCrafter and SVD were trained.
    eps:    of the norms of "k3x2" and "k5x2"; None: the host's.
    timed:  whether "k3x2" is told the noise level.
    """

    layout: Layout = "k3x4"
    norm: Scope = "frame"
    dropout: float = 0.0
    eps: float | None = None
    timed: bool = True
    kind: Literal["temporal_conv"] = "temporal_conv"

    def __post_init__(self) -> None:
        if self.layout not in get_args(Layout):
            raise ValueError(f"temporal conv layout {self.layout!r} is unknown. Try one of {', '.join(get_args(Layout))}.")

    def build(self, host: Host) -> nn.Module:
        if self.layout == "k3x4":
            return FourConvs(host, self)
        if self.layout == "k3x2":
            return TemporalResnet(host, (3, 3), self)
        if self.layout == "k5x2":
            return TemporalThenImage(host, self)
        return DiracConv(host.channels)


class FourConvs(nn.Module):
    def __init__(self, host: Host, how: TemporalConv):
        super().__init__()
        self.norms = nn.ModuleList(GroupNorm(host.groups, host.channels, 1e-5, how.norm) for _ in range(4))
        self.convs = nn.ModuleList(TimeConv(host.channels, host.channels) for _ in range(4))
        self.dropout = nn.Dropout(how.dropout)

    def start_as_identity(self) -> None:
        zero_(self.convs[-1])                                               # type: ignore[arg-type]

    def forward(self, x: Tensor, clip: Clip) -> Tensor:
        h = x
        for i, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True)):
            h = F.silu(norm(h, clip))
            h = conv(self.dropout(h) if i else h, clip)                     # the first conv goes without dropout
        return x + h


class TemporalResnet(nn.Module):
    def __init__(self, host: Host, kernels: tuple[int, int], how: TemporalConv):
        super().__init__()
        channels, eps = host.channels, host.eps if how.eps is None else how.eps
        self.norm1 = GroupNorm(host.groups, channels, eps, how.norm)
        self.conv1 = TimeConv(channels, channels, kernels[0])
        self.time = nn.Linear(host.time_dim, channels) if how.timed else None
        self.norm2 = GroupNorm(host.groups, channels, eps, how.norm)
        self.conv2 = TimeConv(channels, channels, kernels[1])
        self.dropout = nn.Dropout(how.dropout)

    def start_as_identity(self) -> None:
        zero_(self.conv2)                                                   # type: ignore[arg-type]

    def forward(self, x: Tensor, clip: Clip) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x, clip)), clip)
        if self.time is not None:
            h = h + self.time(clip.time)[:, :, None, None]
        return x + self.conv2(self.dropout(F.silu(self.norm2(h, clip))), clip)


class TemporalThenImage(nn.Module):
    """LaVie's order without its attention slots, which its released configuration leaves empty."""

    def __init__(self, host: Host, how: TemporalConv):
        super().__init__()
        channels, eps = host.channels, host.eps if how.eps is None else how.eps
        self.temporal = TemporalResnet(host, (5, 3), how)
        self.norm1 = GroupNorm(host.groups, channels, eps, how.norm)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.time = nn.Linear(host.time_dim, channels)
        self.norm2 = GroupNorm(host.groups, channels, eps, how.norm)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.out = nn.Linear(channels, channels)

    def start_as_identity(self) -> None:
        zero_(self.out)

    def forward(self, x: Tensor, clip: Clip) -> Tensor:
        y = self.temporal(x, clip)
        h = per_image(self.conv1, F.silu(self.norm1(y, clip))) + self.time(clip.time)[:, :, None, None]
        return x + self.out(y + per_image(self.conv2, F.silu(self.norm2(h, clip))))


class DiracConv(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = TimeConv(channels, channels)

    def start_as_identity(self) -> None:
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[:, :, 1] = torch.eye(self.conv.weight.shape[1])
            self.conv.bias.zero_()

    def forward(self, x: Tensor, clip: Clip) -> Tensor:
        return self.conv(x, clip)
