"""UniPC: a multistep predictor whose step is corrected by the prediction made where it landed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flipbook.process.path import Path
from flipbook.samplers.common import Denoise, Hook, Noise, OnStep, Step, choose, divide, predict, spread, steps


def sample_unipc(
    denoise: Denoise,
    x: Tensor,
    path: Path,
    matrix: Tensor,
    *,
    order: int = 2,
    noise: Noise | None = None,
    on_step: OnStep | None = None,
    state_hook: Hook | None = None,
    x0_hook: Hook | None = None,
) -> Tensor:
    """Unified predictor-corrector on x0 with B_2(h) = e^-h - 1: arXiv 2302.04867, section 3.

    order: earlier predictions that a step extrapolates from, plus one; 1, 2 or 3. The corrector adds one order and
           no network call: it re-uses the prediction of the next step. Each frame starts at order 1 (again after
           pure noise, where log(alpha / sigma) has no value) and comes down to order 1 in its last step.
    M network calls, no noise. The corrector adds to the state that `state_hook` returned. A frame that pauses keeps its
    bits: it is corrected when it moves on.
    Arguments: samplers/common.py. Returns x0, (B, C, T, H, W).
    """
    if order not in (1, 2, 3):
        raise ValueError(f"order={order}: UniPC is stable up to order 3. Try 2.")
    left = (matrix[1:] != matrix[:-1]).cpu().flip(0).cumsum(0).flip(0)  # (M, T) moves each frame still has to make
    past: list[tuple[Tensor, Tensor]] = []  # predictions and their log(alpha / sigma) per frame, newest first
    usable = torch.zeros(x.shape[2], dtype=torch.long)  # how many of them each frame may use
    last: _Moved | None = None

    for step in steps(path, matrix, x):
        x, x0 = predict(denoise, x, step.t, step.i, state_hook, x0_hook)
        if last is not None:
            corrected = _advance(last.step, last.start, past, last.memory, arrived_x0=x0)
            x = choose(last.step.moves & step.moves, x + (corrected - last.end), x)

        now = torch.log(step.alpha) - torch.log(step.sigma)
        remembered = [(x0, now), *past[: order - 1]]
        stale = [*past, (x0, now)][: len(remembered)]
        past = [
            (choose(step.moves, new, old), torch.where(step.moves, lam, lam_old))
            for (new, lam), (old, lam_old) in zip(remembered, stale, strict=True)
        ]
        memory = torch.where(step.moves, torch.minimum(usable, left[step.i] - 1).clamp(max=order - 1), 0)
        end = _advance(step, x, past, memory)
        last = _latest(_Moved(step, x, end, memory), last)
        usable = torch.where(step.moves, torch.where(now.isfinite(), usable + 1, 0), usable)
        x = step.land(x, end)
        if on_step:
            on_step(step.i, x, x0)
    return x


@dataclass(frozen=True)
class _Moved:
    """The last step that each frame made: its levels, start and end (B, C, T, H, W) and memory (T,)."""

    step: Step
    start: Tensor
    end: Tensor
    memory: Tensor


def _latest(new: _Moved, old: _Moved | None) -> _Moved:
    """`new` in the frames that moved in it, `old` in the others."""
    moves = new.step.moves
    if old is None or bool(moves.all()):
        return new
    levels = ("t", "t_next", "alpha", "sigma", "alpha_next", "sigma_next")
    merged = {name: torch.where(moves, getattr(new.step, name), getattr(old.step, name)) for name in levels}
    return _Moved(
        Step(new.step.i, **merged),
        choose(moves, new.start, old.start),
        choose(moves, new.end, old.end),
        torch.where(moves, new.memory, old.memory),
    )


def _advance(
    step: Step, x: Tensor, past: list[tuple[Tensor, Tensor]], memory: Tensor, arrived_x0: Tensor | None = None
) -> Tensor:
    """One step from x at row i: the predictor, or the corrector if the prediction at the next row is known.

    past:   predictions (B, C, T, H, W) with their log(alpha / sigma) (T,), past[0] made at x itself.
    memory: (T,) how many predictions older than past[0] each frame uses. Frames that stand still give no value.
    """
    m0, lam0 = past[0]
    gain = -torch.log(step.decay)  # h, infinite from pure noise and to data
    growth = 1.0 - step.decay  # -B_2(h)
    nodes = [torch.where(memory > k, divide(lam - lam0, gain), -1.0) for k, (_, lam) in enumerate(past[1:])]
    weights = _weights(nodes, gain, memory, corrector=arrived_x0 is not None)

    x = spread(divide(step.sigma_next, step.sigma), x) * x + spread(step.alpha_next * growth, x) * m0
    for k, (m, _) in enumerate(past[1:]):
        x = x + spread(step.alpha_next * growth * weights[k] / nodes[k], x) * (m - m0)
    if arrived_x0 is not None:
        x = x + spread(step.alpha_next * growth * weights[-1], x) * (arrived_x0 - m0)
    return x


def _weights(nodes: list[Tensor], gain: Tensor, memory: Tensor, corrector: bool) -> Tensor:
    """Weights (K, T) of the differences at K nodes, in steps from here; the corrector has a last node at 1.

    A frame with q nodes in use solves sum_k w_k node_k^(i - 1) = b_i for i = 1..q (arXiv 2302.04867, theorem 3.1);
    its other weights are 0. One node takes 1/2, which reaches the same order.
    """
    ahead = [torch.ones_like(gain)] if corrector else []
    weights = torch.zeros(len(nodes) + len(ahead), len(gain), dtype=gain.dtype)
    for m in memory.unique().tolist():
        frames, rows = memory == m, [*range(m), *range(len(nodes), len(weights))]
        if rows:
            solved = _solve(torch.stack([*nodes, *ahead])[rows][:, frames], gain[frames])
            for row, w in zip(rows, solved, strict=True):
                weights[row, frames] = w
    return weights


def _solve(nodes: Tensor, gain: Tensor) -> Tensor:
    """Solve the order conditions for nodes (q, T), all different, and gain h (T,); returns (q, T)."""
    q = len(nodes)
    if q == 1:
        return torch.full_like(nodes, 0.5)
    b2 = torch.expm1(-gain)
    phi, factorial, right = -b2 / gain - 1.0, 1, []
    for i in range(1, q + 1):
        right.append(phi * factorial / b2)
        factorial *= i + 1
        phi = -phi / gain - 1.0 / factorial
    powers = torch.stack([nodes**i for i in range(q)])  # (q equations, q nodes, T)
    return torch.linalg.solve(powers.permute(2, 0, 1), torch.stack(right).T).T
