"""Noise paths: how much of the clean sample and how much noise a state holds at time t.

Every path answers for x = alpha(t) x0 + sigma(t) eps with t in [0, 1], 0 = data, 1 = noise, on tensors of any
shape. Samplers work in (alpha, sigma) alone, so a path needs nothing else, and t = 1 with alpha = 0 is legal.
Paths given by a table of levels are in `vp.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Path(Protocol):
    """What a noise path answers. Implementations are frozen dataclasses: equal fields mean the same path."""

    @property
    def straight(self) -> bool:
        """Whether x runs on a straight line, alpha + sigma = 1: second-order samplers then step along that line."""

    def alpha(self, t: Tensor) -> Tensor:
        """Share of x0 at t in [0, 1], the shape of t; alpha(0) = 1."""

    def sigma(self, t: Tensor) -> Tensor:
        """Standard deviation of the noise at t in [0, 1], the shape of t; sigma(0) = 0."""

    def time_at(self, ratio: Tensor) -> Tensor:
        """The t whose sigma / alpha (an EDM sigma) is `ratio`, in [0, inf]; the shape of ratio."""


def shift_time(t: Tensor, shift: float) -> Tensor:
    """Move times towards noise: shift t / (1 + (shift - 1) t), arXiv 2403.03206 eq. 23. Keeps 0 and 1; shift > 0."""
    return shift * t / (1.0 + (shift - 1.0) * t)


@dataclass(frozen=True)
class RectifiedFlow:
    """The straight line from data to noise: alpha = 1 - s, sigma = s, s = shift_time(t, shift).

    arXiv 2209.03003; shift: arXiv 2403.03206, larger for larger clips. Raises ValueError unless shift > 0.
    """

    shift: float = 1.0

    def __post_init__(self) -> None:
        _above_zero("shift", self.shift)

    @property
    def straight(self) -> bool:
        return True

    def alpha(self, t: Tensor) -> Tensor:
        return (1.0 - t) / (1.0 + (self.shift - 1.0) * t)  # 1 - s without its cancellation near t = 1

    def sigma(self, t: Tensor) -> Tensor:
        return shift_time(t, self.shift)

    def time_at(self, ratio: Tensor) -> Tensor:
        return 1.0 / (1.0 + self.shift / ratio)  # s = r / (1 + r); a shift is undone by the shift 1 / shift


@dataclass(frozen=True)
class EDM:
    """The variance-exploding path scaled to unit variance: alpha = cos(pi t / 2), sigma = sin(pi t / 2).

    An EDM sigma (arXiv 2206.00364) is the ratio sigma / alpha = tan(pi t / 2), an EDM state is x / alpha.
    """

    @property
    def straight(self) -> bool:
        return False

    def alpha(self, t: Tensor) -> Tensor:
        return torch.sin((1.0 - t) * (math.pi / 2))  # as a sine it is 0 at t = 1, and precise beside it

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(t * (math.pi / 2))

    def time_at(self, ratio: Tensor) -> Tensor:
        return torch.atan(ratio) * (2 / math.pi)


@dataclass(frozen=True)
class Cosine:
    """Continuous cosine path with a resolution shift: sigma / alpha = shift tan(pi t / 2), alpha^2 + sigma^2 = 1.

    arXiv 2301.11093, section 3.1: shift = (height of the image) / 64, since more pixels hide more noise: 2 for
    128 pixels. shift = 1 is the plain cosine and the curve of `EDM`. Raises ValueError unless shift > 0.
    """

    shift: float = 1.0

    def __post_init__(self) -> None:
        _above_zero("shift", self.shift)

    @property
    def straight(self) -> bool:
        return False

    def alpha(self, t: Tensor) -> Tensor:
        return torch.sin((1.0 - t) * (math.pi / 2)) / self._norm(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.shift * torch.sin(t * (math.pi / 2)) / self._norm(t)

    def time_at(self, ratio: Tensor) -> Tensor:
        return torch.atan(ratio / self.shift) * (2 / math.pi)

    def _norm(self, t: Tensor) -> Tensor:
        return torch.hypot(torch.sin((1.0 - t) * (math.pi / 2)), self.shift * torch.sin(t * (math.pi / 2)))


def _above_zero(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name}={value}: the level of noise must rise with t. Try 1 (none) or 3 (usual for video).")
