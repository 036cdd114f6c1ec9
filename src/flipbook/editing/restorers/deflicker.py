"""Flicker out: a brightness that wavers from frame to frame is drawn back to its own slow course."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from flipbook.video import Video

from .common import by_shot, smooth_over_time

CLIPPED = (0.02, 0.98)  # values at the ends of the range do not follow the gain
PIXELS = 20_000         # of a frame are enough to measure a gain
TUKEY = 4.685           # residuals beyond so many standard deviations count for nothing


def deflicker(video: Video, *, cuts: Sequence[int] | None = None, sigma: float = 4.0) -> Video:
    """Multiply each colour of each frame by (smoothed gain) / (gain); the gains are smoothed over `sigma` frames.

    The gain from frame to frame is a robust fit over the pixels that stay what they are, so that things which come and go
    do not count as flicker; a table of the frame's quantiles, the common way, moves with them. Gains multiply up along a shot;
    their slow errors are smoothed and so never applied. A fade is a slow course and survives. Flicker of single regions
    is left: the whole frame has one gain per colour.
    """
    if sigma <= 0:
        raise ValueError(f"sigma={sigma}: the time over which brightness is smoothed is a positive number of frames. Try 4.")

    def steady(x: Tensor) -> Tensor:                                                 # (t, 3, H, W)
        gains = course_of_gain(x)                                                    # (t, 3)
        return x * (smooth_over_time(gains, sigma).clamp_min(0.01) / gains)[:, :, None, None]

    return by_shot(video, cuts, steady)


def course_of_gain(x: Tensor) -> Tensor:
    """Brightness of each frame and colour relative to the first frame of a shot (t, 3, H, W): (t, 3)."""
    pixels = x.flatten(2)
    pixels = pixels[:, :, :: max(1, pixels.shape[2] // PIXELS)]
    steps = [torch.ones(3)]
    for before, now in itertools.pairwise(pixels):
        steps.append(torch.stack([gain_between(b, n) for b, n in zip(before, now, strict=True)]))
    return torch.stack(steps).cumprod(0).clamp(0.01, 100)


def gain_between(before: Tensor, now: Tensor) -> Tensor:
    """g of now = g * before over pixels (P,), by least squares reweighted after Tukey; 1 where nothing can be measured."""
    low, high = CLIPPED
    usable = (before > low) & (before < high) & (now > low) & (now < high)
    if int(usable.sum()) < max(16, len(before) // 50):
        return torch.tensor(1.0)
    before, now = before[usable], now[usable]
    gain = (now / before).median()
    for _ in range(5):
        residual = now - gain * before
        scale = TUKEY * (1.48 * residual.abs().median() + 1 / 255)
        weight = (1 - (residual / scale) ** 2).clamp_min(0) ** 2
        gain = (weight * before * now).sum() / (weight * before * before).sum().clamp_min(1e-9)
    return gain
