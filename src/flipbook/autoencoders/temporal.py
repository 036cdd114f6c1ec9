"""A causal autoencoder along time alone, of the latents of another one (MAGVIT-v2's layers, arXiv:2310.05737; Open-Sora 1.2, arXiv:2412.20404).

Clips whose length is no multiple of what is packed together have black frames before them. Convolutions look back; norms take their
statistics over all frames of a clip, as in the public weights, so that a frame's latent depends a little on what comes later.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.causal import CausalConv3d


@dataclass(frozen=True, kw_only=True)
class TemporalAutoencoderConfig:
    """The defaults are Open-Sora 1.2.

    channels:   of what comes in, and of the latents.
    dim, mults: width, and what it is multiplied by from the full rate down.   packs: whether two frames become one between two of them.
    blocks:     residual blocks at each rate, and in the middle.   groups: of every GroupNorm.
    """

    channels: int = 4
    dim: int = 128
    mults: tuple[int, ...] = (1, 2, 2, 4)
    packs: tuple[bool, ...] = (False, True, True)
    blocks: int = 4
    groups: int = 32

    def __post_init__(self) -> None:
        for name in ("mults", "packs"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.packs) != len(self.mults) - 1:
            raise ValueError(f"packs={self.packs} and mults={self.mults}: say for each of {len(self.mults) - 1} steps down whether it packs time.")
        if self.dim % self.groups:
            raise ValueError(f"dim={self.dim}: GroupNorm cuts it into {self.groups} equal groups. Try {max(1, self.dim // self.groups) * self.groups}.")


class TemporalAutoencoder(nn.Module):
    """posterior: (B, C, T, h, w) to mean and log-variance (B, C, ceil(T / time_stride), h, w); frames: back, the last `num_frames` of them."""

    def __init__(self, config: TemporalAutoencoderConfig):
        super().__init__()
        self.config = c = config
        self.time_stride = 2 ** sum(c.packs)
        self.encoder = Encoder(c)
        self.quant = nn.Conv3d(2 * c.channels, 2 * c.channels, 1)
        self.post_quant = nn.Conv3d(c.channels, c.channels, 1)
        self.decoder = Decoder(c)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.pad(x, (0, 0, 0, 0, -x.shape[2] % self.time_stride, 0))
        mean, log_var = self.quant(self.encoder(x)).chunk(2, dim=1)
        return mean, log_var.clamp(-30.0, 20.0)

    def frames(self, z: Tensor, num_frames: int) -> Tensor:
        """Raises ValueError for another number of frames than these latents can stand for."""
        most = z.shape[2] * self.time_stride
        if not most - self.time_stride < num_frames <= most:
            least = most - self.time_stride + 1
            raise ValueError(f"{z.shape[2]} latent frames stand for {least} to {most} frames, and {num_frames} are asked for. Try {most}.")
        return self.decoder(self.post_quant(z))[:, :, most - num_frames :]


class Encoder(nn.Module):
    """To mean and log-variance, before the last 1 x 1 x 1 convolution."""

    def __init__(self, config: TemporalAutoencoderConfig):
        super().__init__()
        c = config
        dims = [c.dim * m for m in (1, *c.mults)]
        self.conv_in = causal(c.channels, dims[0], bias=False)
        self.levels = nn.ModuleList(stack(a, b, c) for a, b in pairwise(dims))
        self.down = nn.ModuleList(Pack(a, b) if packs else nn.Identity() for packs, a, b in zip(c.packs, dims[1:], dims[1:], strict=False))
        self.mid = stack(dims[-1], dims[-1], c)
        self.norm_out = nn.GroupNorm(c.groups, dims[-1])
        self.conv_out = nn.Conv3d(dims[-1], 2 * c.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for i, level in enumerate(self.levels):
            x = level(x)
            if i < len(self.down):
                x = self.down[i](x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """Raw latents back to the full rate. Levels are counted as in the encoder, from the full rate down."""

    def __init__(self, config: TemporalAutoencoderConfig):
        super().__init__()
        c = config
        dims = [c.dim * m for m in c.mults]
        self.conv_in = causal(c.channels, dims[-1])
        self.mid = stack(dims[-1], dims[-1], c)
        self.levels = nn.ModuleList(stack(a, b, c) for a, b in zip([*dims[1:], dims[-1]], dims, strict=True))
        self.up = nn.ModuleList(Unpack(dim) if packs else nn.Identity() for packs, dim in zip(c.packs, dims[1:], strict=True))
        self.norm_out = nn.GroupNorm(c.groups, dims[0])
        self.conv_out = causal(dims[0], c.channels)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid(self.conv_in(z))
        for i in reversed(range(len(self.levels))):
            x = self.levels[i](x)
            if i:
                x = self.up[i - 1](x)
        return self.conv_out(F.silu(self.norm_out(x)))


def causal(dim_in: int, dim: int, *, bias: bool = True) -> CausalConv3d:
    """A 3 x 3 x 3 convolution that looks back."""
    conv = CausalConv3d(dim_in, dim)
    if not bias:
        conv.register_parameter("bias", None)
    return conv


def stack(dim_in: int, dim: int, config: TemporalAutoencoderConfig) -> nn.Sequential:
    """The residual blocks at one rate."""
    return nn.Sequential(*(ResBlock(dim_in if i == 0 else dim, dim, config.groups) for i in range(config.blocks)))


class ResBlock(nn.Module):
    """skip(x) + Conv(silu(norm(Conv(silu(norm x))))), causal, without biases."""

    def __init__(self, dim_in: int, dim: int, groups: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, dim_in), causal(dim_in, dim, bias=False)
        self.norm2, self.conv2 = nn.GroupNorm(groups, dim), causal(dim, dim, bias=False)
        self.skip = nn.Conv3d(dim_in, dim, 1, bias=False) if dim_in != dim else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class Pack(nn.Conv3d):
    """Two frames to one, with the frame before them."""

    def __init__(self, dim_in: int, dim: int):
        super().__init__(dim_in, dim, 3, stride=(2, 1, 1), padding=(0, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, 0, 0, 0, 1, 0)))


class Unpack(nn.Module):
    """One frame to two: twice the channels, dealt out by turns."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv = causal(dim, 2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        two = self.conv(x).unflatten(1, (-1, 2))                            # (B, C, 2, T, h, w)
        return torch.movedim(two, 2, 3).flatten(2, 3)
