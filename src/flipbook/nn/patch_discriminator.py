"""A discriminator of patches of clips: strided 3D convolutions that say of each patch by itself whether it is true (arXiv:1611.07004, section 3.2).

What a pixel-wise loss leaves blurred is small; whether it is there can be seen within a patch. So nobody has to look at the whole clip, a clip has as
many answers as patches, and clips of any length and size can be asked about.
"""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.embed import RMSNorm


class PatchDiscriminator(nn.Module):
    """Clips (N, 3, T, H, W), or pictures, T = 1, to logits (N, 1, t, h, w), above 0 for patches that it takes for true.

    dim: width of the first level, doubled by each next one.   levels: each halves all axes: t = ceil(T / 2^levels), h = floor(H / 2^levels).

    A logit sees 2^(levels + 1) - 1 frames of 5 * 2^levels - 2 pixels a side (`patch`): 15 of 38 x 38 at three levels. It is a function of that patch
    alone, for norms have their statistics over the channels of one cell: it depends neither on the batch nor on the rest of its clip.
    """

    def __init__(self, dim: int = 64, levels: int = 3):
        super().__init__()
        if dim < 1 or levels < 1:
            raise ValueError(f"dim={dim}, levels={levels}: both count from 1. Try dim=64, levels=3.")
        widths = [3, *(dim * 2**k for k in range(levels))]
        self.levels = nn.Sequential(*(Level(*ends, norm=k > 0) for k, ends in enumerate(pairwise(widths))))
        self.head = nn.Conv3d(widths[-1], 1, (1, 3, 3), padding=(0, 1, 1))

    @property
    def patch(self) -> tuple[int, int]:
        """Frames, and pixels a side, that a logit sees."""
        frames, side = 1, 3                                                 # of cells below the head
        for _ in self.levels:
            frames, side = 2 * (frames - 1) + 3, 2 * (side - 1) + 4
        return frames, side

    def check(self, height: int, width: int) -> None:
        """Raises ValueError for clips that are too small to halve so often."""
        if min(height, width) < 2 ** len(self.levels):
            fit = max(1, min(height, width).bit_length() - 1)
            raise ValueError(f"levels={len(self.levels)}: pictures of {height} x {width} pixels cannot be halved so often. Try levels={fit}.")

    def forward(self, clips: Tensor) -> Tensor:
        self.check(*clips.shape[3:])
        logits: Tensor = self.head(self.levels(clips))
        return logits


class Level(nn.Module):
    """(N, C, T, H, W) to (N, C', ceil(T / 2), floor(H / 2), floor(W / 2)): a strided convolution, a norm of each cell's channels, LeakyReLU(0.2)."""

    def __init__(self, dim_in: int, dim: int, *, norm: bool):
        super().__init__()
        self.conv = nn.Conv3d(dim_in, dim, (3, 4, 4), stride=2, padding=1)
        self.norm = RMSNorm(dim) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        cells = self.conv(x).movedim(1, -1)                                 # (N, T / 2, H / 2, W / 2, C')
        return F.leaky_relu(self.norm(cells), 0.2).movedim(-1, 1)
