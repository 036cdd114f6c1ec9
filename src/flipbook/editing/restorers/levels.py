"""Brightness and contrast: by hand in linear light, by percentiles that move slowly, by local histograms that do too."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from flipbook.video import Video

from .common import by_shot, smooth_over_time, unit_frames, with_unit_frames

WINDOW = 15 / 12**0.5  # a Gaussian as wide as a window of 15 frames
LUMA = (0.2126, 0.7152, 0.0722)
BINS = 64


def levels(
    video: Video, *, cuts: Sequence[int] | None = None, gain: float = 1.0, bias: float = 0.0, gamma: float = 1.0
) -> Video:
    """gain * light + bias in linear light, then light ** (1 / gamma): gamma above 1 lifts the shadows.

    gain, gamma: above 0, 1 changes nothing.   bias: in units of full light.   Every frame alike; cuts do not matter.
    """
    if gain <= 0 or gamma <= 0:
        raise ValueError(f"gain={gain}, gamma={gamma}: both are above 0, and 1 changes nothing.")
    light = to_linear(unit_frames(video))
    return with_unit_frames(video, to_stored((gain * light + bias).clamp(0, 1) ** (1 / gamma)))


def auto_levels(
    video: Video, *, cuts: Sequence[int] | None = None, clip: float = 0.01, most: float = 4.0
) -> Video:
    """Stretch so that the darkest and brightest share `clip` of luma reach black and white, at most `most`-fold.

    The two ends follow a course smoothed over about 15 frames, so that nothing pumps.
    """

    def stretch(x: Tensor) -> Tensor:
        y = luma(x).flatten(1)                                                       # (t, H W)
        y = y[:, :: max(1, y.shape[1] // 50_000)]
        ends = torch.quantile(y, torch.tensor([clip, 1 - clip]), dim=1).T            # (t, 2)
        low, high = smooth_over_time(ends, WINDOW).unbind(1)
        span = (high - low).clamp_min(1 / most)
        low = low.minimum((1 - span).clamp_min(0))
        return (x - low[:, None, None, None]) / span[:, None, None, None]

    return by_shot(video, cuts, stretch)


def equalise(
    video: Video, *, cuts: Sequence[int] | None = None, limit: float = 2.0, tiles: int = 4, strength: float = 1.0
) -> Video:
    """Local contrast by limited histogram equalisation (CLAHE, Zuiderveld 1994) whose tables are smoothed over time.

    limit: how much steeper than the identity a table may be.   tiles: per side.   strength: 0 changes nothing.
    """
    if limit < 1:
        raise ValueError(f"limit={limit}: a table cannot be flatter everywhere than the identity. Try 2.")

    def equal(x: Tensor) -> Tensor:
        y = luma(x)
        tables = smooth_over_time(limited_tables(y, limit, tiles), WINDOW)           # (t, BINS, n, n)
        wanted = y + strength * (look_up(tables, y) - y)
        return x + (wanted - y)[:, None]                                             # added alike, so that hue stays

    return by_shot(video, cuts, equal)


def limited_tables(y: Tensor, limit: float, tiles: int) -> Tensor:
    """Luma (t, H, W) to the cumulated limited histograms of n x n tiles: (t, BINS, n, n) in [0, 1]."""
    shares = []
    for b in range(BINS):
        inside = (y * BINS).long().clamp_max(BINS - 1) == b
        shares.append(F.adaptive_avg_pool2d(inside.float()[:, None], tiles)[:, 0])
    histogram = torch.stack(shares, 1)                                               # sums to 1 over the bins
    over = (histogram - limit / BINS).clamp_min(0)
    histogram = histogram - over + over.sum(1, keepdim=True) / BINS                  # what was cut off lifts all bins alike
    return histogram.cumsum(1) - histogram / 2                                       # the value at the middle of each bin


def look_up(tables: Tensor, y: Tensor) -> Tensor:
    """Read (t, BINS, n, n) at each pixel's place and luma (t, H, W), linear between tiles and bins."""
    t, height, width = y.shape
    rows = ((torch.arange(height) + 0.5) / height * 2 - 1).view(1, -1, 1).expand(t, height, width)
    columns = ((torch.arange(width) + 0.5) / width * 2 - 1).view(1, 1, -1).expand(t, height, width)
    places = torch.stack([columns, rows, y * 2 - 1], -1)[:, None]                    # (t, 1, H, W, 3)
    return F.grid_sample(tables[:, None], places, padding_mode="border", align_corners=False)[:, 0, 0]


def luma(x: Tensor) -> Tensor:
    return torch.einsum("tchw,c->thw", x, torch.tensor(LUMA))


def to_linear(x: Tensor) -> Tensor:
    """Stored sRGB values to linear light (IEC 61966-2-1), both in [0, 1]."""
    return torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def to_stored(x: Tensor) -> Tensor:
    """The inverse of `to_linear`."""
    return torch.where(x <= 0.0031308, x * 12.92, 1.055 * x.clamp_min(1e-9) ** (1 / 2.4) - 0.055)
