"""Measured orders: for one Gaussian the denoiser and the end of the flow are closed forms, so no network is needed."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from analytic import Mixture
from flipbook.process import EDM, VP, Cosine, RectifiedFlow, noise_levels
from flipbook.samplers import sample_ddim, sample_dpmpp_2m, sample_euler, sample_heun, sample_unipc

MEAN, STD, FIRST, LAST = 0.3, 0.5, 0.9, 0.1
X = torch.tensor([-1.5, 0.4, 2.0], dtype=torch.float64).reshape(1, 1, 1, 1, 3)


def exact_end(path):
    """The flow keeps (x - alpha mean) / std(x); from t = FIRST to t = LAST."""
    levels = torch.tensor([FIRST, LAST], dtype=torch.float64)
    alpha, std = path.alpha(levels), torch.sqrt((path.alpha(levels) * STD) ** 2 + path.sigma(levels) ** 2)
    return alpha[1] * MEAN + (X - alpha[0] * MEAN) * std[1] / std[0]


def error(sample, path, num_steps):
    """Distance to the exact flow at t = LAST. The last step of all, to t = 0, is first order by design: not counted."""
    times = torch.linspace(FIRST**0.5, LAST**0.5, num_steps + 1, dtype=torch.float64) ** 2
    matrix = noise_levels(num_steps + 1, 1, spacing=torch.cat([times, torch.zeros(1)]))
    gaussian = Mixture(path, torch.full((1, 1, 1, 1, 3), MEAN, dtype=torch.float64), STD)
    states = []
    sample(gaussian.conditional(0), X, path, matrix, on_step=lambda i, x, x0: states.append(x))
    return (states[-2] - exact_end(path)).abs().max().item()


@pytest.mark.parametrize("path", [RectifiedFlow(), RectifiedFlow(3.0), EDM(), Cosine(2.0), VP(), VP("cosine")], ids=str)
@pytest.mark.parametrize(
    ("sample", "order"),
    [
        (sample_euler, 1),
        (sample_ddim, 1),
        (sample_heun, 2),
        (sample_dpmpp_2m, 2),
        (partial(sample_unipc, order=1), 2),  # the corrector adds one
        (partial(sample_unipc, order=2), 3),
        (partial(sample_unipc, order=3), 3),  # its first step, of local order 3, bounds the whole
    ],
    ids=["euler", "ddim", "heun", "dpmpp_2m", "unipc1", "unipc2", "unipc3"],
)
def test_halving_the_step_divides_the_error_by_two_to_the_order(path, sample, order):
    coarse, fine = error(sample, path, 64), error(sample, path, 128)
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.3)
