"""A system: the parts of one published method, put together; its card; its training stages.

A file in `systems/` has `CARD`, `STAGES`, a frozen config, `TINY`, `compose(...)`, which wires parts that are there already, and
`build(config)`, which makes the parts and composes them. What a system does differently from another is data here: `generate` asks
for it and never for the system's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from flipbook.conditions import TEXT_AND_FRAMES, Entrance, Inputs, Request, Size
from flipbook.data.batch import INDEX_FPS
from flipbook.guidance import Weight
from flipbook.long.streaming import Streaming
from flipbook.nn.causal import latent_ends
from flipbook.nn.doors import Doors
from flipbook.process.matrix import noise_levels
from flipbook.process.path import Path, shift_time
from flipbook.process.process import Process
from flipbook.samplers.common import Denoise, Hook, Noise

Denoiser = Any          # an nn.Module with the network contract: (x, t, doors, *, frame_is_given, frame_index, ...) and prepare(doors)
Autoencoder = Any       # an nn.Module with encode, decode and stride
TextEncoder = Any       # an nn.Module with encode and unknown_words
ImageEncoder = Any      # an nn.Module with encode: images (B, 3, H, W) in [-1, 1] to rows (B, L, D)

Group = Literal["spatial", "temporal", "conditioning"]
Guidance = Callable[[float, int], Weight]
"""(guidance_scale, num_frames) -> the weight of the last entry of the guidance list: a number, one per frame, or a function of t."""


class Levels(Protocol):
    """What lays out the noise levels of a run: see `process/matrix.py`."""

    def __call__(self, num_steps: int, num_frames: int, *, given: Any = ()) -> Tensor: ...


class Draw(Protocol):
    """What makes latents (B, C, T, h, w) without taking noise away, piece by piece or all at once: see `System.draws`."""

    def __call__(self, system: System, net: Any, requests: Sequence[Request], inputs: Inputs, doors: Mapping[str, Doors], guidance_scale: float) -> Tensor:
        """net: the denoiser in the dtype it runs in.   doors: of each branch of the guidance list, fewest conditions first, prepared."""


class Steer(Protocol):
    """What brings given frames into a run of a network that reads none, by a wrapper of its denoiser and a state hook: see `System.steer`."""

    def __call__(self, denoise: Denoise, inputs: Inputs, path: Path, matrix: Tensor, noise: Noise) -> tuple[Denoise, Hook | None]: ...


def constant_guidance(scale: float, num_frames: int) -> Weight:
    """The same weight for every frame and step."""
    return scale


@dataclass(frozen=True, kw_only=True)
class Card:
    """Where a method comes from, and what of it is here.

    reproduces, leaves_out: one short sentence each.   citation: BibTeX.
    """

    name: str
    title: str
    arxiv: str
    year: int
    authors: str
    reproduces: tuple[str, ...]
    leaves_out: tuple[str, ...] = ()
    citation: str


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a method's training.

    trains:    parameter groups of denoiser and autoencoder that learn, all other weights keep their bits; (): as the objective has it.
    data:      what it is trained on, in words.
    objective: name in `flipbook.objectives.base.OBJECTIVES`, with its `options`.
    parts:     parts of the system that learn; encoders of text and pictures do so whole.
    """

    name: str
    trains: tuple[Group, ...]
    data: str
    objective: str = "conditioned"
    options: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[str, ...] = ("denoiser",)

    def recipe(self) -> dict[str, Any]:
        """The `objective` entry of a training recipe for this stage."""
        if not self.trains:                                                 # the objective knows what it trains
            return {"name": self.objective, **self.options}
        train = {part: list(self.trains) if part in ("denoiser", "autoencoder") else "all" for part in self.parts}
        return {"name": self.objective, "train": train, **self.options}


@dataclass
class System:
    """denoiser + autoencoder + encoders + process, and how a request becomes a run of them.

    autoencoder: encode (B, 3, T, H, W) -> (B, C, T', H/s, W/s) and decode back; `autoencoder.stride` is s. T' = T, or by `time_stride` or
        `latent_ends` of an autoencoder that packs frames together.
    text_encoder: encode(list of sentences) -> rows (B, L, D) and mask (B, L). None: the system reads no text.
    image_encoder: encode(images (B, 3, H, W) in [-1, 1]) -> rows (B, L, D), for systems that read pictures as tokens.
    process: the noise path and what the denoiser predicts.
    defaults: what `generate` uses when it is not told otherwise (num_frames, fps, height, width, sampler, steps, guidance).
    conditions: the condition recipe, which leads each condition to the denoiser's doors.
    guidance: how guidance_scale becomes a weight, over frames or noise levels.
    levels: the noise-level matrix of a run.
    unit_noise: a run starts from noise of variance 1 even if the first level still holds a little of the data, as x_T ~ N(0, 1) of
        DDPM and latent diffusion; False: from sigma eps.
    sampler_options: by sampler's name, what it is called with besides (eta, variance, order).
    x0_hook: (x0, step) -> x0 on every prediction, for systems that clamp it.
    shift: (size, latent frames) -> how far all noise levels of a run, and of a lesson, are moved towards noise; None: not at all.
    index_fps: frame indices count frames of a clip at this rate, so that time keeps its meaning at any fps; None: they are plain
        numbers 0, 1, 2, ..., as public networks have them.
    streaming: what its denoiser was taught to remember, if it is causal: it makes its clips chunk by chunk, of any length. None: it is not.
    steer: what brings given frames into a run of a network that was never taught to read any, whose levels hold none of them; None: they enter by its doors.
    draws: by sampler's name, what makes the latents of a batch where no noise is taken away; {}: `flipbook.samplers` do.
    classes: names of the classes that its denoiser was taught, in the order of its `vector` door, whose last column says none; (): it is told none.
    method: its file's name in `SYSTEMS`; a saved folder is composed again by that file. "": by no file.
    """

    name: str
    denoiser: Denoiser
    autoencoder: Autoencoder
    text_encoder: TextEncoder
    process: Process
    defaults: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)
    image_encoder: ImageEncoder = None
    conditions: tuple[Entrance, ...] = TEXT_AND_FRAMES
    guidance: Guidance = constant_guidance
    levels: Levels = noise_levels
    unit_noise: bool = False
    sampler_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    x0_hook: Callable[[Tensor, int], Tensor] | None = None
    shift: Callable[[Size, int], float] | None = None
    index_fps: float | None = INDEX_FPS
    streaming: Streaming | None = None
    steer: Steer | None = None
    draws: Mapping[str, Draw] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    method: str = ""

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The networks by name, as they are saved and trained."""
        named = {
            "denoiser": self.denoiser, "autoencoder": self.autoencoder, "text_encoder": self.text_encoder, "image_encoder": self.image_encoder,
        }  # fmt: skip
        return {name: part for name, part in named.items() if part is not None}

    def latent_ends(self, num_frames: int) -> tuple[int, ...]:
        """The last frame that each latent frame packs; every frame by itself, for autoencoders that keep them apart.

        Raises ValueError for lengths that the autoencoder cannot pack, with the nearest it can.
        """
        if hasattr(self.autoencoder, "latent_ends"):
            ends: tuple[int, ...] = self.autoencoder.latent_ends(num_frames)
            return ends
        return latent_ends(num_frames, getattr(self.autoencoder, "time_stride", 1))

    def shifted(self, times: Tensor, size: Size) -> Tensor:
        """Times in [0, 1] as this system runs through them for clips of a size: nearer to noise, the larger they are, if it has a `shift`."""
        return times if self.shift is None else shift_time(times, self.shift(size, len(self.latent_ends(size.num_frames))))

    def guidance_list(self, branches: Iterable[str], scale: float, num_frames: int) -> list[tuple[str, Weight]]:
        """The guidance list over branches in their order: the first is where the sum starts, an entrance may have a weight of its own."""
        own = {entrance.name: entrance.weight for entrance in self.conditions if entrance.weight is not None}
        weight = self.guidance(scale, num_frames)
        return [(name, own.get(name, weight) if i else 1.0) for i, name in enumerate(branches)]

    def eval(self) -> System:
        """Switch every part to inference and return the system."""
        for part in self.parts.values():
            part.eval().requires_grad_(False)
        return self
