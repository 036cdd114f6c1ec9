"""Distribution matching distillation: a student that makes in a few steps what its teacher makes in many (arXiv:2311.18828, 2405.14867).

The student's clips are noised, and two denoisers say where they should have come from: the frozen teacher, with guidance, and a critic that
is trained on nothing but the student's clips. Their difference is the gradient of KL(student || teacher): clips move to where the teacher
would rather see them, and away from where the student already is. No clip of the data is asked for, only sentences and, where frames are
given, those frames.

The student learns on clips that it made itself, from noise, by the very steps that it will take: up to a step drawn by chance without
gradient, that step with one. A causal student makes them chunk by chunk, behind what it remembers of its own chunks (Self-Forcing,
arXiv:2506.08009), while its teacher may look at the whole clip (CausVid, arXiv:2412.07772).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from itertools import pairwise, zip_longest
from typing import Any

import torch
from torch import Tensor, nn

from flipbook.data.batch import Batch
from flipbook.data.seeds import derive_seed
from flipbook.long.streaming import Network, Rollout, Streaming
from flipbook.objectives.base import Losses
from flipbook.objectives.denoising import even_shares
from flipbook.objectives.progressive import ddim_step
from flipbook.objectives.taught import Student, Told, guided, noise_of, over_wanted, teacher_of, tell
from flipbook.systems.base import System

ENDS = (0.02, 0.98)
"""Levels at which teacher and critic are compared: at the ends one knows everything and the other nothing."""


@dataclass(frozen=True, kw_only=True)
class MatchingOptions:
    """steps: of the student's sampler, from t = 1 in equal parts.

    fresh:    fresh noise between the steps (`euler_ancestral`), which mends what an early step got wrong; otherwise Euler's method.
    guidance: the teacher's guidance scale, which the student takes up in itself.
    teacher:  a model folder or name with the student's latents; None: the system as it came. A causal student needs one that is not.
    streaming: {chunk, window, sink} makes a causal student of a system that is none; None: as the system says of itself.
    critic_updates: of the critic for each of the student.
    given:    share of clips of which some frames are given, as in `denoising`; of the first chunk alone for a causal student.
    drop_text: share of clips without a sentence.
    """

    steps: int = 4
    fresh: bool = False
    guidance: float = 4.0
    teacher: str | None = None
    streaming: Streaming | None = None
    critic_updates: int = 5
    given: float = 0.3
    drop_text: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.streaming, Mapping):
            object.__setattr__(self, "streaming", Streaming(**self.streaming))
        if self.steps < 1 or self.critic_updates < 1:
            raise ValueError(f"steps={self.steps}, critic_updates={self.critic_updates}: both count from 1. Try steps=4, critic_updates=5.")


class Matching(Student):
    """Updates of the critic, and after every `critic_updates` of them one of the student."""

    def __init__(self, system: System, options: MatchingOptions):
        self.system, self.options = system, options
        self.teacher = teacher_of(system, options.teacher)
        for part in system.parts.values():
            part.requires_grad_(False)
        self.critic = copy.deepcopy(self.teacher.denoiser).requires_grad_(True)
        self._trainable = nn.ModuleDict({"denoiser": system.denoiser.requires_grad_(True), "critic": self.critic})
        self._step = 0
        sampler = "euler_ancestral" if options.fresh else "euler"
        system.defaults = system.defaults | {"num_inference_steps": options.steps, "guidance_scale": 1.0, "sampler": sampler}

    def trainable(self) -> nn.Module:
        return self._trainable

    def begin(self, step: int) -> None:
        """The update that comes: whose turn it is, and at which step the student's clips are taken, depends on its number alone, in all processes."""
        self._step = step

    @property
    def students_turn(self) -> bool:
        return (self._step + 1) % (self.options.critic_updates + 1) == 0

    def loss(self, batch: Batch, seeds: Sequence[int], *, t: Tensor | None = None) -> Losses:
        """The loss of whose turn it is. With fixed levels t: how far teacher and critic are apart, which falls to 0 as student and teacher agree."""
        told = tell(self.system, self.teacher, batch, seeds, given=self.options.given, drop_text=self.options.drop_text)
        if t is not None:
            with torch.no_grad():
                x0 = self._made(told, seeds, self.options.steps - 1)
                real, fake = self._opinions(x0, told, seeds, t.to(x0))
            return Losses(loss=over_wanted((real - fake).square(), told.given), t=t)
        low, high = ENDS
        t = (low + (high - low) * even_shares(batch.index, seeds)).to(batch.video)
        last = int(torch.randint(self.options.steps, (), generator=torch.Generator().manual_seed(derive_seed(self._step, "exit"))))
        with nullcontext() if self.students_turn else torch.no_grad():
            x0 = self._made(told, seeds, last)
        if not self.students_turn:
            return Losses(loss=self._critics_loss(x0, told, seeds, t), t=t)
        with torch.no_grad():
            real, fake = self._opinions(x0, told, seeds, t)
            gradient = matching_gradient(x0, real, fake, told.given)
        loss = 0.5 * over_wanted((x0 - (x0 - gradient).detach()).square(), told.given)
        return Losses(loss=loss, t=t, parts={"apart": over_wanted((real - fake).square(), told.given)})

    def _critics_loss(self, x0: Tensor, told: Told, seeds: Sequence[int], t: Tensor) -> Tensor:
        """The critic denoises clips of the student."""
        process = self.teacher.process
        t_frame, eps = t[:, None] * ~told.given, noise_of(x0, seeds, "critic")
        x = process.add_noise(x0, eps, t_frame)
        prediction = self.critic(
            process.network_input(x, t_frame), process.network_time(t_frame), told.rich, frame_is_given=told.given, frame_index=told.index
        )
        return over_wanted((prediction.float() - process.target(x0, eps, t_frame)).square(), told.given)

    def _opinions(self, x0: Tensor, told: Told, seeds: Sequence[int], t: Tensor) -> tuple[Tensor, Tensor]:
        """What teacher and critic take the noised x0 for: two x0."""
        process = self.teacher.process
        t_frame = t[:, None] * ~told.given
        x = process.add_noise(x0, noise_of(x0, seeds, "matching"), t_frame)
        fake = process.denoiser(self.critic, told.rich, frame_is_given=told.given, frame_index=told.index)(x, t_frame).float()
        return guided(self.teacher, told, self.options.guidance, x, t_frame), fake

    def _made(self, told: Told, seeds: Sequence[int], last: int) -> Tensor:
        """Clips of the student (B, C, T, h, w), as predicted at step `last` of its sampler; gradient flows through that step alone."""
        noise = torch.stack([noise_of(told.z0, seeds, what) for what in self._noises(last)])      # (1, or last + 1, B, C, T, h, w)
        streaming = self.system.streaming
        if streaming is None:
            def whole(x: Tensor, t: Tensor) -> Tensor:
                out: Tensor = self.system.denoiser(x, t, told.doors, frame_is_given=told.given, frame_index=told.index)
                return out.float()

            return self._steps(whole, noise, told.z0, told.given, last)
        rollout = Rollout(self.system.denoiser, {"text": told.doors}, streaming, frame_step=told.step)

        def make(start: int) -> Tensor:
            part = slice(start, start + streaming.chunk)
            given = told.given[:, part]
            return self._steps(rollout.network("text", given), noise[:, :, :, part], told.z0[:, :, part], given, last)

        return torch.cat(list(rollout.chunks(make, told.z0.shape[2])), dim=2)

    def _noises(self, last: int) -> list[str]:
        """What a clip's noises are called: where it starts, and what comes fresh behind each step."""
        return ["student", *(f"fresh {i}" for i in range(last) if self.options.fresh)]

    def _steps(self, network: Network, noise: Tensor, z0: Tensor, given: Tensor, last: int) -> Tensor:
        """x0 as predicted at step `last` from noise[0], by Euler's method or with noise[1], ... between the steps; given frames are z0 throughout."""
        process, here = self.system.process, given[:, None, :, None, None]
        denoise = process.denoiser(network)
        levels = [(1 - i / self.options.steps) * (~given).float() for i in range(self.options.steps)]
        x = torch.where(here, z0, process.add_noise(torch.zeros_like(z0), noise[0], levels[0]))
        with torch.no_grad():
            for (t, t_next), fresh in zip_longest(pairwise(levels[: last + 1]), noise[1:]):
                x = ddim_step(process, denoise(x, t), x, t, t_next, fresh)
        return torch.where(here, z0, denoise(x, levels[last]))


def matching_gradient(x0: Tensor, real: Tensor, fake: Tensor, given: Tensor) -> Tensor:
    """(fake - real) / mean |x0 - real|, the mean over a clip's generated frames: arXiv:2311.18828, eq. 7 and 8.

    For x = alpha x0 + sigma eps, alpha (fake - real) / sigma^2 is the difference of the two scores, the gradient of KL at x. The divisor
    stands for the weight over levels, and makes the gradient free of scale. 0 in given frames.
    """
    wanted = (~given).float()[:, None, :, None, None].to(x0)
    size = over_wanted((x0 - real).abs(), given).clamp(min=1e-6)[:, None, None, None, None]
    return wanted * (fake - real) / size


def build(system: System, options: Mapping[str, Any]) -> Matching:
    """The objective over a system. Raises ValueError for an unknown option, and for a teacher that cannot teach it."""
    known = {f.name for f in fields(MatchingOptions)}
    if unknown := set(options) - known:
        raise ValueError(f"matching has no option {sorted(unknown)}. Try some of {', '.join(sorted(known))}.")
    chosen = MatchingOptions(**options)
    system.streaming = chosen.streaming or system.streaming
    if system.streaming is not None and not hasattr(system.denoiser, "remember"):
        raise ValueError(f"{type(system.denoiser).__name__} keeps no keys and values of earlier frames, and cannot stream. Leave streaming out.")
    return Matching(system, chosen)
