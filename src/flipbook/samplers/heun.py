"""Heun's method on the probability-flow ODE."""

from __future__ import annotations

import torch
from torch import Tensor

from flipbook.process.path import Path
from flipbook.samplers.common import Denoise, Hook, Noise, OnStep, choose, divide, predict, spread, steps

PURE_NOISE = 1e-3  # below this alpha, r passes 1000 in one step and the mean of slopes against r means nothing


def sample_heun(
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
    """Second-order ODE sampler: an Euler step, then the mean of the slopes at its two ends.

    EDM, arXiv 2206.00364, algorithm 1. The slope is taken along the line on which the path is straight: eps against
    r = sigma / alpha (algorithm 1 with sigma(t) = t), or eps - x0 against s on rectified flow and in any step that
    leaves pure noise, where r has no bound. A frame's last step, to sigma = 0, stays Euler. At most 2 M - 1 network
    calls, no noise; the second call of step i belongs to row i + 1 and tells the hooks so.
    Arguments: samplers/common.py. Returns x0, (B, C, T, H, W).
    """
    for step in steps(path, matrix, x):
        x, x0 = predict(denoise, x, step.t, step.i, state_hook, x0_hook)
        eps = step.eps(x, x0)
        x = step.land(x, spread(step.alpha_next, x) * x0 + spread(step.sigma_next, x) * eps)

        refine = step.moves & (step.sigma_next > 0)
        if bool(refine.any()):
            # y = x / c is straight in u = sigma / c, dy/du = eps - w x0, for c = alpha + w sigma: w = 0 or 1
            w = torch.where(step.alpha < PURE_NOISE, 1.0, float(path.straight))
            c, c_next = step.alpha + w * step.sigma, step.alpha_next + w * step.sigma_next
            reach = step.sigma_next - divide(step.sigma * c_next, c)  # c' (u' - u)
            x, x0_next = predict(denoise, x, step.t_next, step.i + 1, state_hook, x0_hook)
            inverse = divide(torch.ones_like(reach), step.sigma_next)
            eps_next = (x - spread(step.alpha_next, x) * x0_next) * spread(inverse, x)
            bend = (eps_next - eps) - spread(w, x) * (x0_next - x0)
            x = choose(refine, x + spread(0.5 * reach, x) * bend, x)
        if on_step:
            on_step(step.i, x, x0)
    return x
