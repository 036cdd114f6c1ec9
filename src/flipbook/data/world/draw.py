"""`draw(domain, seed)`: the one way into the world. A domain is a scene drawer and a painter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .clip import Clip
from .domains import PICTURES
from .layers import paint


DOMAINS = tuple(PICTURES)


def draw(
    domain: str,
    seed: int,
    *,
    num_frames: int = 16,
    height: int = 64,
    width: int = 64,
    fps: float = 8.0,
    held_out: bool | None = None,
    truth: bool = False,
    frames: Sequence[int] | None = None,
    **options: Any,
) -> Clip:
    """The clip of a seed: the same bytes on every machine, whatever was drawn before.

    domain: one of `DOMAINS`.   frames: paint only these frames of the clip's `num_frames` (a still costs a still).
    held_out: None as it comes, False (training) without held-out combinations, True with one in the first object.
    truth: compute every truth now, and not when it is first asked for.
    options of `shapes`: `num_objects` 1 to 3; `plain` True for the plain grammar, plain colours and a camera at rest.
    Raises ValueError for an unknown domain, option or size.
    """
    if domain not in PICTURES:
        raise ValueError(f"domain={domain!r} does not exist. Try one of {', '.join(DOMAINS)}.")
    known = PICTURES[domain].options
    if held_out is not None and (domain == "shapes" or held_out):  # the other domains hold nothing out
        options["held_out"] = held_out
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f"{unknown[0]}={options[unknown[0]]!r}: domain {domain!r} has no such option. Try {', '.join(known) or 'none'}."
        )
    unit = min(height, width)
    if unit < 8 or num_frames < 1:
        raise ValueError(
            f"height={height}, width={width}, num_frames={num_frames}: nothing could be seen. Try sides of 8 or more and 1 or more frames."
        )
    scene = PICTURES[domain].draw_scene(seed, (width / unit, height / unit), **{**known, **options})
    clip = from_scene(scene, num_frames=num_frames, height=height, width=width, fps=fps, frames=frames)
    if truth:
        clip.compute_truth()
    return clip


def from_scene(
    scene: Mapping[str, Any],
    *,
    num_frames: int = 16,
    height: int = 64,
    width: int = 64,
    fps: float = 8.0,
    frames: Sequence[int] | None = None,
) -> Clip:
    """Paint a scene, for instance one read back from JSON, at any size, length and choice of frames."""
    index = tuple(range(num_frames)) if frames is None else tuple(frames)
    if any(not 0 <= i < num_frames for i in index):
        raise ValueError(f"frames={index}: the clip has frames 0 to {num_frames - 1}.")
    u = np.array(index, np.float64) / max(num_frames - 1, 1)
    stack = PICTURES[scene["domain"]].build_stack(scene, u, height, width)
    return Clip(paint(stack), scene["caption"], fps, scene, num_frames, index)
