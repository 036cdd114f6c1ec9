"""What a system learns in a minute: the variant of it that is trained on the world, and in which lessons.

`TINY` runs in milliseconds and learns nothing worth a look. `DEMO` is a second named config beside it: as wide as two cores can
train in about a minute on clips of 8 frames of 32 x 32 pixels, of a world of a few dozen sentences. Latent systems take the
autoencoder of thumb, 4 x 4 pixels to a cell, which is trained already; networks predict v, or the flow. `flipbook.demonstrate` runs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Literal

from flipbook.data.world.vocabulary import is_held_out
from flipbook.denoisers.unet import UNetConfig
from flipbook.encoders.wordlist import WORDS
from flipbook.encoders.words import WordEncoderConfig
from flipbook.long.cascade import Cascade, CascadeStage
from flipbook.process.process import Process
from flipbook.systems.latent import tiny

SENTENCES: tuple[str, ...] = tuple(
    f"a {colour} {shape} {motion} on a {background} background"
    for colour, shape, motion, background in product(
        ("red", "green", "blue", "yellow"), ("circle", "square"), ("moves right", "moves left", "falls"), ("black", "gray")
    )
    if not is_held_out(colour, shape, motion)
)
"""All that a demonstration is told of the world."""
SHOWN = ("a red circle moves right on a black background", "a blue square falls on a gray background",
         "a yellow circle moves left on a black background", "a green square moves right on a gray background")
"""The clips of its contact sheet."""

DEMO_WORDS = WordEncoderConfig(words=WORDS, dim=64, depth=1, num_heads=2)
SHAPE: dict[str, Any] = {"num_frames": 8, "fps": 4.0, "height": 32, "width": 32}
"""Every second frame of the world's 16."""

GUIDED = {**SHAPE, "guidance_scale": 3.0, "num_inference_steps": 20}

BEGINNING = 2
Asks = Literal["sentence", "picture", "beginning", "nothing"]


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One training stage of one network, at demonstration size.

    network: which of the demo's networks learns.   stage: the name in `STAGES` that says how.   share: of the training time.
    start:   "": from fresh weights or from this network's last lesson; another network of the demo, whose weights are taken where
             they fit; or another system, whose own demonstration is run first (the image model that most systems are built on).
    frames, stride, side: of the clips, whose 16 frames are at 8 fps.   batch: clips of an update.
    options: of the objective, instead of the stage's.   data: further options of the world.   recipe: keys of the training's recipe, instead of
             those of all demonstrations.
    """

    network: str
    stage: str
    share: float = 1.0
    start: str = ""
    frames: int = 8
    stride: int = 2
    side: int = 32
    batch: int = 8
    options: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Demo:
    """A system's demonstration.

    networks: configs of the system's file, by the name that lessons and cascade stages call them; the last one taught makes the clip
              if there is no cascade.
    settings: of sampling, instead of the system's defaults.
    asks:     what a request gives it; "beginning" are the first `BEGINNING` frames of the clip.
    latents:  True: the networks work on thumb's latents, whatever autoencoder their configs have; or the names of those that do.
    """

    networks: Mapping[str, Any]
    lessons: tuple[Lesson, ...]
    settings: Mapping[str, Any] = field(default_factory=lambda: dict(SHAPE))
    asks: Asks = "sentence"
    cascade: Cascade | None = None
    latents: bool | tuple[str, ...] = True

    def __post_init__(self) -> None:
        if strange := {lesson.network for lesson in self.lessons} - self.networks.keys():
            raise ValueError(f"lessons for {sorted(strange)}, which the demo has not. Its networks are {', '.join(self.networks)}.")


def in_v(process: Process) -> Process:
    """The same noise path, with a network that predicts v; on a straight path it keeps predicting the flow.

    An eps network's error is sigma / alpha times as large in the picture, at the noise levels that decide what stands where, and its loss hardly
    counts it: there a minute of lessons leaves noise. Demonstrations of systems that predict eps predict v on the system's own path.
    """
    return process if process.predicts == "flow" else replace(process, predicts="v")


def demo_unet(full: UNetConfig, **changes: Any) -> UNetConfig:
    """A U-Net of the same kind, of about five million weights: 8 x 8 and 4 x 4 cells, attention at both."""
    return tiny(full, **{"widths": (64, 128), "transformers": (1, 1), "heads": (4, 4), "text_dim": full.text_dim and 64, **changes})


def first_clip(network: str, **changes: Any) -> CascadeStage:
    """The first stage of a demonstration's cascade, called as its network."""
    stage: dict[str, Any] = {"num_inference_steps": 20, "guidance_scale": 3.0, **SHAPE}
    return CascadeStage(name=network, makes="clip", model=network, **{**stage, **changes})


def between(network: str, **changes: Any) -> CascadeStage:
    """The stage behind it: all 15 frames at the world's own rate, of which the first stage made every second one."""
    stage: dict[str, Any] = {**SHAPE, "num_frames": 15, "fps": 8.0, "gap": 2, "num_inference_steps": 12, "guidance_scale": 1.0}
    return CascadeStage(name=network, makes="between", model=network, **{**stage, **changes})


def larger(network: str, **changes: Any) -> CascadeStage:
    """The stage behind that: the same frames, twice as high and wide."""
    stage: dict[str, Any] = {"num_frames": 15, "fps": 8.0, "height": 64, "width": 64, "level": 0.1, "num_inference_steps": 12, "guidance_scale": 1.0}
    return CascadeStage(name=network, makes="larger", model=network, **{**stage, **changes})


PLACES: dict[str, Any] = {"times": (0.3, 1.0)}
"""Options of lessons on clips that start from an image model: the noise levels at which it is decided what stands where."""
TWICE: dict[str, Any] = {"take": "small", "factor": 2, "levels": (0.0, 0.5)}
"""What the networks of `larger` know in their lessons: clips half as high and wide, noised."""
IMAGE_FIRST = Lesson(network="image", stage="images", frames=1, batch=64)
"""Stills first, eight for the price of a clip."""
