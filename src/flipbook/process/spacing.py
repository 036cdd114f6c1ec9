"""Step spacings: which noise levels a sampler visits.

Each function returns (num_steps + 1,) float64 times that fall strictly from at most 1 to 0, the clean sample. Bind
further arguments with functools.partial: `noise_levels(30, 16, spacing=partial(karras, path=EDM()))`.
All raise ValueError for num_steps < 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from flipbook.process.path import Path
from flipbook.process.vp import level_times

Spacing = Callable[[int], Tensor]


def uniform(num_steps: int) -> Tensor:
    """Equal steps of t from 1 to 0, what flow models use."""
    return _ramp(1.0, 0.0, _steps(num_steps) + 1)


def linspace(num_steps: int, *, first: float = 1.0, last: float = 1e-3) -> Tensor:
    """Equal steps from `first` to `last`, both visited, then 0. last = 1 / N is the cleanest of N levels."""
    return _finish(_ramp(first, last, _steps(num_steps)))


def sgm_uniform(num_steps: int, *, first: float = 1.0, last: float = 1e-3) -> Tensor:
    """Equal steps from `first` towards `last`; the step that would reach it goes to 0 instead."""
    return _finish(_ramp(first, last, _steps(num_steps) + 1)[:-1])


def leading(num_steps: int, *, num_levels: int = 1000, offset: int = 0) -> Tensor:
    """Levels 0, s, 2 s, ... with s = N // num_steps, plus offset (arXiv 2305.08891 table 2): starts short of t = 1."""
    stride = num_levels // _steps(num_steps, num_levels)
    return _finish(level_times(torch.arange(num_steps).flip(0) * stride + offset, num_levels))


def trailing(num_steps: int, *, num_levels: int = 1000) -> Tensor:
    """Levels N - 1, N - 1 - s, ... with s = N / num_steps, rounded (arXiv 2305.08891 table 2): starts at t = 1."""
    stride = num_levels / _steps(num_steps, num_levels)
    return _finish(level_times(torch.round(num_levels - stride * torch.arange(num_steps).double()) - 1, num_levels))


def karras(
    num_steps: int, *, path: Path, ratio_min: float = 0.002, ratio_max: float = 80.0, rho: float = 7.0
) -> Tensor:
    """Equal steps of (sigma / alpha)^(1 / rho) from ratio_max to ratio_min, then 0: arXiv 2206.00364, eq. 5."""
    roots = _ramp(ratio_max ** (1 / rho), ratio_min ** (1 / rho), _steps(num_steps))
    return _finish(path.time_at(roots**rho))


def exponential(num_steps: int, *, path: Path, ratio_min: float = 0.002, ratio_max: float = 80.0) -> Tensor:
    """Equal steps of log(sigma / alpha) from ratio_max to ratio_min, then 0: `karras` with rho to infinity."""
    return _finish(path.time_at(_ramp(math.log(ratio_max), math.log(ratio_min), _steps(num_steps)).exp()))


def _ramp(first: float, last: float, count: int) -> Tensor:
    return torch.linspace(first, last, count, dtype=torch.float64)


def _finish(times: Tensor) -> Tensor:
    return torch.cat([times, times.new_zeros(1)])


def _steps(num_steps: int, num_levels: int | None = None) -> int:
    if num_steps < 1:
        raise ValueError(f"num_inference_steps={num_steps}: a sampler takes at least one step. Try 20.")
    if num_levels is not None and num_steps > num_levels:
        raise ValueError(f"num_inference_steps={num_steps}: the schedule has {num_levels} levels. Try {num_levels}.")
    return num_steps
