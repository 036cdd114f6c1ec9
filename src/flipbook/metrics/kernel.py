"""Distances between sets of features by a polynomial kernel: KVD (as KID, arXiv:1801.01401) and JEDi (arXiv:2410.05203).

The maximum mean discrepancy compares means in the space of the kernel and fits no Gaussian. Its unbiased estimate is 0 on average for
equal sets, at any number of clips, and may be negative; the biased one keeps the diagonal and is never negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flipbook.metrics.moments import check_features

_ROWS = 1024  # of the kernel matrix held at once


@dataclass(frozen=True, kw_only=True)
class Polynomial:
    """k(x, y) = (x . y / D + offset) ** degree, with or without the diagonal, times `scale`."""

    degree: int = 3
    offset: float = 1.0
    unbiased: bool = True
    scale: float = 1.0


KVD = Polynomial()
JEDI = Polynomial(degree=2, offset=0.0, unbiased=False, scale=100.0)


def polynomial_mmd(real: np.ndarray, fake: np.ndarray, kernel: Polynomial = KVD) -> float:
    """Squared maximum mean discrepancy of features (N, D) and (M, D). The unbiased one needs two rows on each side."""
    x, y = check_features(real, 1 + kernel.unbiased), check_features(fake, 1 + kernel.unbiased)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"features have {x.shape[1]} and {y.shape[1]} dimensions. Use one extractor for both sets.")
    return kernel.scale * (_within(x, kernel) + _within(y, kernel) - 2 * _sum(x, y, kernel) / (len(x) * len(y)))


def _within(x: np.ndarray, kernel: Polynomial) -> float:
    """Mean of the kernel over pairs of one set, a row with itself included only in the biased estimate."""
    n = len(x)
    total = _sum(x, x, kernel)
    if not kernel.unbiased:
        return total / n**2
    diagonal = (((x * x).sum(1) / x.shape[1] + kernel.offset) ** kernel.degree).sum()
    return (total - diagonal) / (n * (n - 1))


def _sum(x: np.ndarray, y: np.ndarray, kernel: Polynomial) -> float:
    parts = (x[i : i + _ROWS] @ y.T for i in range(0, len(x), _ROWS))
    return float(sum(((part / x.shape[1] + kernel.offset) ** kernel.degree).sum() for part in parts))
