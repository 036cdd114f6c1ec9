"""An autoencoder of clips that looks both ways in time: boxes of (frames, rows, columns) pixels to a cell (LVDM, arXiv:2211.13221, section 3.2).

3D convolutions halve a clip axis by axis and double it again. Beyond its border a clip goes on as its last frame, row and column, so that a clip
that stands still has latents that stand still, and no frame is odd because the clip ends beside it. All frames see each other: unlike
`WanAutoencoder` it neither streams nor packs an image, and a clip has a multiple of `pack[0]` frames. Learned by `objectives/autoencoding.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.autoencoders.kl import check_sides, in_own_dtype
from flipbook.autoencoders.packing import Box, box_ends, check_box, halvings
from flipbook.nn.inflate import Padding, SplitConv3d


@dataclass(frozen=True, kw_only=True)
class ClipAutoencoderConfig:
    """The defaults pack 4 frames of 8 x 8 pixels in a cell of 4 numbers, as in the paper.

    pack:    frames, rows and columns of a cell, powers of two.
    dim:     width at full size, doubled with each halving.   blocks: residual blocks behind each halving, and before each doubling.
    groups:  of every GroupNorm.
    padding: how a clip goes on beyond its border, as in `torch.nn.Conv3d`.
    split:   each convolution is one within frames and one along time, with as many weights (`nn/inflate.py`).
    latent_mean, latent_std: the latent normaliser, z = (raw - mean) / std, numbers for each channel; (): 0 and 1.
    """

    latent_channels: int = 4
    pack: Box = (4, 8, 8)
    dim: int = 32
    blocks: int = 1
    groups: int = 32
    padding: Padding = "replicate"
    split: bool = False
    latent_mean: tuple[float, ...] = ()
    latent_std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "pack", tuple(self.pack))
        check_box(self.pack)
        for name, plain in (("latent_mean", 0.0), ("latent_std", 1.0)):
            object.__setattr__(self, name, tuple(getattr(self, name)) or (plain,) * self.latent_channels)
        if not len(self.latent_mean) == len(self.latent_std) == self.latent_channels or 0 in self.latent_std:
            raise ValueError(
                f"latent_mean and latent_std have {len(self.latent_mean)} and {len(self.latent_std)} numbers for {self.latent_channels} channels: "
                "give one for each, no std of 0."
            )
        if self.dim % self.groups:
            raise ValueError(f"dim={self.dim}: GroupNorm cuts it into {self.groups} equal groups. Try {max(1, self.dim // self.groups) * self.groups}.")


class ClipAutoencoder(nn.Module):
    """encode: (B, 3, T, H, W) in [-1, 1] to normalised latents (B, C, T / pack_t, H / pack, W / pack); decode: back."""

    latent_mean: Tensor
    latent_std: Tensor
    mixes_frames = True                                                     # a clip decoded in pieces is another clip at their edges

    def __init__(self, config: ClipAutoencoderConfig):
        super().__init__()
        self.config = c = config
        self.stride, self.time_stride = c.pack[1], c.pack[0]
        dims = [c.dim * 2**k for k in range(len(halvings(c.pack)) + 1)]
        encoder: list[nn.Module] = [conv(3, dims[0], c)]
        decoder: list[nn.Module] = [conv(c.latent_channels, dims[-1], c)]
        for small, large, stride in zip(dims, dims[1:], halvings(c.pack), strict=False):
            encoder += [conv(small, large, c, stride), *(ResBlock(large, c) for _ in range(c.blocks))]
        for small, large, stride in reversed(list(zip(dims, dims[1:], halvings(c.pack), strict=False))):
            decoder += [*(ResBlock(large, c) for _ in range(c.blocks)), Up(large, small, c, stride)]
        self.encoder = nn.Sequential(*encoder, nn.GroupNorm(c.groups, dims[-1]), nn.SiLU(), conv(dims[-1], 2 * c.latent_channels, c))
        self.decoder = nn.Sequential(*decoder, nn.GroupNorm(c.groups, dims[0]), nn.SiLU(), conv(dims[0], 3, c))
        self.register_buffer("latent_mean", torch.tensor(c.latent_mean)[:, None, None, None], persistent=False)
        self.register_buffer("latent_std", torch.tensor(c.latent_std)[:, None, None, None], persistent=False)

    def latent_ends(self, num_frames: int) -> tuple[int, ...]:
        """The last frame of each latent one. Raises ValueError for lengths that are no multiple of pack[0], with the two nearest that are."""
        return box_ends(num_frames, self.time_stride)

    def encode(self, x: Tensor) -> Tensor:
        """Normalised latents, the mean of each cell's Gaussian. Raises ValueError for lengths and sides that `pack` does not divide."""
        mean, _ = self.posterior(x)
        return (mean - self.latent_mean.to(mean)) / self.latent_std.to(mean)

    def decode(self, z: Tensor) -> Tensor:
        """Frames in about [-1, 1] from normalised latents."""
        return self.frames(z * self.latent_std.to(z) + self.latent_mean.to(z))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the raw latents of a clip."""
        self.latent_ends(x.shape[2])
        check_sides(x, self.stride)
        mean, log_var = self.encoder(in_own_dtype(self, x)).chunk(2, dim=1)
        return mean, log_var.clamp(-30.0, 20.0)

    def frames(self, raw: Tensor) -> Tensor:
        """Frames from raw latents."""
        return self.decoder(in_own_dtype(self, raw))


def conv(dim_in: int, dim: int, config: ClipAutoencoderConfig, stride: Box = (1, 1, 1)) -> nn.Module:
    """A convolution that keeps an axis, or halves it by a kernel of 4."""
    kernel: Box = tuple(4 if n == 2 else 3 for n in stride)  # type: ignore[assignment]
    kind = SplitConv3d if config.split else nn.Conv3d
    return kind(dim_in, dim, kernel, stride, (1, 1, 1), padding_mode=config.padding)


class ResBlock(nn.Module):
    """x + Conv(silu(norm(Conv(silu(norm x)))))."""

    def __init__(self, dim: int, config: ClipAutoencoderConfig):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(config.groups, dim), conv(dim, dim, config)
        self.norm2, self.conv2 = nn.GroupNorm(config.groups, dim), conv(dim, dim, config)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class Up(nn.Module):
    """Twice the size along the axes of a halving, each value repeated, then a convolution."""

    def __init__(self, dim_in: int, dim: int, config: ClipAutoencoderConfig, stride: Box):
        super().__init__()
        self.factor, self.conv = tuple(float(n) for n in stride), conv(dim_in, dim, config)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=self.factor, mode="nearest"))
