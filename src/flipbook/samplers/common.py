"""What all samplers share: the walk down the rows of a noise-level matrix, the hooks, and steps that leave still frames alone.

A sampler is `sample_NAME(denoise, x, path, matrix, *, noise, on_step, state_hook, x0_hook) -> x0`:

    denoise     (x, t) -> x0; x (B, C, T, H, W), t (B, T). Guidance, windows and caches wrap it.
    x           the state at row 0, alpha x0 + sigma eps per frame; given frames hold their content.
    path        alpha(t), sigma(t).
    matrix      (M + 1, T) times, see process/matrix.py. A column at equal consecutive levels keeps its bits.
    noise       () -> fresh noise shaped like x; stochastic samplers ask for it once a step.
    on_step     (i, x, x0): told of the state after step i and of the prediction it was made from.
    state_hook  (x, i) -> x, on the state at row i before the network sees it.
    x0_hook     (x0, i) -> x0, on the prediction made at row i; eps is derived again from what it returns.

Coefficients are computed in float64 on vectors of T numbers, then used in the dtype of x (float32 at least).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from flipbook.process.path import Path

Denoise = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[], Tensor]
OnStep = Callable[[int, Tensor, Tensor], None]
Hook = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Step:
    """Row i of a matrix and the row after it. All levels are (T,) float64 on the CPU."""

    i: int
    t: Tensor
    t_next: Tensor
    alpha: Tensor
    sigma: Tensor
    alpha_next: Tensor
    sigma_next: Tensor

    @property
    def moves(self) -> Tensor:
        """(T,) bool: the frames whose level changes."""
        return self.t != self.t_next

    @property
    def decay(self) -> Tensor:
        """(T,) the ratio of sigma / alpha after and before, e^-h with h the gain in log(alpha / sigma). 0 from pure noise."""
        return _divide(self.sigma_next * self.alpha, self.alpha_next * self.sigma)

    def eps(self, x: Tensor, x0: Tensor) -> Tensor:
        """The noise in x at row i beside the prediction x0; 0 in clean frames."""
        return (x - spread(self.alpha, x) * x0) * spread(_divide(torch.ones_like(self.sigma), self.sigma), x)

    def land(self, x: Tensor, arrived: Tensor) -> Tensor:
        """`arrived` in the frames that move, the bits of x in those that do not."""
        if bool(self.moves.all()):
            return arrived
        return torch.where(self.moves.to(x.device)[:, None, None], arrived, x.to(arrived.dtype))


def steps(path: Path, matrix: Tensor, x: Tensor) -> Iterator[Step]:
    """Walk the matrix. Raises ValueError if it has no step, another number of frames than x, or values outside [0, 1]."""
    if matrix.ndim != 2 or matrix.shape[0] < 2 or matrix.shape[1] != x.shape[2]:
        raise ValueError(
            f"the noise-level matrix has shape {tuple(matrix.shape)} but x {tuple(x.shape)}: it needs one row more than "
            f"steps and one column per frame. Try noise_levels(num_steps, num_frames={x.shape[2]})."
        )
    if not bool(((matrix >= 0) & (matrix <= 1)).all()):
        raise ValueError(f"noise levels run from {matrix.min():.4g} to {matrix.max():.4g}: t is 0 for data and 1 for noise.")
    rows = matrix.detach().to("cpu", torch.float64)
    alphas, sigmas = path.alpha(rows), path.sigma(rows)
    for i in range(len(rows) - 1):
        yield Step(i, rows[i], rows[i + 1], alphas[i], sigmas[i], alphas[i + 1], sigmas[i + 1])


def spread(values: Tensor, x: Tensor) -> Tensor:
    """Per-frame numbers (T,) as (T, 1, 1) beside x (B, C, T, H, W), on its device, in float32 at least."""
    return values[:, None, None].to(x.device, torch.promote_types(x.dtype, torch.float32))


def predict(
    denoise: Denoise, x: Tensor, t: Tensor, i: int, state_hook: Hook | None, x0_hook: Hook | None
) -> tuple[Tensor, Tensor]:
    """Ask the denoiser about the state at row i, times t (T,), with both hooks; returns (x, x0), both (B, C, T, H, W)."""
    if state_hook is not None:
        x = state_hook(x, i)
    times = t.to(x.device, torch.promote_types(x.dtype, torch.float32))
    x0 = denoise(x, times.expand(x.shape[0], -1))
    if x0_hook is not None:
        x0 = x0_hook(x0, i)
    return x, x0


def fresh(noise: Noise | None, x: Tensor, sampler: str) -> Tensor:
    """New noise for x, on its device. Raises ValueError if none was handed in."""
    if noise is None:
        raise ValueError(f"{sampler} adds noise at every step, and none was handed in. Try noise=NoiseSource(x.shape[1:], seeds).")
    return noise().to(x.device, torch.promote_types(x.dtype, torch.float32))


def _divide(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 where b = 0: those frames stand still or are clean, and their value is not used."""
    return torch.where(b == 0, torch.zeros_like(a), a / torch.where(b == 0, torch.ones_like(b), b))
