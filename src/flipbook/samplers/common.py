"""What all samplers share: the walk down the rows of a noise-level matrix, and the two hooks.

A sampler is `sample_NAME(denoise, x, path, matrix, *, noise, on_step, state_hook, x0_hook) -> x0`:

    denoise     (x, t) -> x0; x (B, C, T, H, W), t (B, T). Guidance, windows and caches wrap it.
    x           the state at row 0: alpha x0 + sigma eps in generated frames, the content in given ones.
    path        alpha(t), sigma(t).
    matrix      (M + 1, T) times, see process/matrix.py. A column at equal consecutive levels keeps its bits.
    noise       () -> fresh noise shaped like x; only samplers that add noise ask, once a step.
    on_step     (i, x, x0): the state after step i and the prediction it was made from.
    state_hook  (x, i) -> x, on the state at row i before the network sees it.
    x0_hook     (x0, i) -> x0, on the prediction at row i; eps is derived again from what it returns.

Coefficients are float64 vectors of one number per frame, used in the dtype of x, float32 at least.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from flipbook.process.path import Path
from flipbook.process.variance import divide

Denoise = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[], Tensor]
OnStep = Callable[[int, Tensor, Tensor], None]
Hook = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Step:
    """From row i of a matrix to the next one. Levels are (T,) float64 on the CPU; `_next` means at the next row."""

    i: int
    t: Tensor
    t_next: Tensor
    alpha: Tensor
    sigma: Tensor
    alpha_next: Tensor
    sigma_next: Tensor

    def times(self, x: Tensor) -> Tensor:
        """The times of row i as the network is asked at them, (B, T)."""
        return times_of(self.t, x)

    @cached_property
    def moves(self) -> Tensor:
        """(T,) bool: the frames whose level changes."""
        return self.t != self.t_next

    @cached_property
    def decay(self) -> Tensor:
        """(T,) what is left of sigma / alpha, e^-h with h the gain in log(alpha / sigma); 0 from noise or to data."""
        ratio = divide(self.sigma_next * self.alpha, self.alpha_next * self.sigma)
        return torch.where(self.moves, ratio, 1.0)

    def eps(self, x: Tensor, x0: Tensor) -> Tensor:
        """The noise in x at row i beside the prediction x0; 0 in clean frames."""
        return (x - spread(self.alpha, x) * x0) * spread(divide(torch.ones_like(self.sigma), self.sigma), x)

    def land(self, x: Tensor, arrived: Tensor) -> Tensor:
        """`arrived` in the frames that move, the bits of x in the others."""
        return choose(self.moves, arrived, x)


def steps(path: Path, matrix: Tensor, x: Tensor) -> Iterator[Step]:
    """Walk the matrix. Raises ValueError if its columns are not the frames of x or its values not in [0, 1]."""
    if matrix.ndim != 2 or matrix.shape[1] != x.shape[2]:
        raise ValueError(
            f"the noise-level matrix has shape {tuple(matrix.shape)} and x {tuple(x.shape)}: it needs one column for "
            f"each of {x.shape[2]} frames. Try noise_levels(num_steps, num_frames={x.shape[2]})."
        )
    if not bool(((matrix >= 0) & (matrix <= 1)).all()):
        raise ValueError(f"noise levels from {matrix.min():.4g} to {matrix.max():.4g}: t is 0 for data, 1 for noise.")
    rows = matrix.detach().to("cpu", torch.float64)
    alphas, sigmas = path.alpha(rows), path.sigma(rows)
    for i in range(len(rows) - 1):
        yield Step(i, rows[i], rows[i + 1], alphas[i], sigmas[i], alphas[i + 1], sigmas[i + 1])


def predict(
    denoise: Denoise, x: Tensor, t: Tensor, i: int, state_hook: Hook | None, x0_hook: Hook | None
) -> tuple[Tensor, Tensor]:
    """Ask for x0 at row i, times t (T,), with both hooks. Returns the state the network saw and x0."""
    if state_hook is not None:
        x = state_hook(x, i)
    x0 = denoise(x, times_of(t, x))
    if x0_hook is not None:
        x0 = x0_hook(x0, i)
    return x, x0


def times_of(t: Tensor, x: Tensor) -> Tensor:
    """Times of frames (T,) for every sample of x, (B, T), on its device."""
    return t.to(x.device, _wide(x)).expand(x.shape[0], -1)


def fresh(noise: Noise | None, x: Tensor, sampler: str) -> Tensor:
    """New noise for x, on its device. Raises ValueError if no source of noise was handed in."""
    if noise is None:
        raise ValueError(f"{sampler} adds noise and was handed none. Try noise=NoiseSource(x.shape[1:], seeds).")
    return noise().to(x.device, _wide(x))


def spread(values: Tensor, x: Tensor) -> Tensor:
    """Numbers per frame (T,) as (T, 1, 1), to meet x (B, C, T, H, W) on its device."""
    return values[:, None, None].to(x.device, _wide(x))


def choose(frames: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """`yes` in the frames marked True (T,), the bits of `no` in the others; both (B, C, T, H, W)."""
    if bool(frames.all()):
        return yes
    return torch.where(frames.to(no.device)[:, None, None], yes, no.to(yes.dtype))


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
