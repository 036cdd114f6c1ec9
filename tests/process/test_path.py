"""Noise paths: their ends, their inverse, their precision, and the published tables."""

from __future__ import annotations

import math

import pytest
import torch

from flipbook.process import EDM, VP, Cosine, Path, RectifiedFlow, level_times, shift_time

TABLES = [VP(), VP("linear", beta_start=1e-4, beta_end=0.02), VP("cosine"), VP("linear", zero_terminal=True)]
PATHS = [RectifiedFlow(), RectifiedFlow(3.0), EDM(), Cosine(), Cosine(2.0), *TABLES]
every_path = pytest.mark.parametrize("path", PATHS, ids=str)


@every_path
def test_a_path_starts_clean_and_only_gains_noise(path):
    t = torch.linspace(0, 1, 4001, dtype=torch.float64)
    alpha, sigma = path.alpha(t), path.sigma(t)
    assert isinstance(path, Path)
    assert alpha[0] == 1
    assert sigma[0] == 0
    assert (alpha.diff() < 0).all()
    assert (sigma.diff() > 0).all()
    assert alpha[-1] >= 0


@every_path
def test_the_sum_or_the_sum_of_squares_is_one(path):
    t = torch.rand(100, dtype=torch.float64)
    power = 1 if path.straight else 2
    torch.testing.assert_close(path.alpha(t) ** power + path.sigma(t) ** power, torch.ones_like(t))


@every_path
def test_time_at_undoes_the_ratio(path):
    t = torch.linspace(0.0005, 0.9995, 301, dtype=torch.float64)
    torch.testing.assert_close(path.time_at(path.sigma(t) / path.alpha(t)), t, rtol=0, atol=1e-9)


@every_path
def test_time_at_the_ends(path):
    assert path.time_at(torch.tensor(0.0)) == 0
    assert path.time_at(torch.tensor(torch.inf)) == 1


@every_path
def test_float32_times_give_float32_precision_at_both_ends(path):
    """alpha near t = 1 and sigma near t = 0 are small differences of large numbers if computed carelessly."""
    t = torch.cat([torch.logspace(-5, -1, 50), 1 - torch.logspace(-3, -1, 50), torch.linspace(0, 1, 50)])
    for f in (path.alpha, path.sigma):
        torch.testing.assert_close(f(t), f(t.double()).float(), rtol=2e-6, atol=1e-7)
        assert f(t).dtype == torch.float32
        assert f(t.reshape(3, 50)).shape == (3, 50)


@pytest.mark.parametrize("path", [EDM(), RectifiedFlow(), Cosine(), VP(zero_terminal=True)], ids=str)
def test_the_last_level_is_pure_noise_exactly(path):
    for dtype in (torch.float32, torch.float64):
        assert path.alpha(torch.ones(1, dtype=dtype)) == 0
        assert path.sigma(torch.ones(1, dtype=dtype)) == 1


def test_an_edm_sigma_is_the_ratio_of_the_path():
    sigmas = torch.tensor([0.002, 0.5, 80.0, 700.0], dtype=torch.float64)
    t = EDM().time_at(sigmas)
    torch.testing.assert_close(torch.tan(math.pi * t / 2), sigmas)
    torch.testing.assert_close(EDM().sigma(t) / EDM().alpha(t), sigmas)


def test_shift_multiplies_the_ratio():
    """arXiv 2403.03206: a shift by n is n times as much noise against data at each time, so shifts compose."""
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    plain, shifted = RectifiedFlow(), RectifiedFlow(3.0)
    torch.testing.assert_close(shifted.sigma(t) / shifted.alpha(t), 3 * plain.sigma(t) / plain.alpha(t))
    torch.testing.assert_close(Cosine(3.0).sigma(t) / Cosine(3.0).alpha(t), 3 * Cosine().sigma(t) / Cosine().alpha(t))
    torch.testing.assert_close(shift_time(shift_time(t, 3.0), 2.0), shift_time(t, 6.0))
    torch.testing.assert_close(Cosine().alpha(t), EDM().alpha(t))


def test_level_k_of_n_is_its_entry_in_the_table():
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    abar = torch.cumprod(1 - betas, 0)
    t = level_times(torch.arange(1000), 1000)
    torch.testing.assert_close(VP().alpha(t) ** 2, abar)
    torch.testing.assert_close(VP().sigma(t) ** 2, 1 - abar)


def test_zero_terminal_keeps_the_first_level_and_empties_the_last():
    plain, rescaled = VP(), VP(zero_terminal=True)
    first = level_times(torch.zeros(1), 1000)
    torch.testing.assert_close(rescaled.alpha(first), plain.alpha(first))
    assert plain.alpha(torch.ones(1)) > 0.06
    assert rescaled.alpha(torch.ones(1)) == 0


def test_a_short_cosine_table_follows_the_continuous_formula():
    k = torch.arange(0, 900, 100)
    t = (k + 1) / 1000
    f = lambda t: torch.cos((t + 0.008) / 1.008 * math.pi / 2)
    torch.testing.assert_close(VP("cosine").alpha(t.double()), (f(t.double()) / f(torch.zeros(1))).double())


def test_the_last_step_of_a_cosine_table_is_bounded():
    abar = VP("cosine").alpha(level_times(torch.tensor([998, 999]), 1000)) ** 2
    assert abar[1] / abar[0] == pytest.approx(1 - 0.999)


@pytest.mark.parametrize(
    "build",
    [
        lambda: RectifiedFlow(0.0),
        lambda: Cosine(-1.0),
        lambda: VP("quadratic"),
        lambda: VP(num_levels=1),
        lambda: VP(beta_start=0.02, beta_end=0.01),
    ],
)
def test_a_path_that_cannot_be_says_what_to_try(build):
    with pytest.raises(ValueError, match="Try"):
        build()
