"""Mean and covariance of features that arrive in pieces, in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Divisor = Literal["n", "n-1"]
"""What a covariance is divided by. Published implementations differ; it is part of every protocol."""


@dataclass(frozen=True)
class Gaussian:
    """mean: float64 (D,).   covariance: float64 (D, D).   count: how many features it was fitted to."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int


@dataclass(frozen=True)
class Moments:
    """A running fit: count, mean (D,), and scatter (D, D), the sum of outer products of deviations from the mean."""

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    def add(self, features: np.ndarray) -> Moments:
        """With features (N, D) added: the pairwise update of Chan, Golub and LeVeque (1979), exact however data is cut."""
        new = moments(features)
        total, gap = self.count + new.count, new.mean - self.mean
        scatter = self.scatter + new.scatter + np.outer(gap, gap) * (self.count * new.count / total)
        return Moments(total, self.mean + gap * (new.count / total), scatter)

    def gaussian(self, divisor: Divisor = "n-1") -> Gaussian:
        """The fit. Raises ValueError for fewer than two features, which have no covariance."""
        if self.count < 2:
            raise ValueError(f"{self.count} features have no covariance. Try at least 2, and many more than their dimension.")
        return Gaussian(self.mean, self.scatter / (self.count - (divisor == "n-1")), self.count)


def moments(features: np.ndarray) -> Moments:
    """Moments of features (N, D), N >= 1."""
    x = check_features(features)
    mean = x.mean(0)
    centred = x - mean
    return Moments(len(x), mean, centred.T @ centred)


def check_features(features: np.ndarray, at_least: int = 1) -> np.ndarray:
    """Features as float64 (N, D). Raises ValueError for other shapes, too few rows, or values that are not finite."""
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2 or len(x) < at_least:
        raise ValueError(f"features of shape {x.shape}: one row per clip, (N, D) with N >= {at_least}, is needed.")
    if not np.isfinite(x).all():
        rows = np.flatnonzero(~np.isfinite(x).all(1))[:5].tolist()
        raise ValueError(f"features of clips {rows} are not finite. Look at these clips, or at the network's dtype.")
    return x
