"""DDIM: from the deterministic sampler (eta = 0) to the ancestral one (eta = 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from flipbook.process.path import Path
from flipbook.samplers.common import Denoise, Hook, Noise, OnStep, Step, fresh, predict, spread, steps


def sample_ddim(
    denoise: Denoise,
    x: Tensor,
    path: Path,
    matrix: Tensor,
    *,
    eta: float = 0.0,
    noise: Noise | None = None,
    on_step: OnStep | None = None,
    state_hook: Hook | None = None,
    x0_hook: Hook | None = None,
) -> Tensor:
    """A step to (alpha', sigma') keeps x0 and replaces part of eps by fresh noise: arXiv 2010.02502, eq. 12 and 16.

    eta: in [0, 1]; the fresh noise has std eta sigma' sqrt(1 - (r' / r)^2), r = sigma / alpha, on every path.
    M network calls; needs `noise` if eta > 0. Arguments: samplers/common.py. Returns x0, (B, C, T, H, W).
    """
    for step in steps(path, matrix, x):
        x, x0 = predict(denoise, x, step.t, step.i, state_hook, x0_hook)
        arrived = renoise(step, x, x0, eta, noise, "DDIM with eta > 0")
        x = step.land(x, arrived)
        if on_step:
            on_step(step.i, x, x0)
    return x


def renoise(step: Step, x: Tensor, x0: Tensor, eta: float, noise: Noise | None, sampler: str) -> Tensor:
    """alpha' x0 + sqrt(sigma'^2 - c^2) eps + c noise with c = eta sigma' sqrt(1 - (r' / r)^2): the DDIM update."""
    if not 0 <= eta <= 1:
        raise ValueError(f"eta={eta}: 0 keeps all the predicted noise, 1 replaces what an ancestral step does. Try 0.")
    new = eta * step.sigma_next * torch.sqrt((1.0 - step.decay**2).clamp(min=0.0))  # 0 for a step upwards
    kept = torch.sqrt(step.sigma_next**2 - new**2)
    arrived = spread(step.alpha_next, x) * x0 + spread(kept, x) * step.eps(x, x0)
    if eta > 0:
        arrived = arrived + spread(new, x) * fresh(noise, x, sampler)
    return arrived
