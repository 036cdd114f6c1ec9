"""How frames come to the size a network wants. Published metrics disagree here more than anywhere; each rule has a name."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from flipbook.shapes import fold_frames, unfold_frames


def squash(frames: Tensor, size: int) -> Tensor:
    """Bilinear to size x size whatever the aspect ratio, pixel centres at half-integers, no antialiasing."""
    return F.interpolate(frames, (size, size), mode="bilinear", align_corners=False)


def squash_antialiased(frames: Tensor, size: int) -> Tensor:
    """Bilinear to size x size whatever the aspect ratio, antialiased."""
    return F.interpolate(frames, (size, size), mode="bilinear", align_corners=False, antialias=True)


def squash_tf1(frames: Tensor, size: int) -> Tensor:
    """Bilinear as TensorFlow 1 had it: output pixel i reads at i * (old / new), so the picture drifts up and left; no antialiasing."""
    for axis in (-2, -1):
        old = frames.shape[axis]
        at = torch.arange(size, dtype=torch.float32, device=frames.device) * (old / size)
        low = at.floor().long().clamp(max=old - 1)
        share = (at - low).view(-1, 1) if axis == -2 else at - low
        frames = torch.lerp(frames.index_select(axis, low), frames.index_select(axis, (low + 1).clamp(max=old - 1)), share)
    return frames


def short_side_crop(frames: Tensor, size: int) -> Tensor:
    """Short side to size by bilinear interpolation without antialiasing, the long side rounded up; then the centre."""
    return _crop(frames, size, antialias=False)


def short_side_crop_antialiased(frames: Tensor, size: int) -> Tensor:
    """Short side to size by antialiased bilinear interpolation, the long side rounded up; then the centre."""
    return _crop(frames, size, antialias=True)


def _crop(frames: Tensor, size: int, antialias: bool) -> Tensor:
    h, w = frames.shape[-2:]
    scale = size / min(h, w)
    to = (size, math.ceil(w * scale)) if h < w else (math.ceil(h * scale), size)
    frames = F.interpolate(frames, to, mode="bilinear", align_corners=False, antialias=antialias)
    top, left = (to[0] - size) // 2, (to[1] - size) // 2
    return frames[..., top : top + size, left : left + size]


RULES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "squash-bilinear": squash, "squash-bilinear-antialiased": squash_antialiased, "squash-bilinear-tf1": squash_tf1,
    "short-side-crop": short_side_crop, "short-side-crop-antialiased": short_side_crop_antialiased,
}  # fmt: skip


def resize_clips(x: Tensor, rule: str | None, size: int | None) -> Tensor:
    """Clips (B, C, T, H, W) to size x size by a named rule; as they are when either is None. Raises ValueError for other names."""
    if rule is None or size is None:
        return x
    if rule not in RULES:
        raise ValueError(f"resize rule {rule!r} is not known. Try one of {', '.join(RULES)}.")
    return unfold_frames(RULES[rule](fold_frames(x), size), len(x))
