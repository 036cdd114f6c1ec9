"""Regression on a teacher's trajectories: from any of its few levels a student says at once where its teacher ends (CausVid, arXiv:2412.07772, section
4.2; DMD, arXiv:2311.18828, section 3.3).

The teacher takes all its steps, with guidance, from noise to a clip; noise and clip are a pair that no chance parts, so that squared errors teach no mean of
many clips. A causal student stands at a level of its own in each chunk and sees the chunks before it: so it begins as one, before matching
(`objectives/matching.py`) shows it its own clips. No clip of the data is asked for, only sentences and, where frames are given, those frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from flipbook.data.batch import Batch
from flipbook.data.seeds import derive_seed
from flipbook.long.streaming import Streaming
from flipbook.objectives.base import Losses
from flipbook.objectives.progressive import ddim_step
from flipbook.objectives.taught import Student, Told, guided, noise_of, over_wanted, teacher_of, tell
from flipbook.systems.base import System


@dataclass(frozen=True, kw_only=True)
class RegressionOptions:
    """steps: of the student's sampler, from t = 1 in equal parts.   teacher_steps: of its teacher's, a multiple of those.

    guidance, teacher, streaming, given, drop_text: as in `matching`.
    """

    steps: int = 4
    teacher_steps: int = 24
    guidance: float = 4.0
    teacher: str | None = None
    streaming: Streaming | None = None
    given: float = 0.3
    drop_text: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.streaming, Mapping):
            object.__setattr__(self, "streaming", Streaming(**self.streaming))
        if self.steps < 1 or self.teacher_steps < self.steps or self.teacher_steps % self.steps:
            few = max(self.steps, 1)
            raise ValueError(
                f"steps={self.steps}, teacher_steps={self.teacher_steps}: the student's levels are some of its teacher's. "
                f"Try steps={few}, teacher_steps={few * max(1, round(self.teacher_steps / few))}."
            )


class Regression(Student):
    """E over noise and levels of |x0 of the student at a state of the trajectory - the trajectory's end|^2 on the frames that are not given."""

    def __init__(self, system: System, options: RegressionOptions):
        self.system, self.options = system, options
        self.teacher = teacher_of(system, options.teacher)
        if self.teacher.process.path != system.process.path:
            raise ValueError(
                f"the teacher's noise goes by {self.teacher.process.path}, the student's by {system.process.path}: a state of one is none of the other. "
                "Try a teacher of the same path."
            )
        for part in (*system.parts.values(), *self.teacher.parts.values()):
            part.requires_grad_(False)
        self._trainable = nn.ModuleDict({"denoiser": system.denoiser.requires_grad_(True)})
        system.defaults = system.defaults | {"num_inference_steps": options.steps, "guidance_scale": 1.0, "sampler": "euler"}

    def trainable(self) -> nn.Module:
        return self._trainable

    def loss(self, batch: Batch, seeds: Sequence[int], *, t: Tensor | None = None) -> Losses:
        """One step. With fixed levels t (B,): all frames stand at the student's nearest level above."""
        options, process = self.options, self.system.process
        told = tell(self.system, self.teacher, batch, seeds, given=options.given, drop_text=options.drop_text)
        states, end = self.trajectory(told, noise_of(told.z0, seeds, "trajectory"))
        frames = end.shape[2]
        place = self._places(seeds, frames) if t is None else self._nearest(t)[:, None].expand(-1, frames)      # (B, T) of the levels
        place = place.to(end.device)
        x = states.gather(0, place[None, :, None, :, None, None].expand(1, *end.shape))[0]
        levels = (1 - place / options.steps) * ~told.given
        streaming = self.system.streaming
        prediction = self.system.denoiser(
            process.network_input(x, levels), process.network_time(levels), told.doors, frame_is_given=told.given, frame_index=told.index,
            **({} if streaming is None else {"frame_attends": streaming.attends(frames).to(x.device)}),
        )
        loss = over_wanted((process.to_x0(prediction.float(), x, levels) - end).square(), told.given)
        return Losses(loss=loss, t=levels.mean(1))

    @torch.no_grad()
    def trajectory(self, told: Told, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's way by Euler's method: its states at the student's levels (steps, B, C, T, h, w), and the clip that it ends in."""
        options, process = self.options, self.teacher.process
        here, level = told.given[:, None, :, None, None], lambda j: (1 - j / options.teacher_steps) * (~told.given).float()
        x = torch.where(here, told.z0, process.add_noise(torch.zeros_like(told.z0), noise, level(0)))
        states = []
        for j in range(options.teacher_steps):
            if j % (options.teacher_steps // options.steps) == 0:
                states.append(x)
            x = ddim_step(process, guided(self.teacher, told, options.guidance, x, level(j)), x, level(j), level(j + 1))
        return torch.stack(states), x

    def _places(self, seeds: Sequence[int], frames: int) -> Tensor:
        """(B, T) which of the student's levels, 0 the noisiest: one for a clip, or for each chunk of a causal student."""
        chunk = frames if self.system.streaming is None else self.system.streaming.chunk
        generators = [torch.Generator().manual_seed(derive_seed(seed, "levels")) for seed in seeds]
        drawn = torch.stack([torch.randint(self.options.steps, (-(-frames // chunk),), generator=g) for g in generators])
        return drawn.repeat_interleave(chunk, dim=1)[:, :frames]

    def _nearest(self, t: Tensor) -> Tensor:
        steps = self.options.steps
        return ((1 - t.cpu()) * steps).floor().long().clamp(0, steps - 1)


def build(system: System, options: Mapping[str, Any]) -> Regression:
    """The objective over a system. Raises ValueError for an unknown option, and for a teacher that cannot teach it."""
    known = {f.name for f in fields(RegressionOptions)}
    if unknown := set(options) - known:
        raise ValueError(f"regression has no option {sorted(unknown)}. Try some of {', '.join(sorted(known))}.")
    chosen = RegressionOptions(**options)
    system.streaming = chosen.streaming or system.streaming
    return Regression(system, chosen)
