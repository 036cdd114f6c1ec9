"""The Frechet distance of two Gaussians fitted to features: the number inside FID and FVD.

d2 = |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2))        (Dowson and Landau 1982; arXiv:1706.08500)

The last trace never needs a matrix square root. With S1 = L L', the eigenvalues of S1 S2 are those of the symmetric L' S2 L; and
with fewer clips than dimensions they are the squared singular values of the product of the two centred feature matrices.
"""

from __future__ import annotations

import numpy as np

from flipbook.metrics.moments import Divisor, Gaussian, check_features, moments


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Squared Frechet distance of two Gaussians, >= 0 up to rounding. Raises ValueError if dimensions differ."""
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"features have {len(a.mean)} and {len(b.mean)} dimensions. Use one extractor for both sets.")
    return _combine(a, b, _trace_of_root(a.covariance, b.covariance))


def frechet_from_features(real: np.ndarray, fake: np.ndarray, divisor: Divisor = "n-1") -> float:
    """Squared Frechet distance of features (N, D) and (M, D), by whichever way is cheaper."""
    x, y = check_features(real, 2), check_features(fake, 2)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"features have {x.shape[1]} and {y.shape[1]} dimensions. Use one extractor for both sets.")
    if max(len(x), len(y)) >= x.shape[1]:
        return frechet_distance(moments(x).gaussian(divisor), moments(y).gaussian(divisor))
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    nx, ny = (len(z) - (divisor == "n-1") for z in (x, y))
    root = np.linalg.svd(x @ y.T, compute_uv=False).sum() / np.sqrt(nx * ny)     # (N, M): D enters by one product only
    return float(((mean_x - mean_y) ** 2).sum() + (x**2).sum() / nx + (y**2).sum() / ny - 2 * root)


def expected_floor(dim: int, count: int) -> float:
    """What two samples of `count` from one and the same white Gaussian are apart (second-order expansion, count > dim).

    It scales with the variance. Nothing subtracts it silently: a distance is printed beside its measured floor.
    """
    return (dim**2 + 5 * dim) / (2 * count)


def _combine(a: Gaussian, b: Gaussian, root: float) -> float:
    return float(((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance) + np.trace(b.covariance) - 2 * root)


def _trace_of_root(a: np.ndarray, b: np.ndarray) -> float:
    """tr((A B)^(1/2)) for symmetric A, B >= 0."""
    try:
        factor = np.linalg.cholesky(a)
    except np.linalg.LinAlgError:  # singular: fewer clips than dimensions, or features that are never used
        values, vectors = np.linalg.eigh(a)
        factor = vectors * np.sqrt(values.clip(min=0))
    return float(np.sqrt(np.linalg.eigvalsh(factor.T @ b @ factor).clip(min=0)).sum())
