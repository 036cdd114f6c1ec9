"""The tiny autoencoder of latent diffusion (TAESD): a distilled stand-in for `kl.py`, some 30 times cheaper, for previews.

It answers in the big one's normalised latents, so its own normaliser is the identity and either may decode what the other
encoded. Convolutions and ReLUs alone, no norm: the field of view is finite, and tiles with enough overlap are exact.
Public name: AutoencoderTiny; `interop/keys/autoencoder_tiny.py` maps its weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flipbook.autoencoders.kl import check_sides, in_own_dtype
from flipbook.shapes import fold_frames, unfold_frames


@dataclass(frozen=True, kw_only=True)
class TinyAutoencoderConfig:
    """The defaults are the public model for Stable Diffusion 1 and 2.

    dim: width everywhere.   encoder_blocks, decoder_blocks: residual blocks at each size, the encoder's from large to small
    pictures, the decoder's from small to large.
    """

    latent_channels: int = 4
    dim: int = 64
    encoder_blocks: tuple[int, ...] = (1, 3, 3, 3)
    decoder_blocks: tuple[int, ...] = (3, 3, 3, 1)

    def __post_init__(self) -> None:
        for name in ("encoder_blocks", "decoder_blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.encoder_blocks) != len(self.decoder_blocks):
            raise ValueError(
                f"encoder_blocks={self.encoder_blocks} and decoder_blocks={self.decoder_blocks} have different lengths: "
                "what the encoder shrinks the decoder enlarges. Try the same number of sizes."
            )


class TinyAutoencoder(nn.Module):
    """encode: (B, 3, T, H, W) in [-1, 1] to normalised latents (B, C, T, H/s, W/s), s = `stride`; decode: back."""

    def __init__(self, config: TinyAutoencoderConfig):
        super().__init__()
        self.config = c = config
        self.stride = 2 ** (len(c.encoder_blocks) - 1)
        encoder: list[nn.Module] = []
        for i, blocks in enumerate(c.encoder_blocks):
            first = nn.Conv2d(3, c.dim, 3, padding=1) if i == 0 else nn.Conv2d(c.dim, c.dim, 3, stride=2, padding=1, bias=False)
            encoder += [first, *(TinyBlock(c.dim) for _ in range(blocks))]
        self.encoder = nn.Sequential(*encoder, nn.Conv2d(c.dim, c.latent_channels, 3, padding=1))
        decoder: list[nn.Module] = [nn.Conv2d(c.latent_channels, c.dim, 3, padding=1), nn.ReLU()]
        for i, blocks in enumerate(c.decoder_blocks):
            decoder += [TinyBlock(c.dim) for _ in range(blocks)]
            if i < len(c.decoder_blocks) - 1:
                decoder += [nn.Upsample(scale_factor=2), nn.Conv2d(c.dim, c.dim, 3, padding=1, bias=False)]
        self.decoder = nn.Sequential(*decoder, nn.Conv2d(c.dim, 3, 3, padding=1))

    def encode(self, x: Tensor) -> Tensor:
        """Normalised latents. Raises ValueError for sides that s does not divide."""
        check_sides(x, self.stride)
        return unfold_frames(self.encoder((fold_frames(in_own_dtype(self, x)) + 1.0) / 2.0), x.shape[0])     # it works on pixels in [0, 1]

    def decode(self, z: Tensor) -> Tensor:
        """Frames in about [-1, 1]; latents are bent smoothly into (-3, 3) first."""
        return unfold_frames(self.decoder(3.0 * torch.tanh(fold_frames(in_own_dtype(self, z)) / 3.0)) * 2.0 - 1.0, z.shape[0])


class TinyBlock(nn.Module):
    """relu(x + three convolutions with ReLUs between them)."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1), nn.ReLU(),
            nn.Conv2d(dim, dim, 3, padding=1), nn.ReLU(),
            nn.Conv2d(dim, dim, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.conv(x))
