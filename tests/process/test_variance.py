"""The variance of the step back of a noising chain: closed forms, and what teaches it."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from flipbook.process import VP, Process
from flipbook.process.variance import Posterior, gaussian_kl, learned_share, log_bin, vlb

PATH = VP("linear", beta_start=1e-4, beta_end=0.02)
PROCESS = Process(PATH, "eps")


def random(*shape, seed=0, std=1.0):
    return std * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noised(t, frames=3, std=0.5):
    """x0, eps and x of two clips, all frames at t."""
    x0, eps = random(2, 2, frames, 4, 4, std=std), random(2, 2, frames, 4, 4, seed=1)
    times = torch.full((2, frames), t, dtype=torch.float64)
    return x0, eps, PROCESS.add_noise(x0, eps, times), times


def test_the_divergence_is_that_of_two_gaussians():
    means, logs = random(2, 50), random(2, 50, seed=1)
    wanted = kl_divergence(Normal(means[0], (0.5 * logs[0]).exp()), Normal(means[1], (0.5 * logs[1]).exp()))
    torch.testing.assert_close(gaussian_kl(means[0], logs[0], means[1], logs[1]), wanted)


def test_the_chance_of_a_neighbourhood_is_a_difference_of_distribution_functions_and_finite_far_out():
    x, mean, log_variance = random(60, std=0.02), random(60, seed=1, std=0.02), 0.5 * random(60, seed=2) - 7.0
    chance = Normal(mean, (0.5 * log_variance).exp())
    wanted = torch.log(chance.cdf(x + 1 / 255) - chance.cdf(x - 1 / 255))
    torch.testing.assert_close(log_bin(x, mean, log_variance), wanted)
    far = log_bin(torch.tensor(1.0), torch.tensor(-1.0), torch.tensor(-10.0))
    assert far == pytest.approx(-0.5 * (2 - 1 / 255) ** 2 * math.exp(10.0), rel=1e-3)      # the tail falls as a Gaussian


def test_the_ends_of_the_range_are_the_two_variances_of_the_chain():
    """arXiv:2006.11239, eq. 7: beta~ = (1 - abar') / (1 - abar) beta, and the mean of the same equation."""
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    abar = torch.cumprod(1 - betas, 0)
    before = torch.cat([torch.ones(1, dtype=torch.float64), abar[:-1]])
    step = Posterior.between(abar.sqrt(), (1 - abar).sqrt(), before.sqrt(), (1 - before).sqrt())
    torch.testing.assert_close(step.large, betas, atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(step.small, (1 - before) / (1 - abar) * betas, atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(step.of_x0, before.sqrt() * betas / (1 - abar), atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(step.of_x, (1 - betas).sqrt() * (1 - before) / (1 - abar), atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("k", [1, 40, 998])
def test_a_network_that_knows_the_noise_pays_for_its_variance_alone(k):
    """Nothing with the posterior's own variance, and (log r + 1 / r - 1) / 2 nats with one that is r times as large."""
    x0, eps, x, t = noised((k + 1) / 1000)
    own = vlb(PROCESS, x0, x, torch.cat([eps, -torch.ones_like(eps)], dim=1), t)
    torch.testing.assert_close(own, torch.zeros_like(own), atol=1e-9, rtol=0)
    step = Posterior.between(PATH.alpha(t), PATH.sigma(t), PATH.alpha(t - 1e-3), PATH.sigma(t - 1e-3))
    r = step.large / step.small
    wide = vlb(PROCESS, x0, x, torch.cat([eps, torch.ones_like(eps)], dim=1), t)
    torch.testing.assert_close(wide, (r.log() + 1 / r - 1) / (2 * math.log(2.0)), atol=1e-9, rtol=1e-6)


def test_the_last_step_costs_the_chance_of_the_clean_clip_itself():
    x0, eps, x, t = noised(1 / 1000)
    prediction = torch.cat([eps + 0.1, torch.ones_like(eps)], dim=1)
    step = Posterior.between(*(end(t) for end in (PATH.alpha, PATH.sigma)), torch.ones_like(t), torch.zeros_like(t))
    guess = step.of_x0[:, None, :, None, None] * PROCESS.to_x0(prediction, x, t)
    wanted = -log_bin(x0, guess, step.large.log()[:, None, :, None, None]).mean((1, 3, 4)) / math.log(2.0)
    torch.testing.assert_close(vlb(PROCESS, x0, x, prediction, t), wanted)


def test_given_frames_and_levels_between_those_of_the_table_cost_something_finite():
    x0, _, x, _ = noised(0.5)
    t = torch.tensor([[0.0, 0.0004, 0.0016], [0.00149, 0.3333, 1.0]], dtype=torch.float64)
    assert vlb(PROCESS, x0, x, torch.zeros(2, 4, 3, 4, 4, dtype=torch.float64), t).isfinite().all()


def test_the_cost_teaches_the_variance_and_never_the_mean():
    x0, eps, x, t = noised(0.3)
    prediction = torch.cat([eps + 0.3, torch.zeros_like(eps)], dim=1).requires_grad_(True)
    vlb(PROCESS, x0, x, prediction, t).sum().backward()
    assert not prediction.grad[:, :2].any()
    assert prediction.grad[:, 2:].abs().min() > 0


def test_the_cost_is_least_at_the_variance_that_clips_of_known_spread_have():
    """For x0 ~ N(0, s^2) all is Gaussian: Var[x' | x] = small + of_x0^2 Var[x0 | x], where the best mean is told."""
    std, times = 0.02, torch.full((50, 3), 0.006, dtype=torch.float64)
    x0, eps = random(50, 2, 3, 4, 4, std=std), random(50, 2, 3, 4, 4, seed=1)
    x, (alpha, sigma) = PROCESS.add_noise(x0, eps, times), (float(end(times)[0, 0]) for end in (PATH.alpha, PATH.sigma))
    gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
    best_eps = (x - alpha * gain * x) / sigma
    step = Posterior.between(*(torch.tensor(v) for v in (alpha, sigma, float(PATH.alpha(times - 1e-3)[0, 0]), float(PATH.sigma(times - 1e-3)[0, 0]))))
    wanted = float(step.small + step.of_x0**2 * std**2 * sigma**2 / (alpha**2 * std**2 + sigma**2))
    shares = torch.linspace(0, 1, 41)
    costs = [vlb(PROCESS, x0, x, torch.cat([best_eps, torch.full_like(x, 2 * float(v) - 1)], dim=1), times).mean() for v in shares]
    least = float(shares[int(torch.stack(costs).argmin())])
    low, high = (float(end) for end in step.log_range())
    assert 0.1 < least < 0.9                                                # neither end is right
    assert least == pytest.approx((math.log(wanted) - low) / (high - low), abs=0.05)


def test_a_prediction_without_a_variance_is_refused():
    with pytest.raises(ValueError, match=r"predicts 4 channels of a state of 4: with a learned variance it would be 8"):
        learned_share(torch.zeros(1, 4, 1, 2, 2), 4)
