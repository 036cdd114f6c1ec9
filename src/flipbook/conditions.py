"""Conditions: what a request gives, as small frozen objects, and the recipe that leads each to a network's doors.

A request is a list of conditions, `[Text("a red ball falls"), FirstFrame("ball.png")]`. A system's *condition recipe*
is a tuple of `Entrance`s: each says which conditions it reads, what it turns them into, and, if guidance may switch it
off, its null value. A new condition is a new class and a new entrance; `generate` stays as it is.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from flipbook.nn.doors import Doors
from flipbook.shapes import pixels_to_tensor, tensor_to_pixels
from flipbook.video import Video

if TYPE_CHECKING:
    from PIL import Image

    from flipbook.systems.base import System

    Picture = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor
    """A path to an image or a video (its first frame), a PIL image, uint8 (H, W, 3), or float (3, H, W) in [-1, 1]."""


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


@dataclass(frozen=True, kw_only=True)
class Size:
    """num_frames at fps frames per second, height x width pixels."""

    num_frames: int
    fps: float
    height: int
    width: int


Request = tuple[Condition, ...]
TRY_A_REQUEST = "Try a sentence, or a list of conditions such as [Text('...'), FirstFrame(image)]."


@dataclass(frozen=True, eq=False, kw_only=True)
class Inputs:
    """What a batch of requests became.

    doors:    the network's doors but the fifth.
    is_given: (B, T) bool, the frames door: which frames are known.
    given:    (B, C, T, h, w) latents of those frames, 0 elsewhere.
    """

    is_given: Tensor
    given: Tensor
    doors: Doors = field(default_factory=Doors)


Enter = Callable[["System", Sequence[Request], Inputs], Inputs]


@dataclass(frozen=True, kw_only=True)
class Entrance:
    """How conditions of some kinds enter one kind of system.

    name:  the entrance's name in the guidance list.
    kinds: the conditions it reads, in a resolved batch: frames are `Frames` of uint8 pictures in the video's size.
    enter: puts what they become into the inputs.
    null:  the same with the null value; None: what is given cannot be switched off by guidance.
    """

    name: str
    kinds: tuple[type[Condition], ...]
    enter: Enter
    null: Enter | None = None


def text_tokens(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """The sentence by the text encoder into the `tokens` door."""
    return _tokens(system, [text_of(request).prompt for request in requests], inputs)


def null_tokens(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """The negative prompt, by default the empty sentence, into the `tokens` door."""
    return _tokens(system, [text_of(request).negative_prompt for request in requests], inputs)


def given_frames(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """Given pictures by the autoencoder into the `frames` door: their latents stand in the clip at noise level 0.

    For autoencoders that see each frame by itself (one latent frame per frame).
    """
    is_given, given = inputs.is_given.clone(), inputs.given.clone()
    for row, request in enumerate(requests):
        for frame, picture in sorted(pictures_of(request).items()):
            pixels = pixels_to_tensor(picture[None])[None].to(given.device)  # (1, 3, 1, H, W)
            is_given[row, frame] = True
            given[row, :, frame] = system.autoencoder.encode(pixels)[0, :, 0].to(given.dtype)
    return replace(inputs, is_given=is_given, given=given)


TEXT = Entrance(name="text", kinds=(Text,), enter=text_tokens, null=null_tokens)
GIVEN_FRAMES = Entrance(name="frames", kinds=(Frames, FirstFrame, LastFrame), enter=given_frames)
TEXT_AND_FRAMES = (TEXT, GIVEN_FRAMES)
"""Text by cross-attention, given frames at noise level 0 (as Wan 2.2, arXiv:2503.20314)."""


def branches(
    recipe: Sequence[Entrance], system: System, requests: Sequence[Request], inputs: Inputs
) -> tuple[Inputs, dict[str, Doors]]:
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


def resolve(request: Request, size: Size, recipe: Sequence[Entrance] = TEXT_AND_FRAMES) -> Request:
    """The same request with a `Text` in front and all pictures as one `Frames` of uint8 (H, W, 3) at their places.

    Raises ValueError for a condition that no entrance reads, two texts, a place outside the clip or taken twice, or
    a clip that is given whole.
    """
    kinds = tuple(kind for entrance in recipe for kind in entrance.kinds)
    rest: list[Condition] = []
    pictures: dict[int, np.ndarray] = {}
    for condition in request:
        if not isinstance(condition, kinds):
            taken = ", ".join(kind.__name__ for kind in kinds)
            raise ValueError(f"{type(condition).__name__} is no condition of this system. It takes {taken}.")
        if not isinstance(condition, Frames | FirstFrame | LastFrame):
            rest.append(condition)
            continue
        for index, picture in _places(condition).items():
            frame = index + size.num_frames if index < 0 else index
            if not 0 <= frame < size.num_frames:
                raise ValueError(
                    f"frame {index} is given, but the clip has {size.num_frames} frames, 0 to {size.num_frames - 1}."
                )
            if frame in pictures:
                raise ValueError(f"frame {frame} is given twice. Keep one picture for it.")
            pictures[frame] = read_picture(picture, size.height, size.width)
    if sum(isinstance(condition, Text) for condition in rest) > 1:
        raise ValueError("two texts were given for one video. Join them to one sentence.")
    if len(pictures) == size.num_frames:
        raise ValueError(f"all {size.num_frames} frames are given: nothing is left to make. Try a larger num_frames.")
    if not any(isinstance(condition, Text) for condition in rest):
        rest.insert(0, Text())
    return (*rest, Frames(dict(sorted(pictures.items())))) if pictures else tuple(rest)


def read_picture(picture: Picture, height: int, width: int) -> np.ndarray:
    """Any picture as uint8 (height, width, 3): scaled, antialiased, cut at its centre. Raises ValueError for others."""
    if isinstance(picture, str | os.PathLike):
        return Video.read(picture, start_frame=0, num_frames=1, height=height, width=width, audio=False).frames[0]
    if isinstance(picture, Tensor):
        if picture.ndim != 3 or picture.shape[0] != 3 or not picture.is_floating_point():
            raise ValueError(
                f"a picture is a {picture.dtype} tensor of shape {tuple(picture.shape)}: "
                "tensors are float (3, H, W) in [-1, 1]."
            )
        pixels = tensor_to_pixels(picture[:, None])[0]
    elif hasattr(picture, "convert"):
        pixels = np.asarray(picture.convert("RGB"))
    else:
        pixels = np.asarray(picture)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3:
        raise ValueError(
            f"a picture is {pixels.dtype} of shape {pixels.shape}: arrays are uint8 (H, W, 3). "
            "A path, a PIL image or a float tensor (3, H, W) in [-1, 1] will do as well."
        )
    return Video(pixels[None], fps=1.0).resize(height, width).frames[0]


def to_json(request: Request) -> list[dict[str, Any]]:
    """A resolved request as plain data; pictures ride along as PNG, so that no other file is needed."""
    return [
        {"kind": "Frames", "pictures": {str(i): _png(p) for i, p in condition.pictures.items()}}
        if isinstance(condition, Frames)
        else {"kind": type(condition).__name__} | vars(condition)
        for condition in request
    ]


def from_json(conditions: Sequence[Mapping[str, Any]]) -> Request:
    """The request that `to_json` wrote. Raises ValueError for a kind that this version does not know."""
    return tuple(_from_json(dict(condition)) for condition in conditions)


def text_of(request: Request) -> Text:
    """The text of a request, empty if it has none."""
    return next((condition for condition in request if isinstance(condition, Text)), Text())


def pictures_of(request: Request) -> dict[int, Any]:
    """The given pictures of a resolved request by frame."""
    return {i: p for condition in request if isinstance(condition, Frames) for i, p in condition.pictures.items()}


def _tokens(system: System, sentences: list[str], inputs: Inputs) -> Inputs:
    rows, mask = system.text_encoder.encode(sentences)
    return replace(inputs, doors=inputs.doors.with_(tokens=rows, token_mask=mask))


def _request(item: Any) -> Request:
    if isinstance(item, str):
        return (Text(item),)
    if isinstance(item, Condition):
        return (item,)
    if isinstance(item, Sequence) and item and all(isinstance(part, Condition) for part in item):
        return tuple(item)
    raise ValueError(f"{item!r} is no request. {TRY_A_REQUEST}")


def _places(condition: Frames | FirstFrame | LastFrame) -> Mapping[int, Picture]:
    if isinstance(condition, Frames):
        return condition.pictures
    return {0 if isinstance(condition, FirstFrame) else -1: condition.image}


def _png(pixels: Any) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _from_json(values: dict[str, Any]) -> Condition:
    from PIL import Image

    kind = values.pop("kind", None)
    if kind == "Text":
        return Text(**values)
    if kind == "Frames":
        pngs = {int(i): base64.b64decode(p.partition(",")[2]) for i, p in values["pictures"].items()}
        return Frames({i: np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) for i, png in pngs.items()})
    raise ValueError(f"a condition of kind {kind!r} is not known to this version of flipbook.")


def empty_inputs(batch: int, latent: Sequence[int], device: torch.device | str = "cpu") -> Inputs:
    """Inputs in which nothing is given yet; latent is (C, T, h, w)."""
    return Inputs(
        is_given=torch.zeros(batch, latent[1], dtype=torch.bool, device=device),
        given=torch.zeros(batch, *latent, device=device),
    )
