"""DDPM: ancestral sampling from the posterior of the noising chain."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from flipbook.process.path import Path
from flipbook.process.variance import Posterior
from flipbook.samplers.common import Denoise, Hook, Noise, OnStep, Step, fresh, predict, spread, steps

Variance = Literal["small", "large", "learned"]


def sample_ddpm(
    denoise: Denoise,
    x: Tensor,
    path: Path,
    matrix: Tensor,
    *,
    variance: Variance = "small",
    noise: Noise | None = None,
    on_step: OnStep | None = None,
    state_hook: Hook | None = None,
    x0_hook: Hook | None = None,
) -> Tensor:
    """Draw from q(x' | x, x0), `process.variance.Posterior`, between any two levels of any path.

    variance: "small" draws with the posterior's own, "large" with that of the noising step (arXiv:2006.11239, section 3.2), "learned" with
              what `denoise.share(x, t)` says between them (arXiv:2102.09672, eq. 15): denoisers of networks that predict it have one.
    M network calls; needs `noise`. Arguments: samplers/common.py. Returns x0, (B, C, T, H, W).
    Raises ValueError for another variance, and for a learned one of a denoiser that has none.
    """
    if variance not in get_args(Variance):
        raise ValueError(f"variance={variance!r} is unknown. Try 'small', 'large' or 'learned'.")
    if variance == "learned" and not hasattr(denoise, "share"):
        raise ValueError("variance='learned': this denoiser says nothing of its variance. Try variance='small'.")
    for step in steps(path, matrix, x):
        x, x0 = predict(denoise, x, step.t, step.i, state_hook, x0_hook)
        back = Posterior.between(step.alpha, step.sigma, step.alpha_next, step.sigma_next)
        mean = spread(back.of_x0, x) * x0 + spread(back.of_x, x) * x
        std = _learned(denoise, x, step, back) if variance == "learned" else spread(_fixed(variance, step, back), x)
        x = step.land(x, mean + std * fresh(noise, x, "DDPM"))
        if on_step:
            on_step(step.i, x, x0)
    return x


def _fixed(variance: Variance, step: Step, back: Posterior) -> Tensor:
    """(T,) standard deviation of the step's noise; none is added to a clean frame."""
    return torch.sqrt(back.small if variance == "small" else back.large * (step.sigma_next > 0))


def _learned(denoise: Any, x: Tensor, step: Step, back: Posterior) -> Tensor:
    """The same as the network has it, (B, C, T, H, W)."""
    low, high = (spread(end, x) for end in back.log_range())
    share = denoise.share(x, step.times(x)).to(low.dtype)
    return torch.exp(0.5 * (low + share * (high - low))) * spread(step.sigma_next > 0, x)
