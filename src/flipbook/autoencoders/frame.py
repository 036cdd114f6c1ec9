"""A small image autoencoder on folded frames: 4 x 4 or 8 x 8 pixels to one latent cell, each frame by itself.

The variational image autoencoder of latent diffusion (arXiv:2112.10752, section 3.1) cut down to a laptop: space-to-depth
instead of convolutions at full size, a light encoder because training encodes every clip, a heavier decoder.
Because no frame sees another, a given frame stays a given frame in latent space, at any place in the clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.autoencoders.kl import in_own_dtype
from flipbook.shapes import depth_to_space, fold_frames, space_to_depth, unfold_frames


@dataclass(frozen=True, kw_only=True)
class FrameAutoencoderConfig:
    """Widths and residual blocks: the encoder's at 1/4 of the picture's side, 1/8, ...; the decoder's from the latent's size up to 1/2."""

    latent_channels: int = 4
    encoder_dims: tuple[int, ...] = (64,)
    encoder_blocks: tuple[int, ...] = (1,)
    decoder_dims: tuple[int, ...] = (128, 48)
    decoder_blocks: tuple[int, ...] = (2, 1)

    def __post_init__(self) -> None:
        for name in ("encoder_dims", "encoder_blocks", "decoder_dims", "decoder_blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not len(self.encoder_dims) == len(self.encoder_blocks) == len(self.decoder_dims) - 1 == len(self.decoder_blocks) - 1:
            raise ValueError(
                f"encoder_dims={self.encoder_dims}, encoder_blocks={self.encoder_blocks}, decoder_dims={self.decoder_dims}, "
                f"decoder_blocks={self.decoder_blocks}: the decoder has one size more than the encoder. Try (48, 128), (1, 1), (192, 96, 32) and (3, 2, 1)."
            )

    @property
    def stride(self) -> int:
        """Pixels of a latent cell's side."""
        return 2 ** (len(self.encoder_dims) + 1)


class FrameAutoencoder(nn.Module):
    """encode: (B, 3, T, H, W) in [-1, 1] to normalised latents (B, C, T, H/stride, W/stride); decode: back."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: FrameAutoencoderConfig):
        super().__init__()
        self.config = c = config
        self.stride = c.stride
        encoder: list[nn.Module] = [nn.Conv2d(48, c.encoder_dims[0], 3, padding=1), *stack(c.encoder_dims[0], c.encoder_blocks[0])]
        for (wide, narrow), blocks in zip(pairwise(c.encoder_dims), c.encoder_blocks[1:], strict=True):
            encoder += [nn.Conv2d(wide, narrow, 2, stride=2), *stack(narrow, blocks)]
        last = c.encoder_dims[-1]
        self.encoder = nn.Sequential(*encoder, nn.GroupNorm(8, last), nn.SiLU(), nn.Conv2d(last, 2 * c.latent_channels, 3, padding=1))
        decoder: list[nn.Module] = [nn.Conv2d(c.latent_channels, c.decoder_dims[0], 3, padding=1), *stack(c.decoder_dims[0], c.decoder_blocks[0])]
        for (small, large), blocks in zip(pairwise(c.decoder_dims), c.decoder_blocks[1:], strict=True):
            decoder += [Up(small, large), *stack(large, blocks)]
        half = c.decoder_dims[-1]
        self.decoder = nn.Sequential(*decoder, nn.GroupNorm(8, half), nn.SiLU(), nn.Conv2d(half, 12, 3, padding=1))
        # latent normaliser: z = (raw - mean) / std per channel, measured once after training (`objectives/autoencoding.py`)
        self.register_buffer("latent_mean", torch.zeros(c.latent_channels))
        self.register_buffer("latent_std", torch.ones(c.latent_channels))

    def encode(self, x: Tensor) -> Tensor:
        """Normalised latents: about zero mean and unit variance in every channel."""
        b, _, _, height, width = x.shape
        if height % self.stride or width % self.stride:
            near = f"{nearest(height, self.stride)}x{nearest(width, self.stride)}"
            raise ValueError(f"{height}x{width} pixels: this autoencoder packs {self.stride} x {self.stride} pixels in a cell. Try {near}.")
        mean, _ = self.posterior(fold_frames(x))
        return unfold_frames((mean - self._column(self.latent_mean)) / self._column(self.latent_std), b)

    def decode(self, z: Tensor) -> Tensor:
        """Frames in about [-1, 1] from normalised latents."""
        raw = fold_frames(z) * self._column(self.latent_std) + self._column(self.latent_mean)
        return unfold_frames(self.frames(raw), z.shape[0])

    def posterior(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the raw latents of images (N, 3, H, W)."""
        mean, log_var = self.encoder(space_to_depth(in_own_dtype(self, frames), 4)).chunk(2, dim=1)
        return mean, log_var.clamp(-12.0, 4.0)

    def frames(self, raw: Tensor) -> Tensor:
        """Images (N, 3, H, W) from raw latents (N, C, H/stride, W/stride)."""
        return depth_to_space(self.decoder(in_own_dtype(self, raw)), 2)

    def _column(self, v: Tensor) -> Tensor:
        return v[:, None, None]


def nearest(n: int, multiple: int) -> int:
    """The positive multiple nearest to n."""
    return max(multiple, (n + multiple // 2) // multiple * multiple)


def stack(dim: int, blocks: int) -> list[nn.Module]:
    return [ResBlock(dim) for _ in range(blocks)]


class ResBlock(nn.Module):
    """x + Conv(silu(norm(Conv(silu(norm x)))))."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, dim), nn.Conv2d(dim, dim, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(8, dim), nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class Up(nn.Module):
    """Twice the size by depth-to-space."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv = nn.Conv2d(c_in, 4 * c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return depth_to_space(self.conv(x), 2)
