"""Progressive distillation: a student makes in one step what its teacher makes in two (arXiv:2202.00512; Imagen Video arXiv:2210.02303, 2.7)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from flipbook.data.batch import Batch
from flipbook.objectives.base import Losses
from flipbook.objectives.conditioned import Conditioned, ConditionedOptions, Rows, place
from flipbook.process.process import Process, expand_t
from flipbook.systems.base import System


@dataclass(frozen=True, kw_only=True)
class ProgressiveOptions(ConditionedOptions):
    """steps: the student's sampler steps, at t = steps/steps, ..., 1/steps.

    teacher_steps: of the teacher that become one of the student's. Two, as in the papers, for a round of many; more reach few steps in
    one round, and cost as many more calls of the teacher.
    guidance: the teacher's guidance scale, which the student takes up in itself; 1: none. In the first of several rounds give the
    scale, later teachers have it.
    """

    steps: int = 8
    guidance: float = 1.0
    teacher_steps: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.stills:
            raise ValueError(f"steps={self.steps}, stills={self.stills}: a student takes one step at least, and learns from clips. Try steps=8, stills=0.")
        if self.teacher_steps < 2:
            raise ValueError(f"teacher_steps={self.teacher_steps}: a student makes in one step what its teacher makes in two at least. Try teacher_steps=2.")


class Progressive(Conditioned):
    """max(SNR, 1) |x0 of the student - x0 that leads where `teacher_steps` DDIM steps of the teacher lead|^2; the teacher is the system as it came."""

    options: ProgressiveOptions

    def __init__(self, system: System, options: ProgressiveOptions, place: tuple[int, int] = (0, 1)):
        self.teacher = copy.deepcopy(system.denoiser).eval().requires_grad_(False)
        self.asked = (self.teacher,)
        super().__init__(system, options, place)
        taken_up = {"guidance_scale": 1.0} if options.guidance != 1 else {}
        system.defaults = system.defaults | {"num_inference_steps": options.steps, "sampler": "euler"} | taken_up

    def loss(self, batch: Batch, seeds: Sequence[int], *, t: Tensor | None = None) -> Losses:
        process, steps = self.system.process, self.options.steps
        t = self._times(batch, seeds) if t is None else t
        t = (t * steps).floor().clamp(0, steps - 1).add(1) / steps                            # the levels that the student visits
        every = list(range(len(batch)))
        rows = self.rows(batch, every, seeds, t, False)
        wordless = self.rows(batch, every, seeds, t, False, wordless=True) if self.options.guidance != 1 else None
        with torch.no_grad():
            target = self._taught_steps(rows, wordless)
        t_rows = rows.t
        x0 = process.to_x0(self.predict(rows), rows.x, t_rows)
        snr = (process.path.alpha(t_rows) / process.path.sigma(t_rows).clamp(min=1e-6)).square()
        by_frame = (x0 - target).square().mean((1, 3, 4)) * snr.clamp(min=1.0)
        loss = (by_frame * rows.counts).sum(1) / rows.counts.sum(1).clamp(min=1)
        return Losses(loss=loss, t=t.to(loss.device))

    def _taught_steps(self, rows: Rows, wordless: Rows | None) -> Tensor:
        """The x0 whose one DDIM step from (x, t) ends where the teacher's end."""
        process, part = self.system.process, 1 / (self.options.steps * self.options.teacher_steps)
        levels = [torch.where(rows.is_given, rows.t, (rows.t - k * part).clamp(min=0)) for k in range(self.options.teacher_steps + 1)]
        x = rows.x
        for t, t_next in pairwise(levels):
            x = ddim_step(process, self._taught(rows, wordless, x, t), x, t, t_next)
        return x0_between(process, rows.x, levels[0], x, levels[-1])

    def _taught(self, rows: Rows, wordless: Rows | None, x: Tensor, t: Tensor) -> Tensor:
        """The teacher's x0."""
        told = [rows] if wordless is None else [wordless, rows]
        process = self.system.process
        answers = [
            process.to_x0(
                self.teacher(
                    process.network_input(x, t), process.network_time(t), one.doors, frame_is_given=rows.is_given, frame_index=rows.index,
                ).float(), x, t
            )
            for one in told
        ]
        return answers[0] if wordless is None else torch.lerp(answers[0], answers[1], self.options.guidance)


def ddim_step(process: Process, x0: Tensor, x: Tensor, t: Tensor, t_next: Tensor, noise: Tensor | None = None) -> Tensor:
    """alpha' x0 + sigma' eps, and x where the level stays. With noise, an ancestral step (`samplers/ddim.py`, eta = 1): part of eps is it."""
    alpha, sigma = (expand_t(part, x) for part in (process.path.alpha(t_next), process.path.sigma(t_next)))
    there = sigma * process.to_eps(x0, x, t)
    if noise is not None:
        was_alpha, was_sigma = (expand_t(part, x) for part in (process.path.alpha(t), process.path.sigma(t)))
        kept = (sigma * was_alpha / (alpha * was_sigma).clamp(min=1e-12)).clamp(max=1.0)          # what is left of sigma / alpha
        there = kept * there + (1.0 - kept.square()).sqrt() * sigma * noise
    return torch.where(expand_t(t != t_next, x), alpha * x0 + there, x)


def x0_between(process: Process, x: Tensor, t: Tensor, x_next: Tensor, t_next: Tensor) -> Tensor:
    """The x0 with which one DDIM step leads from (x, t) to (x', t'): (x' - r x) / (alpha' - r alpha), r = sigma' / sigma."""
    alpha, sigma, alpha_next, sigma_next = (
        expand_t(part, x) for part in (process.path.alpha(t), process.path.sigma(t), process.path.alpha(t_next), process.path.sigma(t_next))
    )
    ratio = sigma_next / sigma.clamp(min=1e-6)
    moved = expand_t(t != t_next, x)
    return torch.where(moved, (x_next - ratio * x) / torch.where(moved, alpha_next - ratio * alpha, 1.0), x_next)


def build(system: System, options: Mapping[str, Any]) -> Progressive:
    """The objective over a system. Raises ValueError for an unknown option, part or group."""
    known = {f.name for f in fields(ProgressiveOptions)}
    if unknown := set(options) - known:
        raise ValueError(f"progressive has no option {sorted(unknown)}. Try some of {', '.join(sorted(known))}.")
    return Progressive(system, ProgressiveOptions(**options), place())
