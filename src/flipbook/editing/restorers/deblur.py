"""Sharper: against a blur that is known, and unsharp masking that cannot ring."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from flipbook.video import Video

from .common import gaussian_blur, unit_frames, with_unit_frames


def sharpen(video: Video, *, cuts: Sequence[int] | None = None, amount: float = 0.7, sigma: float = 1.0) -> Video:
    """x + amount * (x - blur(x)), kept between the darkest and the brightest of the 3 x 3 pixels around: no halos.

    amount: 0 changes nothing.   sigma: width of the blur in pixels.   Frames are treated singly, cuts do not matter.
    """
    x = unit_frames(video)
    sharp = x + amount * (x - gaussian_blur(x, sigma))
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    brightest, darkest = F.max_pool2d(padded, 3, stride=1), -F.max_pool2d(-padded, 3, stride=1)
    return with_unit_frames(video, torch.minimum(torch.maximum(sharp, darkest), brightest))


def deblur(video: Video, *, cuts: Sequence[int] | None = None, sigma: float = 1.0, iterations: int = 15) -> Video:
    """Undo a Gaussian blur of `sigma` pixels: Richardson-Lucy (1972, 1974), u <- u * K'(x / K u), K its own transpose.

    The blur has to be known: with a wrong width the result is worse than what came in. Noise grows with the iterations,
    so denoise first. Frames are treated singly, cuts do not matter.
    """
    if iterations < 1:
        raise ValueError(f"iterations={iterations}: at least one is needed. Try 15.")
    x = unit_frames(video).clamp_min(1e-4)
    u = x
    for _ in range(iterations):
        u = u * gaussian_blur(x / gaussian_blur(u, sigma).clamp_min(1e-4), sigma)
    return with_unit_frames(video, u)
