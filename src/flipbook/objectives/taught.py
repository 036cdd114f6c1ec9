"""What the objectives share that distil one network from another: who teaches, what teacher and student are told of a batch, and the teacher's answer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from flipbook.data.batch import Batch
from flipbook.data.seeds import derive_seed
from flipbook.nn.doors import Doors
from flipbook.objectives.causal import frame_step, stream_samples
from flipbook.objectives.denoising import DenoisingOptions, Draw, draw_samples, latent_index
from flipbook.systems.base import System


@dataclass(frozen=True, eq=False)
class Told:
    """What a batch's clips are told: by whom they are made, `doors` of the student; `rich` and `null` of the teacher.

    given: (B, T) bool.   z0: (B, C, T, h, w), read only where frames are given.   index: (B, T).   step: (B,), of `index` from frame to frame.
    """

    doors: Doors
    rich: Doors
    null: Doors
    given: Tensor
    z0: Tensor
    index: Tensor
    step: Tensor


class Student:
    """What objectives show and save of a system that learns from a teacher, and whom they ask."""

    system: System
    teacher: System

    @property
    def asked(self) -> tuple[nn.Module, ...]:
        """Compiled with what is trained."""
        return (self.teacher.denoiser,)

    @torch.no_grad()
    def samples(self, batch: Batch, prompts: Sequence[str], seed: int) -> Tensor | None:
        """A clip for each prompt by the student's own steps, without guidance."""
        if self.system.streaming is not None:
            return stream_samples(self.system, batch, {"text": prompts}, [derive_seed(seed, i) for i in range(len(prompts))])
        return draw_samples(self.system, batch, prompts, seed)

    def save(self, folder: Path) -> None:
        from flipbook.interop.folder import save_pretrained

        save_pretrained(self.system, folder)


def teacher_of(system: System, name: str | None) -> System:
    """A frozen system by its folder or name; None: a frozen copy of the student as it came.

    Raises ValueError where the student is causal and its teacher is no other, and for a teacher that is causal itself.
    """
    if name is None:
        if system.streaming is not None:
            raise ValueError(f"{system.name} is causal, and its teacher sees whole clips. Try teacher: thumb, or the model that it was made of.")
        teacher = copy.copy(system)
        teacher.denoiser = copy.deepcopy(system.denoiser)
    else:
        from flipbook.interop.folder import from_pretrained, model_folder

        teacher = from_pretrained(model_folder(name), device=next(system.denoiser.parameters()).device)
        if teacher.streaming is not None:
            raise ValueError(f"teacher={name!r} is causal itself. Try one that sees whole clips, such as thumb.")
    return teacher.eval()


@torch.no_grad()
def tell(system: System, teacher: System, batch: Batch, seeds: Sequence[int], *, given: float, drop_text: float) -> Told:
    """given, drop_text: shares of clips, as in `denoising`; of a causal student frames of the first chunk alone are given."""
    z0 = system.autoencoder.encode(batch.video).float()
    chance = DenoisingOptions(given=given, drop_text=drop_text)
    draws = [Draw.of(seed, z0.shape[2], chance) for seed in seeds]
    is_given = torch.stack([draw.given for draw in draws]).to(z0.device)
    if system.streaming is not None:
        is_given[:, system.streaming.chunk :] = False
    captions = ["" if draw.drop_text else caption for draw, caption in zip(draws, batch.captions, strict=True)]

    def doors(teller: System, sentences: Sequence[str]) -> Doors:
        tokens, mask = teller.text_encoder.encode(list(sentences))
        return Doors(tokens=tokens, token_mask=mask)

    return Told(
        doors(system, captions), doors(teacher, captions), doors(teacher, [""] * len(captions)),
        is_given, z0, latent_index(system, batch).to(z0.device), frame_step(batch).to(z0.device),
    )  # fmt: skip


def guided(teacher: System, told: Told, scale: float, x: Tensor, t: Tensor) -> Tensor:
    """What the teacher takes x (B, C, T, h, w) at t (B, T) for, with guidance: x0, float32."""
    process, known = teacher.process, {"frame_is_given": told.given, "frame_index": told.index}
    x0: Tensor = process.denoiser(teacher.denoiser, told.rich, **known)(x, t).float()
    if scale == 1:
        return x0
    return torch.lerp(process.denoiser(teacher.denoiser, told.null, **known)(x, t).float(), x0, scale)


def over_wanted(values: Tensor, given: Tensor) -> Tensor:
    """(B,) means of (B, C, T, h, w) over the frames that are not given."""
    wanted = (~given).float()
    return (values.mean((1, 3, 4)) * wanted).sum(1) / wanted.sum(1).clamp(min=1)


def noise_of(like: Tensor, seeds: Sequence[int], what: str) -> Tensor:
    """Noise in the shape of `like`, each row's from its own seed and use."""
    rows = [torch.randn(like.shape[1:], generator=torch.Generator().manual_seed(derive_seed(seed, what))) for seed in seeds]
    return torch.stack(rows).to(like)
