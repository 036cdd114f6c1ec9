"""Euler's method down past the next level, then fresh noise up to it."""

from __future__ import annotations

from torch import Tensor

from flipbook.process.path import Path
from flipbook.samplers.common import Denoise, Hook, Noise, OnStep, predict, steps
from flipbook.samplers.ddim import renoise


def sample_euler_ancestral(
    denoise: Denoise,
    x: Tensor,
    path: Path,
    matrix: Tensor,
    *,
    eta: float = 1.0,
    noise: Noise | None = None,
    on_step: OnStep | None = None,
    state_hook: Hook | None = None,
    x0_hook: Hook | None = None,
) -> Tensor:
    """Ancestral sampling as k-diffusion tells it, in EDM sigmas r = sigma / alpha.

    Euler runs to r_down = sqrt(r'^2 - r_up^2), then noise of std r_up = eta r' sqrt(1 - (r' / r)^2) is added. In x
    this is the DDIM update, so eta in [0, 1] means the same there. M network calls; needs `noise` if eta > 0.
    Arguments: samplers/common.py. Returns x0, (B, C, T, H, W).
    """
    for step in steps(path, matrix, x):
        x, x0 = predict(denoise, x, step.t, step.i, state_hook, x0_hook)
        arrived = renoise(step, x, x0, eta, noise, "Euler ancestral")
        x = step.land(x, arrived)
        if on_step:
            on_step(step.i, x, x0)
    return x
