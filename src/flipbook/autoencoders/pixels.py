"""No autoencoder: the pixels themselves, a square of them to a cell, scaled to about unit variance. Nothing is lost."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from flipbook.shapes import depth_to_space, fold_frames, space_to_depth, unfold_frames


@dataclass(frozen=True, kw_only=True)
class PixelsConfig:
    """patch: side of the square of pixels that becomes one cell.   scale: standard deviation of pixels in [-1, 1], about."""

    patch: int = 4
    scale: float = 0.5


class Pixels(nn.Module):
    """encode: (B, 3, T, H, W) in [-1, 1] to (B, 3 patch^2, T, H/patch, W/patch); decode: back, exactly."""

    def __init__(self, config: PixelsConfig):
        super().__init__()
        self.config = config
        self.stride = config.patch

    def encode(self, x: Tensor) -> Tensor:
        """Squares of pixels stacked in the channels, divided by `scale`. Raises ValueError for sides that are no multiples of `patch`."""
        p = self.config.patch
        if x.shape[-2] % p or x.shape[-1] % p:
            raise ValueError(f"{x.shape[-2]}x{x.shape[-1]} pixels: a cell is {p} x {p} pixels. Try multiples of {p}.")
        return unfold_frames(space_to_depth(fold_frames(x), p), x.shape[0]) / self.config.scale

    def decode(self, z: Tensor) -> Tensor:
        """Frames from cells."""
        return unfold_frames(depth_to_space(fold_frames(z), self.config.patch), z.shape[0]) * self.config.scale
