"""`draw(domain, seed)`: the one way into the world. A domain is a scene drawer and a painter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import takes
from .clip import Clip
from .domains import PICTURES
from .layers import paint
from .takes_paint import paint_take

DOMAINS = (*PICTURES, "takes")
_TAKE_FRAMES, _CLIP_FRAMES = 96, 16


def draw(
    domain: str,
    seed: int,
    *,
    num_frames: int | None = None,
    height: int = 64,
    width: int = 64,
    fps: float = 8.0,
    held_out: bool | None = None,
    truth: bool = False,
    frames: Sequence[int] | None = None,
    **options: Any,
) -> Clip:
    """The clip of a seed: the same bytes on every machine, whatever was drawn before.

    domain: one of `DOMAINS`.   num_frames: by default 16, a take 96.   frames: paint only these (a still is cheap).
    held_out: None as it comes, False (training) without held-out combinations, True with one in the first object.
    truth: compute every truth now, and not when it is first asked for.
    options of `shapes`: `num_objects` 1 to 3; `plain` True for the plain grammar, plain colours and a camera at rest; `motions` that the
    first object may have.
    Raises ValueError for an unknown domain or option, and for a size in which nothing could be seen.
    """
    if domain not in DOMAINS:
        raise ValueError(f"domain={domain!r} does not exist. Try one of {', '.join(DOMAINS)}.")
    if num_frames is None:
        num_frames = _TAKE_FRAMES if domain == "takes" else _CLIP_FRAMES
    canvas = _canvas(height, width, num_frames)
    if held_out is not None and (domain == "shapes" or held_out):  # the other domains hold nothing out
        options["held_out"] = held_out
    known = PICTURES[domain].options if domain in PICTURES else {}
    for name, value in options.items():
        if name not in known:
            offer = ", ".join(known) or "none"
            raise ValueError(f"{name}={value!r}: domain {domain!r} has no such option. Try {offer}.")
    if domain == "takes":
        scene = takes.draw_scene(seed, canvas, num_frames)
    else:
        scene = PICTURES[domain].draw_scene(seed, canvas, **{**known, **options})
    clip = from_scene(scene, num_frames=num_frames, height=height, width=width, fps=fps, frames=frames)
    if truth:
        clip.truth()
    return clip


def from_scene(
    scene: Mapping[str, Any],
    *,
    num_frames: int | None = None,
    height: int = 64,
    width: int = 64,
    fps: float = 8.0,
    frames: Sequence[int] | None = None,
) -> Clip:
    """Paint a scene, for instance one read back from JSON, at any size, length and choice of frames.

    A take has the length it was drawn with. Raises ValueError for frames outside the clip.
    """
    num_frames = scene.get("num_frames", num_frames) or _CLIP_FRAMES
    _canvas(height, width, num_frames)
    index = tuple(range(num_frames)) if frames is None else tuple(frames)
    if not index or any(not 0 <= i < num_frames for i in index):
        raise ValueError(f"frames={index}: the clip has frames 0 to {num_frames - 1}. Try some of these.")
    if scene["domain"] == "takes":
        return Clip(paint_take(scene, index, height, width), scene["caption"], fps, scene, num_frames, index)
    u = np.array(index, np.float64) / max(num_frames - 1, 1)
    stack = PICTURES[scene["domain"]].build_stack(scene, u, height, width)
    clip = Clip(paint(stack), scene["caption"], fps, scene, num_frames, index)
    clip.__dict__["_stack"] = stack  # what Clip would build again at the first truth that is asked for
    return clip


def _canvas(height: int, width: int, num_frames: int) -> tuple[float, float]:
    """Width and height in units of the short side."""
    unit = min(height, width)
    if unit < 8 or num_frames < 1:
        raise ValueError(
            f"height={height}, width={width}, num_frames={num_frames}: nothing could be seen. "
            "Try sides of 8 pixels or more and at least 1 frame."
        )
    return width / unit, height / unit
