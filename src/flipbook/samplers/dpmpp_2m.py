"""DPM-Solver++ with two steps of memory: the ODE and the SDE solver."""

from __future__ import annotations

import torch
from torch import Tensor

from flipbook.process.path import Path
from flipbook.samplers.common import Denoise, Hook, Noise, OnStep, choose, divide, fresh, predict, spread, steps


def sample_dpmpp_2m(
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
    """Second-order multistep ODE sampler: DPM-Solver++(2M), arXiv 2211.01095, algorithm 2.

    x0 is extrapolated in log(alpha / sigma) from the last two predictions, frame by frame. A frame's first step, the
    one after pure noise and the last one, to sigma = 0, are first order. M network calls, no noise.
    Arguments: samplers/common.py. Returns x0, (B, C, T, H, W).
    """
    return sample_dpmpp_2m_sde(
        denoise, x, path, matrix, eta=0.0, noise=noise, on_step=on_step, state_hook=state_hook, x0_hook=x0_hook
    )


def sample_dpmpp_2m_sde(
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
    """SDE-DPM-Solver++(2M), arXiv 2211.01095 section 5, midpoint form: the ODE step with part of eps drawn anew.

    eta >= 0 scales the noise: 0 is `sample_dpmpp_2m`, 1 the reverse SDE. M network calls; needs `noise` if eta > 0.
    Arguments: samplers/common.py. Returns x0, (B, C, T, H, W).
    """
    if not eta >= 0:
        raise ValueError(f"eta={eta}: the share of fresh noise is at least 0. Try 1.")
    earlier, gain_before = x, torch.zeros(x.shape[2], dtype=torch.float64)  # each frame's last prediction and step
    for step in steps(path, matrix, x):
        x, x0 = predict(denoise, x, step.t, step.i, state_hook, x0_hook)
        gain = -torch.log(step.decay)  # h, infinite from pure noise and to data, 0 in frames that stand still
        known = (gain_before > 0) & gain.isfinite()  # an infinite gain before makes the slope 0 by itself
        slope = torch.where(known, gain / torch.where(known, 2.0 * gain_before, 1.0), 0.0)
        ahead = x0 + spread(slope, x) * (x0 - earlier)  # x0 half a step further

        keep = step.decay**eta
        arrived = spread(divide(step.sigma_next, step.sigma) * keep, x) * x
        arrived = arrived + spread(step.alpha_next * (1.0 - keep * step.decay), x) * ahead
        if eta > 0:
            new = step.sigma_next * torch.sqrt((1.0 - keep**2).clamp(min=0.0))
            arrived = arrived + spread(new, x) * fresh(noise, x, "DPM-Solver++ 2M SDE")
        x = step.land(x, arrived)
        earlier, gain_before = choose(step.moves, x0, earlier), torch.where(step.moves, gain, gain_before)
        if on_step:
            on_step(step.i, x, x0)
    return x
