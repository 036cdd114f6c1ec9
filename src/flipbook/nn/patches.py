"""Latent clips to tokens and back: patches of one frame each."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.shapes import fold_frames, unfold_frames


class PatchEmbed(nn.Conv2d):
    """(B, C, T, H, W) to tokens (B, T, S, D), S = H/p W/p in (y x) order. A convolution by its weights, a product by its work."""

    def __init__(self, channels: int, dim: int, patch: int):
        super().__init__(channels, dim, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        b, p = x.shape[0], self.kernel_size[0]
        patches = F.pixel_unshuffle(fold_frames(x), p).flatten(2).transpose(1, 2)           # (B T, S, C p p)
        return F.linear(patches, self.weight.flatten(1), self.bias).unflatten(0, (b, -1))


def from_patches(tokens: Tensor, patch: int, rows: int, columns: int) -> Tensor:
    """Tokens (B, T, S, p p C), pixels of a patch first, to (B, C, T, rows p, columns p)."""
    b = tokens.shape[0]
    x = tokens.unflatten(-1, (patch**2, -1)).transpose(-1, -2).flatten(3)                   # (B, T, S, C p p)
    x = x.flatten(0, 1).transpose(1, 2).unflatten(-1, (rows, columns))
    return unfold_frames(F.pixel_shuffle(x, patch), b)


def check_size(height: int, width: int, patch: int) -> None:
    """Raises ValueError, with the nearest size, where a latent is not cut evenly."""
    if height % patch or width % patch:
        near = f"{max(patch, height // patch * patch)}x{max(patch, width // patch * patch)}"
        raise ValueError(f"latent size {height}x{width} is no multiple of {patch}, a token's side in latent cells. Try {near}.")
