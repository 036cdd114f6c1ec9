"""Colours held: a slow drift within a shot is undone by looking at what stays in place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flipbook.video import Video

from .common import by_shot, smooth_over_time

PIXELS = 10_000   # of a frame are enough for a fit of twelve numbers
RIDGE = 1e-3      # mean square of a colour's spread below which its contrast is left alone, in units of [0, 1] squared
TUKEY = 4.685     # residuals beyond so many standard deviations count for nothing
ENOUGH = 0.2      # share of the pixels that must agree, else the scene has changed and the last map is kept


def hold_colour(video: Video, *, cuts: Sequence[int] | None = None, sigma: float = 8.0) -> Video:
    """Bring the colours of every frame of a shot back to those of its first frame.

    For each frame an affine map of colour is fitted, robustly, from its pixels to the same places of the first frame; things
    that move are outliers and do not pull. The maps are smoothed over `sigma` frames. For scenery that stays in the picture;
    where the camera leaves it behind the last good map is kept. A change of light that is meant is undone as well.
    """

    def hold(x: Tensor) -> Tensor:                                                   # (t, 3, H, W)
        maps = smooth_over_time(maps_to_first(x), sigma)                             # (t, 4, 3)
        change = torch.einsum("tchw,tcd->tdhw", x, maps[:, :3]) + maps[:, 3, :, None, None]
        return x + change

    return by_shot(video, cuts, hold)


def maps_to_first(x: Tensor) -> Tensor:
    """What to add to the colours of each frame (t, 3, H, W): (t, 4, 3), so that first = now + [now, 1] @ map."""
    pixels = x.flatten(2).transpose(1, 2)                                            # (t, P, 3)
    pixels = pixels[:, :: max(1, pixels.shape[1] // PIXELS)]
    maps = [torch.zeros(4, 3)]
    for now in pixels[1:]:
        fitted = affine_change(now, pixels[0])
        maps.append(maps[-1] if fitted is None else fitted)
    return torch.stack(maps)


def affine_change(now: Tensor, first: Tensor) -> Tensor | None:
    """The map (4, 3) from colours `now` to what is missing to `first`, both (P, 3); None if too few pixels agree."""
    features = torch.cat([now, torch.ones(len(now), 1)], 1)                          # (P, 4)
    missing = first - now
    ridge = RIDGE * torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0])) + 1e-8 * torch.eye(4)
    change = torch.cat([torch.zeros(3, 3), missing.median(0).values[None]])
    weight = torch.ones(len(now), 1)
    for _ in range(8):
        residual = (missing - features @ change).norm(dim=1, keepdim=True)
        scale = TUKEY * (1.48 * residual.median() + 1 / 255)
        weight = (1 - (residual / scale) ** 2).clamp_min(0) ** 2
        mass = weight.mean().clamp_min(1e-6)
        normal = (weight * features).T @ features / len(now) / mass + ridge
        change = torch.linalg.solve(normal, (weight * features).T @ missing / len(now) / mass)
    return change if float(((missing - features @ change).norm(dim=1) < 8 / 255).float().mean()) > ENOUGH else None
