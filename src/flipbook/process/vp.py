"""Discrete variance-preserving schedules: tables of N levels, read at any t.

Level k = 0..N-1 sits at t = (k + 1) / N, and t = 0 is clean. Between levels the angle atan2(sigma, alpha) runs
linearly: alpha^2 + sigma^2 stays 1, and both ends (sigma = 0, alpha = 0) are ordinary points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

Schedule = Literal["linear", "scaled_linear", "cosine"]


@dataclass(frozen=True)
class VP:
    """alpha = sqrt(abar), sigma = sqrt(1 - abar) of a table of betas.

    schedule:      "linear": beta rises linearly (arXiv 2006.11239).
                   "scaled_linear": sqrt(beta) rises linearly (latent diffusion, which calls this one "linear").
                   "cosine": abar = cos^2((t + 0.008) / 1.008 * pi / 2), beta at most 0.999 (arXiv 2102.09672 eq. 17).
    num_levels:    N.
    beta_start, beta_end: first and last beta; "cosine" has none.
    zero_terminal: rescale so that the last level is pure noise, alpha = 0 (arXiv 2305.08891, algorithm 1).

    Raises ValueError for an unknown schedule, fewer than 2 levels, or betas that are not 0 < start <= end < 1.
    """

    schedule: Schedule = "scaled_linear"
    num_levels: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    zero_terminal: bool = False

    def __post_init__(self) -> None:
        if self.schedule not in get_args(Schedule):
            raise ValueError(f"schedule={self.schedule!r} is unknown. Try one of {', '.join(get_args(Schedule))}.")
        if self.num_levels < 2:
            raise ValueError(f"num_levels={self.num_levels}: a schedule needs two levels at least. Try 1000.")
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise ValueError(
                f"beta_start={self.beta_start}, beta_end={self.beta_end}: betas are shares of variance replaced by "
                "noise, 0 < start <= end < 1. Try 1e-4 and 0.02 (linear) or 0.00085 and 0.012 (scaled_linear)."
            )

    @property
    def straight(self) -> bool:
        return False

    def alpha(self, t: Tensor) -> Tensor:
        from_noise, _ = _angles(self)
        return torch.sin(_read(from_noise, t))

    def sigma(self, t: Tensor) -> Tensor:
        _, from_data = _angles(self)
        return torch.sin(_read(from_data, t))

    def time_at(self, ratio: Tensor) -> Tensor:
        _, from_data = _angles(self)
        knots = from_data.to(ratio.device)
        angle = torch.atan(ratio.to(knots.dtype)).clamp(max=knots[-1])  # the table may end short of pure noise
        right = torch.searchsorted(knots, angle).clamp(1, self.num_levels)
        t = (right - (knots[right] - angle) / (knots[right] - knots[right - 1])) / self.num_levels
        return t.to(ratio.dtype)


def level_times(levels: Tensor, num_levels: int) -> Tensor:
    """Times (k + 1) / N of (possibly fractional) levels k of a schedule of N, float64, the shape of levels."""
    return (levels.to(torch.float64) + 1.0) / num_levels


@lru_cache(maxsize=32)
def _angles(path: VP) -> tuple[Tensor, Tensor]:
    """Angles at t = 0, 1/N, ..., 1 as (N + 1,) float64, measured from pure noise and from data; they sum to pi / 2.

    Two tables of one thing keep alpha and sigma precise in float32 where either is small.
    """
    alpha = torch.cat([torch.ones(1, dtype=torch.float64), _alphas(path)])
    sigma = torch.sqrt((1.0 - alpha) * (1.0 + alpha))
    return torch.atan2(alpha, sigma), torch.atan2(sigma, alpha)


def _alphas(path: VP) -> Tensor:
    """sqrt(abar) of the N levels, float64."""
    n = path.num_levels
    if path.schedule == "linear":
        betas = torch.linspace(path.beta_start, path.beta_end, n, dtype=torch.float64)
    elif path.schedule == "scaled_linear":
        betas = torch.linspace(math.sqrt(path.beta_start), math.sqrt(path.beta_end), n, dtype=torch.float64) ** 2
    else:
        t = torch.linspace(0, 1, n + 1, dtype=torch.float64)
        abar = torch.cos((t + 0.008) / 1.008 * (math.pi / 2)) ** 2
        betas = (1.0 - abar[1:] / abar[:-1]).clamp(max=0.999)
    alphas = torch.sqrt(torch.cumprod(1.0 - betas, dim=0))
    if path.zero_terminal:
        alphas = (alphas - alphas[-1]) * (alphas[0] / (alphas[0] - alphas[-1]))
    return alphas


def _read(knots: Tensor, t: Tensor) -> Tensor:
    """Linear interpolation of knots (N + 1,), equally spaced over [0, 1], at t; float32 at least."""
    t = t.to(torch.promote_types(t.dtype, torch.float32))
    knots = knots.to(t.device, t.dtype)
    place = t.clamp(0.0, 1.0) * (len(knots) - 1)
    left = place.floor().clamp(max=len(knots) - 2)
    return torch.lerp(knots[left.long()], knots[left.long() + 1], place - left)
