"""An autoencoder of clips whose latents are codes: 3D convolutions with axial attention around a codebook.

VideoGPT, arXiv:2104.10157, section 3.1. A latent cell packs (frames, rows, columns) = `pack` pixels; the padding is even on both sides, so
all frames see each other and a clip has a multiple of pack[0] frames. Group norm stands in the place of the paper's batch norm: what
becomes of a clip does not depend on its batch. Learned by `objectives/quantising.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import torch
from torch import Tensor, nn

from flipbook.autoencoders.codebook import Codebook
from flipbook.autoencoders.kl import check_sides, in_own_dtype
from flipbook.autoencoders.packing import Box, box_ends, check_box, halvings
from flipbook.nn.attention import AnyPattern, Window, attend


@dataclass(frozen=True, kw_only=True)
class VQAutoencoderConfig:
    """The defaults are the paper's. pack: frames, rows and columns of a cell, powers of two.   latent_channels: width of a code's vector."""

    num_codes: int = 2048
    latent_channels: int = 256
    dim: int = 240
    blocks: int = 4
    heads: int = 2
    pack: Box = (4, 4, 4)
    decay: float = 0.99
    restart_below: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "pack", tuple(self.pack))
        check_box(self.pack)
        if self.dim % self.heads:
            raise ValueError(f"dim={self.dim} cannot be shared by heads={self.heads}. Try dim={self.dim // self.heads * self.heads}.")


class VQAutoencoder(nn.Module):
    """encode: (B, 3, T, H, W) in [-1, 1] to the vectors of its codes (B, D, T/p_t, H/p, W/p); decode: any vectors back, by their nearest codes."""

    mixes_frames = True                                                     # a clip decoded in pieces is another clip at their edges

    def __init__(self, config: VQAutoencoderConfig):
        super().__init__()
        self.config = c = config
        self.stride = c.pack[1]
        encoder: list[nn.Module] = []
        for i, stride in enumerate(halvings(c.pack)):
            encoder += [nn.Conv3d(c.dim if i else 3, c.dim, *_halving(stride)), nn.ReLU()]
        self.encoder = nn.Sequential(
            *encoder, nn.Conv3d(c.dim if encoder else 3, c.dim, 3, padding=1),
            *(AxialBlock(c.dim, c.heads) for _ in range(c.blocks)), _norm(c.dim), nn.ReLU(), nn.Conv3d(c.dim, c.latent_channels, 1),
        )  # fmt: skip
        self.codebook = Codebook(c.num_codes, c.latent_channels, decay=c.decay, restart_below=c.restart_below)
        decoder: list[nn.Module] = []
        for i, stride in reversed(list(enumerate(halvings(c.pack)))):
            decoder += [nn.ConvTranspose3d(c.dim, c.dim if i else 3, *_halving(stride)), *([nn.ReLU()] if i else [])]
        self.decoder = nn.Sequential(
            nn.Conv3d(c.latent_channels, c.dim, 1), *(AxialBlock(c.dim, c.heads) for _ in range(c.blocks)), _norm(c.dim), nn.ReLU(),
            *(decoder or [nn.Conv3d(c.dim, 3, 3, padding=1)]),
        )  # fmt: skip

    def encode(self, x: Tensor) -> Tensor:
        """The vectors of a clip's codes. Raises ValueError for lengths and sides that `pack` does not divide."""
        return self.codebook.vectors_of(self.codes(x)).to(x.dtype)

    def decode(self, z: Tensor) -> Tensor:
        """Frames in about [-1, 1]."""
        return self.frames(self.codebook.vectors_of(self.codebook.nearest(z)))

    def codes(self, x: Tensor) -> Tensor:
        """int64 (B, T/p_t, H/p, W/p) of clips (B, 3, T, H, W)."""
        return self.codebook.nearest(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """What the encoder says of a clip, before it is rounded to codes: (B, D, T/p_t, H/p, W/p)."""
        self.latent_ends(x.shape[2])
        check_sides(x, self.stride)
        return self.encoder(in_own_dtype(self, x))

    def frames(self, vectors: Tensor) -> Tensor:
        """Frames of vectors as they are, without a look into the codebook: where gradients are wanted."""
        return self.decoder(in_own_dtype(self, vectors))

    def latent_ends(self, num_frames: int) -> tuple[int, ...]:
        """The last frame of each latent one. Raises ValueError for other lengths than multiples of pack[0], with the two nearest legal ones."""
        return box_ends(num_frames, self.config.pack[0])


class AxialBlock(nn.Module):
    """x + attention along each axis of a small convolution of x."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        half = dim // 2
        self.body = nn.Sequential(
            _norm(dim), nn.ReLU(), nn.Conv3d(dim, half, 3, padding=1, bias=False),
            _norm(half), nn.ReLU(), nn.Conv3d(half, dim, 1, bias=False),
            _norm(dim), nn.ReLU(), AxialAttention(dim, heads),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class AxialAttention(nn.Module):
    """The sum of three attentions of (B, D, T, H, W): along the row, along the column, along time."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.ModuleList(nn.Linear(dim, 3 * dim, bias=False) for _ in range(3))
        self.out = nn.ModuleList(nn.Linear(dim, dim) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        grid = tuple(x.shape[2:])
        axes: tuple[AnyPattern, ...] = (Window(1, 1, grid[2]), Window(1, grid[1], 1), "temporal")
        tokens = x.flatten(2).transpose(1, 2)                               # (B, N, D) in (t h w) order
        total = torch.zeros_like(tokens)
        for qkv, out, pattern in zip(self.qkv, self.out, axes, strict=True):
            q, k, v = qkv(tokens).unflatten(-1, (3, self.heads, -1)).unbind(2)
            total = total + out(attend(q, k, v, grid, pattern).flatten(2))
        return total.transpose(1, 2).unflatten(2, grid)


def _norm(dim: int) -> nn.Module:
    return nn.GroupNorm(gcd(8, dim // 2), dim)                            # two channels or more in a group


def _halving(stride: Box) -> tuple[Box, Box, Box]:
    """Kernel, stride and padding that divide (or, transposed, multiply) every axis by its stride exactly."""
    t, h, w = (4 if n == 2 else 3 for n in stride)
    return (t, h, w), stride, (1, 1, 1)
