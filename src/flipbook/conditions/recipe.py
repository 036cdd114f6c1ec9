"""The condition recipe of a system: how each condition turns into what, and by which doors it enters the network.

A recipe is a tuple of `Entrance`s: each says which conditions it reads, what it turns them into, and, if guidance may switch it
off, its null value. A new condition is a new class and a new entrance; `generate` stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from flipbook.conditions.given import Condition, Draft, FirstFrame, Frames, LastFrame, Request, Size, Text
from flipbook.conditions.pictures import Picture, read_clip, read_picture
from flipbook.nn.doors import Doors

if TYPE_CHECKING:
    from flipbook.systems.base import System

PICTURES = (Frames, FirstFrame, LastFrame)


@dataclass(frozen=True, eq=False, kw_only=True)
class Inputs:
    """What a batch of requests became.

    size:     of the clips, in frames and pixels.   seeds: one per sample, for what an entrance draws.
    doors:    the network's doors but the fifth.
    is_given: (B, T) bool, the frames door: which frames are known.
    given:    (B, C, T, h, w) latents of those frames, 0 elsewhere.
    draft:    (B, C, T, h, w) latents that the run starts from, noised, or None; strength: the share of its steps that run.
    """

    size: Size
    seeds: tuple[int, ...]
    is_given: Tensor
    given: Tensor
    doors: Doors = field(default_factory=Doors)
    draft: Tensor | None = None
    strength: float = 1.0


Enter = Callable[["System", Sequence[Request], Inputs], Inputs]


@dataclass(frozen=True, kw_only=True)
class Entrance:
    """How conditions of some kinds enter one kind of system.

    name:     the entrance's name in the guidance list.
    kinds:    the conditions it reads, in a resolved batch: frames are `Frames` of uint8 pictures in the video's size.
    enter:    puts what they become into the inputs.
    null:     the same with the null value; None: what is given cannot be switched off by guidance.
    places:   the frames that must be given, no more and no fewer; None: any.
    defaults: what a request without one of these kinds means.
    weight:   of its entry in the guidance list; None: the guidance scale that is asked for.
    """

    name: str
    kinds: tuple[type[Condition], ...]
    enter: Enter
    null: Enter | None = None
    places: tuple[int, ...] | None = None
    defaults: tuple[Condition, ...] = ()
    weight: float | None = None


def branches(recipe: Sequence[Entrance], system: System, requests: Sequence[Request], inputs: Inputs) -> tuple[Inputs, dict[str, Doors]]:
    """Lead a batch of resolved requests to the doors.

    Returns the inputs that hold in all branches, and the doors of each branch of the guidance list, fewest conditions
    first: "null" with all null values, then one more entrance on in each, named after it.
    """
    guided = [entrance for entrance in recipe if entrance.null is not None]
    for entrance in recipe:
        if entrance.null is None:
            inputs = entrance.enter(system, requests, inputs)
    doors = {}
    for number_on, name in enumerate(["null", *(entrance.name for entrance in guided)]):
        branch = inputs
        for i, entrance in enumerate(guided):
            lead = entrance.enter if i < number_on else entrance.null
            assert lead is not None
            branch = lead(system, requests, branch)
        doors[name] = branch.doors
    return inputs, doors


def resolve(request: Request, size: Size, recipe: Sequence[Entrance]) -> Request:
    """The same request with defaults in front, all pictures as one `Frames` of uint8 (H, W, 3) at their places, and drafts in size.

    Empty text asks for nothing: it is left out where no sentence is read.

    Raises ValueError for a condition that no entrance reads, two of one kind, a place outside the clip or taken twice, frames
    that the system needs and does not get, or a clip that is given whole.
    """
    kinds = tuple(kind for entrance in recipe for kind in entrance.kinds)
    rest: list[Condition] = []
    pictures: dict[int, np.ndarray] = {}
    for condition in request:
        if condition == Text() and Text not in kinds:
            continue
        if not isinstance(condition, kinds):
            taken = ", ".join(kind.__name__ for kind in kinds)
            raise ValueError(f"{type(condition).__name__} is no condition of this system. It takes {taken}.")
        if isinstance(condition, PICTURES):
            _place(condition, size, pictures)
            continue
        if any(isinstance(condition, type(other)) for other in rest):
            raise ValueError(_twice(condition))
        rest.append(_sized(condition, size))
    if len(pictures) == size.num_frames:
        raise ValueError(f"all {size.num_frames} frames are given: nothing is left to make. Try a larger num_frames.")
    for entrance in recipe:
        if entrance.places is not None and tuple(sorted(pictures)) != entrance.places:
            needed = ", ".join(map(str, entrance.places))
            raise ValueError(
                f"this system starts from a picture of frame {needed}, and frames {sorted(pictures)} are given. Try FirstFrame(image)."
            )
    defaults = [one for entrance in recipe for one in entrance.defaults if not any(isinstance(c, type(one)) for c in rest)]
    frames = (Frames(dict(sorted(pictures.items()))),) if pictures else ()
    return (*defaults, *rest, *frames)


def empty_inputs(size: Size, latent: Sequence[int], seeds: Sequence[int], device: torch.device | str = "cpu") -> Inputs:
    """Inputs in which nothing is given yet; latent is (C, T, h, w)."""
    return Inputs(
        size=size,
        seeds=tuple(seeds),
        is_given=torch.zeros(len(seeds), latent[1], dtype=torch.bool, device=device),
        given=torch.zeros(len(seeds), *latent, device=device),
    )


def _place(condition: Condition, size: Size, pictures: dict[int, np.ndarray]) -> None:
    for index, picture in _places(condition).items():
        frame = index + size.num_frames if index < 0 else index
        if not 0 <= frame < size.num_frames:
            raise ValueError(
                f"frame {index} is given, but the clip has {size.num_frames} frames, 0 to {size.num_frames - 1}."
            )
        if frame in pictures:
            raise ValueError(f"frame {frame} is given twice. Keep one picture for it.")
        pictures[frame] = read_picture(picture, size.height, size.width)


def _places(condition: Condition) -> dict[int, Picture]:
    if isinstance(condition, Frames):
        return dict(condition.pictures)
    assert isinstance(condition, FirstFrame | LastFrame)
    return {0 if isinstance(condition, FirstFrame) else -1: condition.image}


def _sized(condition: Condition, size: Size) -> Condition:
    if isinstance(condition, Draft):
        return Draft(read_clip(condition.clip, size.num_frames, size.height, size.width), condition.strength)
    return condition


def _twice(condition: Condition) -> str:
    if isinstance(condition, Text):
        return "two texts were given for one video. Join them to one sentence."
    return f"{type(condition).__name__} was given twice for one video. Keep one."
