"""DDPM: ancestral sampling from the posterior of the noising chain."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from flipbook.process.path import Path
from flipbook.samplers.common import Denoise, Hook, Noise, OnStep, divide, fresh, predict, spread, steps


def sample_ddpm(
    denoise: Denoise,
    x: Tensor,
    path: Path,
    matrix: Tensor,
    *,
    variance: Literal["small", "large"] = "small",
    noise: Noise | None = None,
    on_step: OnStep | None = None,
    state_hook: Hook | None = None,
    x0_hook: Hook | None = None,
) -> Tensor:
    """Draw from q(x' | x, x0), arXiv 2006.11239 eq. 6 and 7, between any two levels of any path.

    With k = alpha / alpha' and b = sigma^2 - k^2 sigma'^2, the variance that one noising step adds (beta on a
    variance-preserving path), the mean is alpha' (b / sigma^2) x0 + k (sigma' / sigma)^2 x.
    variance: "small" draws with the posterior's own b (sigma' / sigma)^2, "large" with b (section 3.2 there).
    M network calls; needs `noise`. Arguments: samplers/common.py. Returns x0, (B, C, T, H, W).
    """
    if variance not in ("small", "large"):
        raise ValueError(f"variance={variance!r} is unknown. Try 'small' or 'large'.")
    for step in steps(path, matrix, x):
        x, x0 = predict(denoise, x, step.t, step.i, state_hook, x0_hook)
        keep = divide(step.alpha, step.alpha_next)
        shrink = divide(step.sigma_next, step.sigma) ** 2
        added = (step.sigma**2 - keep**2 * step.sigma_next**2).clamp(min=0.0)
        mean = spread(step.alpha_next * divide(added, step.sigma**2), x) * x0 + spread(keep * shrink, x) * x
        std = torch.sqrt(added * shrink if variance == "small" else added * (step.sigma_next > 0))
        x = step.land(x, mean + spread(std, x) * fresh(noise, x, "DDPM"))
        if on_step:
            on_step(step.i, x, x0)
    return x
