"""Which frames of a training clip its network is told, as a stage of a cascade will be told them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from flipbook.long.known import Known, resized

Take = Literal["small", "keys", "ends", "first", "some", "any", "masks"]


@dataclass(frozen=True, kw_only=True)
class KnownFrames:
    """How known frames are taken from a clip. Where an autoencoder packs frames together, its latent frames are what is counted here.

    take:   "small" all frames, `factor` times smaller (spatial super-resolution);
            "keys"  every `gap`-th frame (temporal super-resolution);
            "ends"  the first and the last frame (interpolation);
            "first" the first k frames, k from `counts` (prediction; 0 in them teaches the model without);
            "some"  any of these but "small", or frames at random (masked completion, long.md's mask sampler);
            "any"   as "some" in half of the clips, and in the others each frame with one chance, drawn evenly: it may be none of them, or all;
            "masks" a kind of mask by chance (Open-Sora 1.2, arXiv:2412.20404): see `masked_places`.
    levels: they are noised to a level drawn evenly from this range, and the network is told it (noise augmentation).
    share:  share of the clips that are told anything at all.
    done:   with "small", share of the clips whose first frame is told in full size and without noise, as a chunk is told the last frame of the
            one before it.
    """

    take: Take
    factor: int = 4
    gap: int = 4
    counts: tuple[int, ...] = (0, 1, 2)
    levels: tuple[float, float] = (0.0, 0.0)
    share: float = 1.0
    done: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", tuple(self.counts))
        object.__setattr__(self, "levels", tuple(self.levels))
        if self.take not in get_args(Take):
            raise ValueError(f"known.take={self.take!r} is unknown. Try one of {', '.join(get_args(Take))}.")
        if not 0 <= self.levels[0] <= self.levels[1] <= 1:
            raise ValueError(f"known.levels={self.levels}: two noise levels, 0 <= first <= last <= 1. Try [0, 0.5].")
        if not 0 <= self.done <= 1 or (self.done and self.take != "small"):
            raise ValueError(f"known.done={self.done}: the share of small clips whose first frame is finished. Try take='small' and done=0.5.")

    def of(self, video: Tensor, generator: torch.Generator, ends: Sequence[int] | None = None) -> Known | None:
        """What is known of (3, T, H, W); None if nothing is. Stills are told their small picture, and no frames.

        ends: the last frame of each latent frame, if those are packed of several (`System.latent_ends`).
        """
        share, level, kind = torch.rand(3, generator=generator).tolist()
        level = self.levels[0] + (self.levels[1] - self.levels[0]) * level
        if share >= self.share:
            return None
        if self.take == "small":
            height, width = (side // self.factor for side in video.shape[-2:])
            frames = resized(video[None], height, width)[0]
            if not self.done or torch.rand((), generator=generator).item() >= self.done:
                return Known(frames=frames, level=level)
            soft = resized(frames[None], *video.shape[-2:])[0, :, 1:]
            return Known(frames=torch.cat([video[:, :1], soft], dim=1), level=level, clean=(0,))
        ends = range(video.shape[1]) if ends is None else ends
        chosen = self._places(len(ends), kind, generator)
        places = tuple(frame for place in chosen for frame in range(ends[place - 1] + 1 if place else 0, ends[place] + 1))
        return Known(frames=video[:, list(places)], places=places, level=level) if places else None

    def _places(self, num_frames: int, kind: float, generator: torch.Generator) -> tuple[int, ...]:
        if num_frames == 1:
            return ()
        if self.take == "some":
            return some_places(num_frames, kind, generator)
        if self.take == "any":
            return any_places(num_frames, kind, generator)
        if self.take == "masks":
            return masked_places(num_frames, kind, generator)
        if self.take == "keys":
            return tuple(range(0, num_frames, self.gap))
        if self.take == "ends":
            return (0, num_frames - 1)
        count = self.counts[int(kind * len(self.counts))]
        return tuple(range(min(count, num_frames - 1)))


def some_places(num_frames: int, kind: float, generator: torch.Generator) -> tuple[int, ...]:
    """A quarter of the clips: nothing; a quarter: the first 1 to T/2; 15 %: the last; 15 %: both ends; 20 %: any. One is always hidden."""
    half = 1 + int(torch.randint(max(1, num_frames // 2), (), generator=generator))
    if kind < 0.25:
        return ()
    if kind < 0.5:
        return tuple(range(half))
    if kind < 0.65:
        return tuple(range(num_frames - half, num_frames))
    if kind < 0.8:
        return (0, num_frames - 1) if num_frames > 2 else (0,)
    order = torch.randperm(num_frames, generator=generator).tolist()
    count = int(torch.randint(num_frames, (), generator=generator))
    return tuple(sorted(order[:count]))


def any_places(num_frames: int, kind: float, generator: torch.Generator) -> tuple[int, ...]:
    """Half of the clips: `some_places`; the others: each frame with one chance, drawn evenly from 0 to 1, so that all may be known."""
    if kind < 0.5:
        return some_places(num_frames, 2 * kind, generator)
    chance = 2 * kind - 1
    return tuple(frame for frame in range(num_frames) if torch.rand((), generator=generator).item() < chance)


def masked_places(num_frames: int, kind: float, generator: torch.Generator) -> tuple[int, ...]:
    """Ten kinds of masks, equally often: each frame with one chance, drawn from 0.1 to 0.9; every other frame; and one frame, or up to a
    quarter of them, at the head, at the tail, at both, or anywhere. One is always hidden, and the first is known where chance left none.
    """
    chance, quarter = torch.rand((), generator=generator).item(), 1 + int(torch.randint(max(1, num_frames // 4), (), generator=generator))
    order = torch.randperm(num_frames, generator=generator).tolist()
    number = int(kind * 10)
    if number == 0:
        ratio = 0.1 + 0.8 * chance
        found = {frame for frame in range(num_frames) if torch.rand((), generator=generator).item() < ratio}
    elif number == 1:
        found = set(range(0, num_frames, 2))
    else:
        count, where = (1 if number < 6 else quarter), (number - 2) % 4
        head, tail = range(count), range(num_frames - count, num_frames)
        found = set((head, tail, (*head, *tail), order[:count])[where])
    found = found or {0}
    return tuple(sorted(found if len(found) < num_frames else found - {order[0]}))
