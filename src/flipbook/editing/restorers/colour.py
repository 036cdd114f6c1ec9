"""Colours as they should be: those of a reference, by statistics or in the low frequencies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flipbook.video import Video

from .common import by_shot, gaussian_blur, mean_over_time, smooth_over_time, unit_frames, with_unit_frames

SMALLEST_VARIANCE = 1e-6  # of a colour direction that hardly varies: below, its contrast is not stretched


def match_colour(
    video: Video,
    *,
    cuts: Sequence[int] | None = None,
    reference: Video,
    sigma: float = 8.0,
    strength: float = 1.0,
) -> Video:
    """Give each frame the mean and covariance of colours that the reference has: the linear Monge-Kantorovich map.

    reference: a video of any size and length, all its frames together.   sigma: frames over which the statistics are smoothed.
    strength: 0 changes nothing, 1 goes all the way.
    The map is linear in stored RGB, T = S^-1/2 (S^1/2 R S^1/2)^1/2 S^-1/2 (Pitie and Kokaram 2007). Statistics do not know things:
    what comes and goes moves them too. Against a drift of colour within a shot use `hold_colour`.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength={strength}: between 0 (nothing) and 1 (the reference's colours).")
    goal_mean, goal = pooled(*statistics(unit_frames(reference)))

    def match(x: Tensor) -> Tensor:
        mean, covariance = statistics(x)
        mean, covariance = smooth_over_time(mean, sigma), mean_over_time(covariance, sigma)
        matched = torch.einsum("tij,tjhw->tihw", monge_map(covariance, goal), x - mean[:, :, None, None])
        return x + strength * (matched + goal_mean[:, :, None, None] - x)

    return by_shot(video, cuts, match)


def match_low_frequencies(
    video: Video, *, reference: Video, cuts: Sequence[int] | None = None, sigma: float = 8.0
) -> Video:
    """Keep the detail and take everything wider than `sigma` pixels from the same frames of a reference.

    For a video that was enlarged or made in chunks from the reference. The sizes must be equal. Cuts do not matter.
    """
    if reference.frames.shape != video.frames.shape:
        raise ValueError(
            f"the reference is {reference.frames.shape[:3]} and the video {video.frames.shape[:3]} (frames, height, width): "
            "frame answers frame here. Try reference.resize(...) or match_colour, which compares statistics."
        )
    x, r = unit_frames(video), unit_frames(reference)
    return with_unit_frames(video, x + gaussian_blur(r, sigma) - gaussian_blur(x, sigma))


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (T, 3) and covariance (T, 3, 3) of the colours of each frame (T, 3, H, W)."""
    pixels = x.flatten(2)
    mean = pixels.mean(2)
    free = pixels - mean[:, :, None]
    return mean, free @ free.transpose(1, 2) / pixels.shape[2]


def pooled(mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """The statistics of all frames together: (1, 3), (1, 3, 3)."""
    centre = mean.mean(0, keepdim=True)
    spread = mean - centre
    return centre, (covariance + spread[:, :, None] * spread[:, None, :]).mean(0, keepdim=True)


def monge_map(source: Tensor, goal: Tensor) -> Tensor:
    """The symmetric positive map that turns covariances `source` (..., 3, 3) into `goal`, cheapest in mean square."""
    floor = SMALLEST_VARIANCE * torch.eye(3, dtype=torch.float64)
    source, goal = source.double() + floor, goal.double() + floor
    root, inverse = power(source, 0.5), power(source, -0.5)
    return (inverse @ power(root @ goal @ root, 0.5) @ inverse).float()


def power(matrix: Tensor, exponent: float) -> Tensor:
    """A power of symmetric matrices with positive eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(SMALLEST_VARIANCE**2)[..., None, :] ** exponent) @ vectors.transpose(-1, -2)
