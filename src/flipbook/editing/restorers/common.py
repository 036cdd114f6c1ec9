"""What restorers share: frames as tensors in [0, 1], work by shot, smoothing in space and over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from flipbook.footage import find_cuts, shots
from flipbook.shapes import fold_frames, pixels_to_tensor, tensor_to_pixels, unfold_frames
from flipbook.video import Video


def unit_frames(video: Video) -> Tensor:
    """The frames as (T, 3, H, W) in [0, 1]."""
    return fold_frames(pixels_to_tensor(video.frames)[None]).add(1).div(2)


def with_unit_frames(video: Video, x: Tensor) -> Video:
    """The video with other frames (T, 3, H, W) in [0, 1]; all else stays."""
    return replace(video, frames=tensor_to_pixels(unfold_frames(x * 2 - 1, 1)[0]))


def shots_of(video: Video, cuts: Sequence[int] | None) -> list[slice]:
    """The shots by the cuts given (first frames of new shots), or by those that are found."""
    return shots(len(video), find_cuts(video.frames) if cuts is None else cuts)


def by_shot(video: Video, cuts: Sequence[int] | None, filter: Callable[[Tensor], Tensor]) -> Video:
    """Filter every shot, (t, 3, H, W) in [0, 1], on its own."""
    x = unit_frames(video)
    return with_unit_frames(video, torch.cat([filter(x[shot]) for shot in shots_of(video, cuts)]))


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Blur (N, C, H, W) with a Gaussian of `sigma` pixels; the picture goes on beyond its border as in a mirror."""
    if sigma <= 0:
        raise ValueError(f"sigma={sigma}: the width of a blur is a positive number of pixels. Try 1.")
    for axis in (-1, -2):
        reach = min(max(1, round(3 * sigma)), x.shape[axis] - 1)
        taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device) / sigma) ** 2)
        taps = (taps / taps.sum()).view(1, 1, -1) if axis == -1 else (taps / taps.sum()).view(1, -1, 1)
        pad = (reach, reach, 0, 0) if axis == -1 else (0, 0, reach, reach)
        padded = F.pad(x, pad, mode="reflect") if reach else x
        x = F.conv2d(padded, taps.expand(x.shape[1], 1, *taps.shape[1:]), groups=x.shape[1])
    return x


def box_mean(x: Tensor, size: int) -> Tensor:
    """Mean over size x size pixels (size odd) of (N, C, H, W); at the border over those inside."""
    return F.avg_pool2d(x, size, stride=1, padding=size // 2, count_include_pad=False)


def smooth_over_time(series: Tensor, sigma: float) -> Tensor:
    """A series (T, ...) smoothed by local straight lines under a Gaussian of `sigma` frames.

    Lines, and not means, so that a steady change, a fade for one, comes out as it went in, to its very ends.
    """
    weight, lag = weights_over_time(len(series), sigma)
    s0, s1, s2 = weight.sum(1), (weight * lag).sum(1), (weight * lag**2).sum(1)
    determinant = s0 * s2 - s1**2
    line = weight * (s2[:, None] - lag * s1[:, None]) / determinant.clamp_min(1e-12)[:, None]
    rows = torch.where(determinant[:, None] > 1e-9, line, weight / s0[:, None])      # a single frame has no line
    return torch.einsum("ij,j...->i...", rows, series.double()).to(series.dtype)


def mean_over_time(series: Tensor, sigma: float) -> Tensor:
    """A series (T, ...) averaged under a Gaussian of `sigma` frames: covariances stay covariances, as with lines they need not."""
    weight, _ = weights_over_time(len(series), sigma)
    return torch.einsum("ij,j...->i...", weight / weight.sum(1, keepdim=True), series.double()).to(series.dtype)


def weights_over_time(count: int, sigma: float) -> tuple[Tensor, Tensor]:
    """How much frame j counts for frame i, and how far it lies from it: (T, T) each."""
    t = torch.arange(count, dtype=torch.float64)
    lag = t[None] - t[:, None]
    return torch.exp(-0.5 * (lag / sigma) ** 2), lag
