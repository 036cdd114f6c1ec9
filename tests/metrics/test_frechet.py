"""Closed forms, agreement with the general matrix square root, and what a finite number of clips does to the distance."""

from __future__ import annotations

import numpy as np
import pytest

from flipbook.metrics.frechet import expected_floor, frechet_distance, frechet_from_features
from flipbook.metrics.moments import Gaussian, moments


def covariance(rng, dim):
    root = rng.standard_normal((dim, dim))
    return root @ root.T / dim + 0.1 * np.eye(dim)


def reference(a, b):
    from scipy.linalg import sqrtm

    root = sqrtm(a.covariance @ b.covariance)
    return float(((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance + b.covariance - 2 * np.real(root)))


def test_gaussians_with_commuting_covariances_have_the_closed_form_distance():
    """With diagonal covariances the distance is |m1 - m2|^2 + sum (sigma1 - sigma2)^2."""
    rng = np.random.default_rng(0)
    m1, m2, s1, s2 = rng.standard_normal((2, 12)).tolist() + rng.uniform(0.5, 2, (2, 12)).tolist()
    a, b = (Gaussian(np.array(m), np.diag(np.square(s)), 99) for m, s in ((m1, s1), (m2, s2)))
    exact = np.square(np.subtract(m1, m2)).sum() + np.square(np.subtract(s1, s2)).sum()
    assert frechet_distance(a, b) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("dim", [3, 64, 120])
def test_the_distance_is_that_of_the_general_matrix_square_root(dim):
    pytest.importorskip("scipy")
    rng = np.random.default_rng(dim)
    a, b = (Gaussian(rng.standard_normal(dim), covariance(rng, dim), 99) for _ in range(2))
    assert frechet_distance(a, b) == pytest.approx(reference(a, b), rel=1e-9)


def test_samples_of_two_known_gaussians_recover_their_closed_form_within_a_percent():
    rng = np.random.default_rng(1)
    x, y = rng.normal(0, 1, (40_000, 4)), rng.normal(1, 2, (40_000, 4))
    assert frechet_from_features(x, y) == pytest.approx(4 * (1 + 1), rel=0.01)


@pytest.mark.parametrize("divisor", ["n", "n-1"])
def test_fewer_clips_than_dimensions_give_the_same_number_by_singular_values(divisor):
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((20, 50)), rng.standard_normal((30, 50)) + 0.2
    whole = frechet_distance(moments(x).gaussian(divisor), moments(y).gaussian(divisor))
    assert frechet_from_features(x, y, divisor) == pytest.approx(whole, rel=1e-6)
    assert frechet_from_features(x, y, divisor) != pytest.approx(
        frechet_from_features(x, y, "n" if divisor == "n-1" else "n-1"), rel=1e-3
    )


@pytest.mark.parametrize("count", [30, 400])
def test_a_set_is_at_distance_zero_from_itself_and_the_distance_is_symmetric(count):
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2, count, 64))
    assert abs(frechet_from_features(x, x)) < 1e-6
    assert frechet_from_features(x, y) == pytest.approx(frechet_from_features(y, x), rel=1e-9)


def test_features_that_never_vary_do_not_break_the_distance():
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((2, 200, 10))
    dead = np.zeros((200, 3))
    with_dead = frechet_from_features(np.hstack([x, dead]), np.hstack([y, dead]))
    assert with_dead == pytest.approx(frechet_from_features(x, y), rel=1e-6)


def test_moments_of_pieces_are_those_of_the_whole():
    """The offset of 1e4 is what the textbook E[xx'] - mm' would lose ten digits to."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((300, 8)) + 1e4
    pieces = moments(x[:1]).add(x[1:40]).add(x[40:41]).add(x[41:])
    assert pieces.count == 300
    np.testing.assert_allclose(pieces.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(pieces.gaussian("n-1").covariance, np.cov(x - 1e4, rowvar=False), atol=1e-10)
    np.testing.assert_allclose(pieces.gaussian("n").covariance, np.cov(x - 1e4, rowvar=False, bias=True), atol=1e-10)


def test_two_samples_of_one_gaussian_are_apart_by_the_known_floor():
    """D = 64, N = 256: (D^2 + 5D) / 2N = 8.6, whatever the true distance, which is 0."""
    rng = np.random.default_rng(6)
    values = [frechet_from_features(*rng.standard_normal((2, 256, 64))) for _ in range(4)]
    assert expected_floor(64, 256) == pytest.approx(8.625)
    assert np.mean(values) == pytest.approx(expected_floor(64, 256), rel=0.15)


def test_features_that_cannot_be_compared_are_refused():
    x = np.zeros((5, 4))
    with pytest.raises(ValueError, match="4 and 3 dimensions"):
        frechet_from_features(x, x[:, :3])
    with pytest.raises(ValueError, match="N >= 2"):
        frechet_from_features(x, x[:1])
    with pytest.raises(ValueError, match=r"clips \[1\] are not finite"):
        frechet_from_features(x, np.where(np.arange(5)[:, None] == 1, np.nan, x))
