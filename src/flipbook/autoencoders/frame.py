"""A small image autoencoder on folded frames: 8 x 8 pixels to one latent cell, each frame by itself.

The variational image autoencoder of latent diffusion (arXiv:2112.10752, section 3.1) cut down to a laptop: space-to-depth
instead of convolutions at full size, a light encoder because training encodes every clip, a heavier decoder.
Because no frame sees another, a given frame stays a given frame in latent space, at any place in the clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.shapes import depth_to_space, fold_frames, space_to_depth, unfold_frames


@dataclass(frozen=True, kw_only=True)
class FrameAutoencoderConfig:
    """Widths at 1/4 and 1/8 of the picture's side, for the encoder and the decoder, and the number of residual blocks at each."""

    latent_channels: int = 8
    encoder_dims: tuple[int, int] = (48, 128)
    encoder_blocks: tuple[int, int] = (1, 1)
    decoder_dims: tuple[int, int, int] = (192, 96, 32)      # at 1/8, 1/4 and 1/2
    decoder_blocks: tuple[int, int, int] = (3, 2, 1)

    def __post_init__(self) -> None:
        for name in ("encoder_dims", "encoder_blocks", "decoder_dims", "decoder_blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))


class FrameAutoencoder(nn.Module):
    """encode: (B, 3, T, H, W) in [-1, 1] to normalised latents (B, C, T, H/8, W/8); decode: back."""

    stride = 8
    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: FrameAutoencoderConfig):
        super().__init__()
        self.config = c = config
        quarter, eighth = c.encoder_dims
        self.encoder = nn.Sequential(
            nn.Conv2d(48, quarter, 3, padding=1),
            *(ResBlock(quarter) for _ in range(c.encoder_blocks[0])),
            nn.Conv2d(quarter, eighth, 2, stride=2),
            *(ResBlock(eighth) for _ in range(c.encoder_blocks[1])),
            nn.GroupNorm(8, eighth), nn.SiLU(), nn.Conv2d(eighth, 2 * c.latent_channels, 3, padding=1),
        )
        eighth, quarter, half = c.decoder_dims
        self.decoder = nn.Sequential(
            nn.Conv2d(c.latent_channels, eighth, 3, padding=1),
            *(ResBlock(eighth) for _ in range(c.decoder_blocks[0])),
            Up(eighth, quarter),
            *(ResBlock(quarter) for _ in range(c.decoder_blocks[1])),
            Up(quarter, half),
            *(ResBlock(half) for _ in range(c.decoder_blocks[2])),
            nn.GroupNorm(8, half), nn.SiLU(), nn.Conv2d(half, 12, 3, padding=1),
        )
        # latent normaliser: z = (raw - mean) / std per channel, measured once after training (`objectives/autoencoding.py`)
        self.register_buffer("latent_mean", torch.zeros(c.latent_channels))
        self.register_buffer("latent_std", torch.ones(c.latent_channels))

    def encode(self, x: Tensor) -> Tensor:
        """Normalised latents: about zero mean and unit variance in every channel."""
        b, _, _, height, width = x.shape
        if height % 8 or width % 8:
            raise ValueError(f"{height}x{width} pixels: this autoencoder packs 8 x 8 pixels in a cell. Try {round8(height)}x{round8(width)}.")
        mean, _ = self.posterior(fold_frames(x))
        return unfold_frames((mean - self._column(self.latent_mean)) / self._column(self.latent_std), b)

    def decode(self, z: Tensor) -> Tensor:
        """Frames in about [-1, 1] from normalised latents."""
        raw = fold_frames(z) * self._column(self.latent_std) + self._column(self.latent_mean)
        return unfold_frames(self.frames(raw), z.shape[0])

    def posterior(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the raw latents of images (N, 3, H, W)."""
        mean, log_var = self.encoder(space_to_depth(frames, 4)).chunk(2, dim=1)
        return mean, log_var.clamp(-12.0, 4.0)

    def frames(self, raw: Tensor) -> Tensor:
        """Images (N, 3, H, W) from raw latents (N, C, H/8, W/8)."""
        return depth_to_space(self.decoder(raw), 2)

    def _column(self, v: Tensor) -> Tensor:
        return v[:, None, None]


def round8(n: int) -> int:
    """The multiple of 8 nearest to n, at least 8."""
    return max(8, (n + 4) // 8 * 8)


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
