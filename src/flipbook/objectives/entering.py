"""How the rows of a training batch enter a network's doors: each by its own frame rate, and some by the null value of a guided entrance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from flipbook.conditions import (
    ClassLabel,
    Condition,
    Frames,
    Inputs,
    Motion,
    NoiseAugmentation,
    Request,
    Size,
    Text,
    empty_inputs,
)
from flipbook.long.known import BY_FRAMES, Known, known_of
from flipbook.nn.doors import Doors
from flipbook.shapes import tensor_to_pixels
from flipbook.systems.base import System

FASTEST = 0.06
"""Mean optical flow in short sides per second that is bucket 255."""


def entered(
    system: System, requests: Sequence[Request], size: Size, latent: Sequence[int], seeds: Sequence[int], fps: Sequence[float],
    silent: Sequence[bool], device: torch.device,
) -> Inputs:  # fmt: skip
    """Inputs of all rows. latent: (C, T, h, w).   fps: of each row, in the place of the size's.   silent: rows for which every
    entrance that guidance may switch off has its null value. Known frames that no entrance reads stand in the clip itself.
    """
    conditions = system.conditions
    if any(known_of(request) is not None for request in requests) and not any(Known in entrance.kinds for entrance in conditions):
        conditions = (*conditions, BY_FRAMES)                               # asked for as pictures by `generate`, in training they are latents already
    groups: dict[tuple[float, bool], list[int]] = {}
    for row, key in enumerate(zip(fps, silent, strict=True)):
        groups.setdefault(key, []).append(row)
    parts = []
    for (rate, off), rows in groups.items():
        some = [requests[row] for row in rows]
        inputs = empty_inputs(replace(size, fps=rate), latent, [seeds[row] for row in rows], device)
        for entrance in conditions:
            inputs = (entrance.null if off and entrance.null else entrance.enter)(system, some, inputs)
        parts.append(inputs)
    if len(parts) == 1:
        return parts[0]
    place = torch.tensor([row for rows in groups.values() for row in rows]).argsort()
    join = lambda values: torch.cat(list(values))[place.to(device)]
    return replace(
        parts[0], size=size, seeds=tuple(seeds), is_given=join(p.is_given for p in parts), given=join(p.given for p in parts),
        doors=_joined([p.doors for p in parts], place.to(device)),
    )  # fmt: skip


def said(system: System, caption: str) -> Condition:
    """A caption as a condition: the class that it names, for a system of classes, else a sentence."""
    return ClassLabel(caption) if system.classes else Text(caption)


def _joined(doors: Sequence[Doors], place: Tensor) -> Doors:
    """The doors of several groups as those of one batch; rows of tokens are filled up behind their mask."""
    values: dict[str, Tensor] = {}
    longest = max((d.tokens.shape[1] for d in doors if d.tokens is not None), default=0)
    for name in (f.name for f in fields(Doors)):
        parts = [getattr(d, name) for d in doors]
        if name in ("residuals", "keys_values") or parts[0] is None:
            continue
        if name == "tokens":
            parts = [F.pad(p, (0, 0, 0, longest - p.shape[1])) for p in parts]
        elif name == "token_mask":
            parts = [F.pad(p, (0, longest - p.shape[1])) for p in parts]
        values[name] = torch.cat(parts)[place]
    return replace(doors[0], **values)  # type: ignore[arg-type]


def animated(clip: Tensor, motion: float | None, chance: torch.Generator) -> Request:
    """A clip (3, T, H, W) as an animation of its own first frame: the picture, its noise, and how much moves.

    The noise's logarithm is normal with mean -3 and deviation 0.5 (arXiv:2311.15127, appendix D).
    motion: mean optical flow in short sides per second, which becomes a bucket of 0 to 255. Raises ValueError where it is not known.
    """
    if motion is None:
        raise ValueError("the clips do not say how much moves, and the network is to be told. Try data sources with motion: true.")
    level = math.exp(-3.0 + 0.5 * torch.randn((), generator=chance).item())
    return (Frames({0: tensor_to_pixels(clip[None, :, :1])[0, 0]}), Motion(bucket_of(motion)), NoiseAugmentation(level))


def bucket_of(motion: float) -> float:
    """Mean optical flow in short sides per second to a motion bucket."""
    return 255.0 * min(1.0, motion / FASTEST)
