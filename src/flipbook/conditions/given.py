"""What a request gives, as small frozen objects, and requests as plain data."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from flipbook.conditions.pictures import Clip, Picture


class Condition:
    """What every condition is: something a request gives."""


@dataclass(frozen=True)
class Text(Condition):
    """A sentence that the video shows, and one that guidance leads away from. Null: the empty sentence."""

    prompt: str = ""
    negative_prompt: str = ""


@dataclass(frozen=True, eq=False)
class Frames(Condition):
    """Pictures that stand at known places of the clip, counted from 0, or backwards from -1. Null: no frame is given.

    A picture of another size than the video is scaled and cut at its centre.
    """

    pictures: Mapping[int, Picture]


@dataclass(frozen=True, eq=False)
class FirstFrame(Condition):
    """The picture that the clip starts with."""

    image: Picture


@dataclass(frozen=True, eq=False)
class LastFrame(Condition):
    """The picture that the clip ends with."""

    image: Picture


@dataclass(frozen=True, eq=False)
class Draft(Condition):
    """A clip to work over: noise is added up to `strength` and taken away again (SDEdit, arXiv:2108.01073).

    clip:     a path, a `Video`, or uint8 (T, H, W, 3) with as many frames as the video; scaled and cut at its centre.
    strength: share of the sampler's steps that run, in [0, 1]: 0 keeps the draft, 1 ignores it.
    """

    clip: Clip
    strength: float = 0.7

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength={self.strength}: 0 keeps the draft, 1 ignores it. Try 0.7.")


@dataclass(frozen=True)
class Motion(Condition):
    """How much moves, from 0 (little) to 255 (much): Stable Video Diffusion's motion bucket (arXiv:2311.15127)."""

    bucket: float = 127.0


@dataclass(frozen=True)
class NoiseAugmentation(Condition):
    """Noise of this standard deviation is added to the given pictures, in [-1, 1], and the network is told so.

    More of it leaves the network more freedom.
    """

    level: float = 0.02

    def __post_init__(self) -> None:
        if not self.level >= 0:
            raise ValueError(f"level={self.level}: a standard deviation is 0 or more. Try 0.02.")


@dataclass(frozen=True)
class Choice(Condition):
    """How freely the next code is drawn, for systems that say how likely each is.

    temperature: below 1 likely codes become likelier, 0 takes the likeliest.   top_k: only so many likeliest may be taken; 0: all.
    """

    temperature: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        if not self.temperature >= 0 or self.top_k < 0:
            raise ValueError(f"temperature={self.temperature}, top_k={self.top_k}: both are 0 or more. Try temperature=1.0, top_k=100.")


@dataclass(frozen=True)
class MotionSeed(Condition):
    """Draws how things move, apart from what there is, for systems that draw the two apart. Without it the video's own seed draws both."""

    seed: int


@dataclass(frozen=True)
class ClassLabel(Condition):
    """Which of the classes that a system was taught (`System.classes`) a clip is of, by name. Null: none of them, ""."""

    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Size:
    """num_frames at fps frames per second, height x width pixels."""

    num_frames: int
    fps: float
    height: int
    width: int


Request = tuple[Condition, ...]
TRY_A_REQUEST = "Try a sentence, or a list of conditions such as [Text('...'), FirstFrame(image)]."
PLAIN: dict[str, type[Condition]] = {kind.__name__: kind for kind in (Text, Motion, NoiseAugmentation, Choice, MotionSeed, ClassLabel)}
"""Conditions whose fields are plain data, by the name they have in a recipe."""

Kind = TypeVar("Kind", bound=Condition)


def as_requests(conditions: str | Condition | Sequence[str | Condition | Sequence[Condition]]) -> list[Request]:
    """One request or a batch of them, as a list of condition tuples.

    A sentence or a list of conditions is one request; a list of sentences or of lists of conditions is a batch.
    Raises ValueError for anything else.
    """
    if isinstance(conditions, str | Condition):
        return [_request(conditions)]
    if not isinstance(conditions, Sequence):
        raise ValueError(f"{conditions!r} is no request. {TRY_A_REQUEST}")
    items = list(conditions)
    if items and all(isinstance(item, Condition) for item in items):
        return [tuple(items)]  # type: ignore[arg-type]
    if not items:
        raise ValueError("no conditions were given. Try a sentence, or [Text(''), FirstFrame(image)].")
    return [_request(item) for item in items]


def first_of(request: Request, kind: type[Kind]) -> Kind | None:
    """The condition of one kind in a request, or None."""
    return next((condition for condition in request if isinstance(condition, kind)), None)


def text_of(request: Request) -> Text:
    """The text of a request, empty if it has none."""
    return first_of(request, Text) or Text()


def pictures_of(request: Request) -> dict[int, Any]:
    """The given pictures of a resolved request by frame."""
    return {i: p for condition in request if isinstance(condition, Frames) for i, p in condition.pictures.items()}


def to_json(request: Request) -> list[dict[str, Any]]:
    """A resolved request as plain data; pictures ride along as PNG, so that no other file is needed."""
    return [_to_json(condition) for condition in request]


def from_json(conditions: Sequence[Mapping[str, Any]]) -> Request:
    """The request that `to_json` wrote. Raises ValueError for a kind that this version does not know."""
    return tuple(_from_json(dict(condition)) for condition in conditions)


def _request(item: Any) -> Request:
    if isinstance(item, str):
        return (Text(item),)
    if isinstance(item, Condition):
        return (item,)
    if isinstance(item, Sequence) and item and all(isinstance(part, Condition) for part in item):
        return tuple(item)
    raise ValueError(f"{item!r} is no request. {TRY_A_REQUEST}")


def _to_json(condition: Condition) -> dict[str, Any]:
    if isinstance(condition, Frames):
        return {"kind": "Frames", "pictures": {str(i): _png(p) for i, p in condition.pictures.items()}}
    if isinstance(condition, Draft):
        return {"kind": "Draft", "clip": [_png(frame) for frame in np.asarray(condition.clip)], "strength": condition.strength}
    return {"kind": type(condition).__name__} | vars(condition)


def _from_json(values: dict[str, Any]) -> Condition:
    kind = values.pop("kind", None)
    if kind == "Frames":
        return Frames({int(i): _pixels(p) for i, p in values["pictures"].items()})
    if kind == "Draft":
        return Draft(np.stack([_pixels(frame) for frame in values["clip"]]), values["strength"])
    if kind in PLAIN:
        return PLAIN[kind](**values)
    raise ValueError(f"a condition of kind {kind!r} is not known to this version of flipbook.")


def _png(pixels: Any) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _pixels(png: str) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png.partition(",")[2]))).convert("RGB"))
