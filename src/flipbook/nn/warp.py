"""Backward warping by optical flow, and which pixels of one frame are seen in the other.

A field lives on the grid of its first frame, in pixels of that grid, channels (dx, dy): the field from frame i to frame j
brings frame j onto frame i, `warp(x_j, f_ij) = x_i`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from flipbook.shapes import fold_frames, unfold_frames


def warp(x: Tensor, f: Tensor, *, mode: Literal["bilinear", "bicubic", "nearest"] = "bilinear") -> Tensor:
    """`warp(x, f)(u) = x(u + f(u))`; places beyond the border take the nearest pixel of the border.

    x: images (N, C, H, W) or videos (B, C, T, H, W), any values.   f: the same with two channels, (dx, dy) in pixels.
    Returns the shape of x. A zero field returns x exactly. Raises ValueError if the shapes do not belong together.
    """
    if f.shape != (*x.shape[:1], 2, *x.shape[2:]):
        raise ValueError(
            f"a field of shape {tuple(f.shape)} cannot move a picture of shape {tuple(x.shape)}: it needs the same sizes and "
            f"the two channels (dx, dy), so {(*x.shape[:1], 2, *x.shape[2:])}. Fields (..., H, W, 2) want f.movedim(-1, 1)."
        )
    if x.ndim == 5:
        return unfold_frames(warp(fold_frames(x), fold_frames(f), mode=mode), x.shape[0])
    places = pixel_grid(f) + f                                                       # (N, 2, H, W)
    size = torch.tensor([f.shape[-1], f.shape[-2]], dtype=f.dtype, device=f.device).view(1, 2, 1, 1)
    normalised = (2 * places + 1) / size - 1                                         # centres of pixels, corners not aligned
    moved = F.grid_sample(x, normalised.movedim(1, -1).to(x.dtype), mode=mode, padding_mode="border", align_corners=False)
    return torch.where((f == 0).all(1, keepdim=True), x, moved)                      # grid_sample's own rounding is 1e-6


def pixel_grid(f: Tensor) -> Tensor:
    """Column and row of every pixel of a field (N, 2, H, W): (1, 2, H, W)."""
    y = torch.arange(f.shape[-2], dtype=f.dtype, device=f.device)
    x = torch.arange(f.shape[-1], dtype=f.dtype, device=f.device)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows])[None]


def lands_inside(f: Tensor) -> Tensor:
    """Pixels whose place u + f(u) lies within the picture: bool (N, 1, H, W) of a field (N, 2, H, W)."""
    places = pixel_grid(f) + f
    limit = torch.tensor([f.shape[-1], f.shape[-2]], dtype=f.dtype, device=f.device).view(1, 2, 1, 1) - 0.5
    return ((places >= -0.5) & (places <= limit)).all(1, keepdim=True)


def is_consistent(forward: Tensor, backward: Tensor, *, tolerance: float = 1.0) -> Tensor:
    """Pixels that come back when they follow one field and return by the other: those seen in both frames.

    forward: (N, 2, H, W) from frame i to j.   backward: from j to i, on the grid of j.   tolerance: pixels.
    Returns bool (N, 1, H, W) on the grid of i: |f_ij(u) + f_ji(u + f_ij(u))| < tolerance, and the place lies within the picture.
    """
    there_and_back = forward + warp(backward, forward)
    return (there_and_back.norm(dim=1, keepdim=True) < tolerance) & lands_inside(forward)
