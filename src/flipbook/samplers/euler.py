"""Euler's method on the probability-flow ODE."""

from __future__ import annotations

from torch import Tensor

from flipbook.process.path import Path
from flipbook.samplers.common import Denoise, Hook, Noise, OnStep, predict, spread, steps


def sample_euler(
    denoise: Denoise,
    x: Tensor,
    path: Path,
    matrix: Tensor,
    *,
    noise: Noise | None = None,
    on_step: OnStep | None = None,
    state_hook: Hook | None = None,
    x0_hook: Hook | None = None,
) -> Tensor:
    """First-order ODE sampler: x0 and eps stay as predicted over the step. M network calls, no noise.

    One update under three names: Euler in (x / alpha, sigma / alpha) (arXiv 2206.00364), Euler along
    dx/ds = eps - x0 of rectified flow (arXiv 2209.03003), and DDIM with eta = 0 (arXiv 2010.02502). It also runs
    upwards: with a matrix read in reverse it inverts. Arguments: samplers/common.py. Returns x0, (B, C, T, H, W).
    """
    for step in steps(path, matrix, x):
        x, x0 = predict(denoise, x, step.t, step.i, state_hook, x0_hook)
        arrived = spread(step.alpha_next, x) * x0 + spread(step.sigma_next, x) * step.eps(x, x0)
        x = step.land(x, arrived)
        if on_step:
            on_step(step.i, x, x0)
    return x
