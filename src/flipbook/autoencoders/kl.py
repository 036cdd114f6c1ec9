"""The image autoencoder of latent diffusion (arXiv:2112.10752, section 3.1), each frame by itself.

Stable Diffusion and the video systems built on it share this network: 8 x 8 pixels to one cell of 4 channels. The encoder
gives a Gaussian per cell (its mean is the latent), and `latent normaliser` brings latents to about unit variance:
z = scale (raw + shift), numbers or one number per channel. `interop/keys/autoencoder_kl.py` maps public weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.attention import softmax_attention
from flipbook.shapes import fold_frames, unfold_frames

Numbers = float | tuple[float, ...]
Block = Callable[[int, int, int], nn.Module]


@dataclass(frozen=True, kw_only=True)
class KLAutoencoderConfig:
    """The defaults are Stable Diffusion 1 and 2.

    dims:          width at full size, half size, and so on; the picture's side shrinks by 2 between two of them.
    blocks:        residual blocks per size in the encoder; the decoder has one more.
    groups:        of every GroupNorm.
    latent_scale, latent_shift: the latent normaliser, numbers or one per channel.
    mid_attention: attention over all cells at the smallest size, in both halves.
    quant_conv, post_quant_conv: a 1 x 1 convolution behind the encoder, before the decoder.
    """

    latent_channels: int = 4
    dims: tuple[int, ...] = (128, 256, 512, 512)
    blocks: int = 2
    groups: int = 32
    latent_scale: Numbers = 0.18215
    latent_shift: Numbers = 0.0
    mid_attention: bool = True
    quant_conv: bool = True
    post_quant_conv: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "dims", tuple(self.dims))
        check_normaliser(self, self.latent_channels)


class KLAutoencoder(nn.Module):
    """encode: (B, 3, T, H, W) in [-1, 1] to normalised latents (B, C, T, H/s, W/s), s = `stride`; decode: back."""

    def __init__(self, config: KLAutoencoderConfig):
        super().__init__()
        self.config = c = config
        self.stride = 2 ** (len(c.dims) - 1)
        self.encoder = Encoder(c.dims, c.blocks, 2 * c.latent_channels, c.groups, c.mid_attention)
        self.quant = nn.Conv2d(2 * c.latent_channels, 2 * c.latent_channels, 1) if c.quant_conv else nn.Identity()
        self.post_quant = nn.Conv2d(c.latent_channels, c.latent_channels, 1) if c.post_quant_conv else nn.Identity()
        self.decoder = Decoder(c.dims, c.blocks + 1, c.latent_channels, c.groups, c.mid_attention)

    def encode(self, x: Tensor) -> Tensor:
        """Normalised latents, the mean of each cell's Gaussian. Raises ValueError for sides that s does not divide."""
        check_sides(x, self.stride)
        mean, _ = self.posterior(fold_frames(x))
        return unfold_frames(normalise(mean, self.config.latent_scale, self.config.latent_shift), x.shape[0])

    def decode(self, z: Tensor) -> Tensor:
        """Frames in about [-1, 1] from normalised latents."""
        raw = denormalise(fold_frames(z), self.config.latent_scale, self.config.latent_shift)
        return unfold_frames(self.frames(raw), z.shape[0])

    def posterior(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the raw latents of images (N, 3, H, W), each (N, C, H/s, W/s)."""
        mean, log_var = self.quant(self.encoder(in_own_dtype(self, frames))).chunk(2, dim=1)
        return mean, log_var.clamp(-30.0, 20.0)

    def frames(self, raw: Tensor) -> Tensor:
        """Images (N, 3, H, W) from raw latents (N, C, H/s, W/s)."""
        return self.decoder(self.post_quant(in_own_dtype(self, raw)))


class Encoder(nn.Module):
    """Images (N, 3, H, W) to (N, channels, H/s, W/s)."""

    def __init__(self, dims: Sequence[int], blocks: int, channels: int, groups: int, mid_attention: bool):
        super().__init__()
        self.conv_in = nn.Conv2d(3, dims[0], 3, padding=1)
        self.levels = nn.ModuleList()
        wide = dims[0]
        for i, dim in enumerate(dims):
            resize = Down(dim) if i < len(dims) - 1 else nn.Identity()
            self.levels.append(Level([wide, *[dim] * blocks], groups, ResBlock, resize))
            wide = dim
        self.mid = Middle(dims[-1], groups, ResBlock, mid_attention)
        self.norm_out = nn.GroupNorm(groups, dims[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(dims[-1], channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.levels:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """Raw latents (N, channels, H/s, W/s) to images (N, 3, H, W). `dims` as in the encoder, from large pictures to small.

    block:   (dim_in, dim, groups) -> a residual block.
    context: what the blocks are called with beside x; image blocks need nothing.
    """

    def __init__(self, dims: Sequence[int], blocks: int, channels: int, groups: int, mid_attention: bool, block: Block | None = None):
        super().__init__()
        block = block or ResBlock
        self.conv_in = nn.Conv2d(channels, dims[-1], 3, padding=1)
        self.mid = Middle(dims[-1], groups, block, mid_attention)
        self.levels = nn.ModuleList()
        wide = dims[-1]
        for i, dim in reversed(list(enumerate(dims))):
            resize = Up(dim) if i > 0 else nn.Identity()
            self.levels.append(Level([wide, *[dim] * blocks], groups, block, resize))
            wide = dim
        self.norm_out = nn.GroupNorm(groups, dims[0], eps=1e-6)
        self.conv_out = nn.Conv2d(dims[0], 3, 3, padding=1)

    def forward(self, z: Tensor, *context: Any) -> Tensor:
        x = self.mid(self.conv_in(z), *context)
        for level in self.levels:
            x = level(x, *context)
        return self.conv_out(F.silu(self.norm_out(x)))


class Level(nn.Module):
    """Residual blocks at one size, then the change of size."""

    def __init__(self, widths: Sequence[int], groups: int, block: Block, resize: nn.Module):
        super().__init__()
        self.blocks = nn.ModuleList(block(a, b, groups) for a, b in pairwise(widths))
        self.resize = resize

    def forward(self, x: Tensor, *context: Any) -> Tensor:
        for block in self.blocks:
            x = block(x, *context)
        return self.resize(x)


class Middle(nn.Module):
    """Two residual blocks with attention between them, at the smallest size."""

    def __init__(self, dim: int, groups: int, block: Block, attention: bool):
        super().__init__()
        self.block1 = block(dim, dim, groups)
        self.attention = CellAttention(dim, groups) if attention else nn.Identity()
        self.block2 = block(dim, dim, groups)

    def forward(self, x: Tensor, *context: Any) -> Tensor:
        return self.block2(self.attention(self.block1(x, *context)), *context)


class ResBlock(nn.Module):
    """skip(x) + Conv(silu(norm(Conv(silu(norm x)))))."""

    def __init__(self, dim_in: int, dim: int, groups: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, dim_in, eps=1e-6), nn.Conv2d(dim_in, dim, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(groups, dim, eps=1e-6), nn.Conv2d(dim, dim, 3, padding=1)
        self.skip = nn.Conv2d(dim_in, dim, 1) if dim_in != dim else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class CellAttention(nn.Module):
    """x + attention over all cells of an image, one head as wide as the features."""

    def __init__(self, dim: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, dim, eps=1e-6)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:                                     # (N, C, H, W)
        rows = self.norm(x).flatten(2).transpose(1, 2)                          # (N, H W, C)
        q, k, v = self.qkv(rows)[:, :, None].chunk(3, dim=-1)                   # (N, H W, 1, C) each
        rows = self.out(softmax_attention(q, k, v)[:, :, 0])
        return x + rows.transpose(1, 2).reshape(x.shape)


class Down(nn.Module):
    """Half the size; the padding stands on the right and below alone, as in the public weights."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Up(nn.Module):
    """Twice the size, each pixel repeated, then a convolution."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def normalise(raw: Tensor, scale: Numbers, shift: Numbers) -> Tensor:
    """scale (raw + shift) of latents (N, C, H, W); numbers, or one per channel."""
    return (raw + _column(shift, raw)) * _column(scale, raw)


def denormalise(z: Tensor, scale: Numbers, shift: Numbers) -> Tensor:
    """The inverse of `normalise`."""
    return z / _column(scale, z) - _column(shift, z)


def check_normaliser(config: Any, channels: int) -> None:
    """Lists of a config to tuples. Raises ValueError unless they have a number for each channel and no scale is 0."""
    for name in ("latent_scale", "latent_shift"):
        value = getattr(config, name)
        if isinstance(value, Sequence):
            object.__setattr__(config, name, tuple(float(v) for v in value))
            if len(value) != channels:
                raise ValueError(f"{name} has {len(value)} numbers for {channels} latent channels. Try one, or one per channel.")
    scale = config.latent_scale
    if 0 in (scale if isinstance(scale, tuple) else (scale,)):
        raise ValueError(f"latent_scale={scale}: a scale of 0 cannot be undone by the decoder. Try 0.18215, or 1 for none.")


def in_own_dtype(net: nn.Module, x: Tensor) -> Tensor:
    """x in the dtype of a network's weights: what was read in half precision is fed in half precision."""
    return x.to(next(net.parameters()).dtype)


def check_sides(x: Tensor, stride: int) -> None:
    """Raises ValueError, with the nearest legal size, unless `stride` divides height and width of x (..., H, W)."""
    height, width = x.shape[-2:]
    if height % stride or width % stride:
        near = [max(stride, (n + stride // 2) // stride * stride) for n in (height, width)]
        raise ValueError(
            f"{height}x{width} pixels: this autoencoder packs {stride} x {stride} pixels in a cell. Try {near[0]}x{near[1]}."
        )


def _column(value: Numbers, like: Tensor) -> float | Tensor:
    if isinstance(value, tuple):
        return torch.tensor(value, dtype=like.dtype, device=like.device)[:, None, None]
    return value
