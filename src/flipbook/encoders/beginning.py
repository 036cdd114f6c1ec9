"""An encoder of a clip's first frames that is trained with its model: a residual network of 3D convolutions, whose cells become rows.

So VideoGPT (arXiv:2104.10157, section 3.2) reads the frames that it goes on from: a 3D ResNet, then cross-attention in every block. We use
group norm where the paper has batch norm, so that a clip does not depend on its batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.embed import zero_
from flipbook.nn.positions import LearnedPlaces

STRIDE = 4


@dataclass(frozen=True, kw_only=True)
class BeginningEncoderConfig:
    """The defaults are those of a ResNet-34, for clips of 64 x 64.

    frames: the most that are read.   side: of the pictures, in pixels, at most; a row is a cell of 4 x 4 pixels of one frame.
    dim: of the rows.   widths, depths: channels and residual blocks of each size of network; the second and third halve height and width.
    """

    frames: int = 4
    side: int = 64
    dim: int = 192
    widths: tuple[int, ...] = (64, 128, 256, 512)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    groups: int = 8

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "depths", tuple(self.depths))
        if self.frames < 1 or self.side % STRIDE:
            raise ValueError(f"frames={self.frames}, side={self.side}: one frame is read at least, and cells are {STRIDE} pixels wide. Try frames=1, side=64.")
        if len(self.widths) != len(self.depths) or len(self.widths) < 3 or any(width % self.groups for width in self.widths):
            raise ValueError(f"widths={self.widths}, depths={self.depths}: three or more, equally many, widths in multiples of {self.groups}.")


class BeginningEncoder(nn.Module):
    """encode: clips (B, 3, n, H, W) in [-1, 1] to rows (B, n H/4 W/4, dim) in (t h w) order; `nothing` is the row (dim,) where no frame is given."""

    def __init__(self, config: BeginningEncoderConfig):
        super().__init__()
        self.config = c = config
        self.enter = nn.Conv3d(3, c.widths[0], 3, padding=1)
        sizes = pairwise((c.widths[0], *c.widths))
        self.blocks = nn.ModuleList(
            Block3D(a if j == 0 else b, b, 2 if i in (1, 2) and j == 0 else 1, c.groups)
            for i, ((a, b), depth) in enumerate(zip(sizes, c.depths, strict=True))
            for j in range(depth)
        )
        self.norm, self.leave = nn.GroupNorm(c.groups, c.widths[-1]), nn.Linear(c.widths[-1], c.dim)
        self.places = nn.ModuleList(LearnedPlaces(n, c.dim) for n in (c.frames, c.side // STRIDE, c.side // STRIDE))
        self.nothing = nn.Parameter(0.02 * torch.randn(c.dim))

    def encode(self, frames: Tensor) -> Tensor:
        """Rows of clips. Raises ValueError for sides that are no multiples of 4, and for more or larger frames than places were learned for."""
        height, width = frames.shape[3:]
        if height % STRIDE or width % STRIDE:
            raise ValueError(f"{height}x{width} pixels are no multiple of {STRIDE}. Try {height // STRIDE * STRIDE}x{width // STRIDE * STRIDE}.")
        x = self.enter(frames.to(self.nothing.dtype))
        for block in self.blocks:
            x = block(x)
        rows = self.leave(F.silu(self.norm(x)).permute(0, 2, 3, 4, 1))      # (B, n, H/4, W/4, D)
        time, row, column = (places(torch.arange(n, dtype=torch.float32, device=x.device)[None])[0]
                             for places, n in zip(self.places, rows.shape[1:4], strict=True))
        return (rows + time[:, None, None] + row[:, None] + column).flatten(1, 3)

    def forward(self, frames: Tensor) -> Tensor:
        return self.encode(frames)


class Block3D(nn.Module):
    """x + Conv(silu(norm(Conv(silu(norm x))))), three cells wide; with a stride, height and width are halved."""

    def __init__(self, c_in: int, c_out: int, stride: int, groups: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, c_in), nn.Conv3d(c_in, c_out, 3, stride=(1, stride, stride), padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(groups, c_out), zero_(nn.Conv3d(c_out, c_out, 3, padding=1))
        self.shortcut = nn.Conv3d(c_in, c_out, 1, stride=(1, stride, stride)) if stride > 1 or c_in != c_out else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return h + (x if self.shortcut is None else self.shortcut(x))
