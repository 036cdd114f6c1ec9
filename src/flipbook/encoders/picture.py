"""A small image encoder that is trained with its model: one row per picture, where public systems read CLIP."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class PictureEncoderConfig:
    """Width of the row, and the side that pictures are brought to, a multiple of 16."""

    dim: int = 192
    side: int = 32

    def __post_init__(self) -> None:
        if self.side % 16:
            raise ValueError(f"side={self.side}: pictures are halved four times. Try a multiple of 16, such as 32.")


class PictureEncoder(nn.Module):
    """encode: images (B, 3, H, W) in [-1, 1] to rows (B, 1, dim). Four strided convolutions, then the mean over the picture."""

    def __init__(self, config: PictureEncoderConfig):
        super().__init__()
        self.config = config
        widths = (3, config.dim // 4, config.dim // 2, config.dim, config.dim)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.norm = nn.LayerNorm(config.dim)

    def encode(self, images: Tensor) -> Tensor:
        """Rows (B, 1, dim) of images (B, 3, H, W) in [-1, 1], of any size."""
        side = self.config.side
        x = F.interpolate(images.to(self.norm.weight), size=(side, side), mode="bilinear", antialias=True)
        for conv in self.convs:
            x = F.silu(conv(x))
        return self.norm(x.mean((2, 3)))[:, None]

    def forward(self, images: Tensor) -> Tensor:
        return self.encode(images)
