"""Axis order and folding: the only place that reorders axes.

Public boundaries speak (B, C, T, H, W). Files and `Video` hold uint8 (T, H, W, 3). Tokens are flattened in (t h w) order.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def pixels_to_tensor(frames: np.ndarray | Tensor) -> Tensor:
    """uint8 frames (..., T, H, W, C) to float32 (..., C, T, H, W) in [-1, 1]."""
    x = torch.as_tensor(frames)
    if x.dtype != torch.uint8:
        raise ValueError(f"frames have dtype {x.dtype}: decoded video is uint8 in [0, 255]. Try frames.astype('uint8').")
    return x.movedim(-1, -4).to(torch.float32).div_(127.5).sub_(1.0)


def tensor_to_pixels(x: Tensor) -> np.ndarray:
    """Float (..., C, T, H, W) in [-1, 1] to uint8 (..., T, H, W, C): clamped and rounded, never truncated."""
    x = x.detach().to(torch.float32).clamp(-1.0, 1.0).add(1.0).mul(127.5).round_()
    return x.to(torch.uint8).movedim(-4, -1).contiguous().cpu().numpy()


def fold_frames(x: Tensor) -> Tensor:
    """(B, C, T, H, W) to (B T, C, H, W): time becomes batch, where image layers run."""
    b, c, t, h, w = x.shape
    return x.transpose(1, 2).reshape(b * t, c, h, w)


def unfold_frames(x: Tensor, batch: int) -> Tensor:
    """(B T, C, H, W) back to (B, C, T, H, W)."""
    bt, c, h, w = x.shape
    return x.reshape(batch, bt // batch, c, h, w).transpose(1, 2)


def fold_pixels(x: Tensor) -> Tensor:
    """(B, C, T, H, W) to (B H W, T, C): space becomes batch, where temporal layers run."""
    b, c, t, h, w = x.shape
    return x.permute(0, 3, 4, 2, 1).reshape(b * h * w, t, c)


def unfold_pixels(x: Tensor, batch: int, height: int, width: int) -> Tensor:
    """(B H W, T, C) back to (B, C, T, H, W)."""
    _, t, c = x.shape
    return x.reshape(batch, height, width, t, c).permute(0, 4, 3, 1, 2)


def patchify(x: Tensor, patch: tuple[int, int, int]) -> Tensor:
    """(B, C, T, H, W) to tokens (B, N, C p_t p_h p_w), N = T/p_t H/p_h W/p_w in (t h w) order."""
    b, c, t, h, w = x.shape
    pt, ph, pw = patch
    x = x.reshape(b, c, t // pt, pt, h // ph, ph, w // pw, pw)
    return x.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(b, (t // pt) * (h // ph) * (w // pw), c * pt * ph * pw)


def unpatchify(tokens: Tensor, patch: tuple[int, int, int], grid: tuple[int, int, int]) -> Tensor:
    """Tokens (B, N, C p_t p_h p_w) on a (t, h, w) grid back to (B, C, T, H, W)."""
    b = tokens.shape[0]
    pt, ph, pw = patch
    t, h, w = grid
    x = tokens.reshape(b, t, h, w, -1, pt, ph, pw)
    c = x.shape[4]
    return x.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(b, c, t * pt, h * ph, w * pw)


def space_to_depth(x: Tensor, k: int) -> Tensor:
    """Images (N, C, H, W) to (N, C k k, H/k, W/k): each k x k block becomes channels."""
    return torch.nn.functional.pixel_unshuffle(x, k)


def depth_to_space(x: Tensor, k: int) -> Tensor:
    """The inverse of `space_to_depth`."""
    return torch.nn.functional.pixel_shuffle(x, k)
