"""Make-A-Video: pictures with captions teach what things look like, clips without captions teach how they move.

The decoder reads the embedding of a picture, never words: of one of the clip's own frames in training, of the picture that the text
prior dreams up for a sentence in sampling. Pseudo-3D convolutions and attention start as the identity, and stills pass them by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, get_args

import torch

from flipbook.autoencoders.pixels import Pixels, PixelsConfig
from flipbook.conditions import Entrance, Inputs, Request, Text, first_of, frame_rate, numbers, text_of
from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.denoisers.unet_tables import MAKE_A_VIDEO
from flipbook.encoders.picture import PictureEncoder, PictureEncoderConfig
from flipbook.encoders.text_prior import TextPrior, TextPriorConfig
from flipbook.encoders.wordlist import WORDS
from flipbook.encoders.words import WordEncoderConfig
from flipbook.long.cascade import Cascade, CascadeStage
from flipbook.long.known import Shown, by_channels, masked, plain
from flipbook.long.stage import levels_at
from flipbook.nn.inserts import InsertTable
from flipbook.nn.inserts.micro_conditioning import Scalars
from flipbook.process.path import Cosine
from flipbook.process.process import Process
from flipbook.process.spacing import linspace
from flipbook.steering import clip_at
from flipbook.systems.base import Card, Stage, System
from flipbook.systems.demo import DEMO_WORDS, TWICE, Demo, Lesson, between, first_clip, larger

Kind = Literal["decoder", "interpolation", "upscaler", "frame-upscaler"]

CARD = Card(
    name="make-a-video",
    title="Make-A-Video: Text-to-Video Generation without Text-Video Data",
    arxiv="2209.14792",
    year=2022,
    authors="Uriel Singer, Adam Polyak, Thomas Hayes, Xi Yin, Jie An, Songyang Zhang, Qiyuan Hu, Harry Yang, Oron Ashual, Oran Gafni, and others",
    reproduces=(
        "Pseudo-3D convolution inside the blocks, born as the identity, and temporal attention born silent; stills skip both.",
        "A text prior, a decoder that reads picture embeddings and learns motion from clips without captions, a frame rate embedding.",
        "Masked completion for interpolation and extrapolation; an upscaler over frames, and one frame by frame with noise they share.",
    ),
    leaves_out=("CLIP: pictures are read by a small encoder that learns with the decoder.",),
    citation="@inproceedings{singer2023make, title={Make-A-Video: Text-to-Video Generation without Text-Video Data}, author={Singer, Uriel and "
    "Polyak, Adam and Hayes, Thomas and Yin, Xi and An, Jie and others}, booktitle={ICLR}, year={2023}}",
)

_SMALL: dict[str, Any] = {"shown": True, "drop_text": 1.0, "known": {"take": "small", "factor": 4, "levels": (0.0, 0.5)}}
STAGES = (
    Stage(
        name="image", trains=("spatial",), data="stills", objective="conditioned", options={"shown": True},
        parts=("denoiser", "image_encoder"),
    ),
    Stage(name="prior", trains=(), data="captioned stills", objective="prior", parts=("text_encoder",)),
    Stage(
        name="video", trains=("spatial", "temporal", "conditioning"), data="clips without captions, at several rates",
        objective="conditioned", options={"shown": True, "drop_text": 1.0},
    ),
    Stage(
        name="interpolation", trains=("spatial", "temporal", "conditioning"), data="clips some of whose frames are known",
        objective="conditioned", options={"shown": True, "drop_text": 1.0, "known": {"take": "any"}, "count_known": True},
    ),
    Stage(
        name="image-upscaler", trains=("spatial", "conditioning"), data="stills, and four times smaller ones with noise", objective="conditioned",
        options=_SMALL,
    ),
    Stage(
        name="upscaler", trains=("spatial", "temporal", "conditioning"), data="clips without captions, and four times smaller ones with noise",
        objective="conditioned", options=_SMALL,
    ),
)  # fmt: skip
"""The frame by frame upscaler has the stage of stills alone."""


@dataclass(frozen=True, kw_only=True)
class MakeAVideoConfig:
    """kind: which of the networks; "frame-upscaler" has no temporal layers."""

    kind: Kind = "decoder"
    image: UNetConfig = field(
        default_factory=lambda: UNetConfig(
            in_channels=3, widths=(128, 256, 384, 512), depths=(3, 3, 3, 3), transformers=(0, 1, 1, 1), heads=(4, 4, 6, 8), text_dim=192,
            time_scale_shift=True, clock="edm",
        )
    )  # fmt: skip
    autoencoder: PixelsConfig = field(default_factory=lambda: PixelsConfig(patch=1))
    image_encoder: PictureEncoderConfig = field(default_factory=PictureEncoderConfig)
    prior: TextPriorConfig = field(default_factory=lambda: TextPriorConfig(words=WordEncoderConfig(words=WORDS)))

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind={self.kind!r} is no network of Make-A-Video. Try one of {', '.join(get_args(Kind))}.")

    @property
    def denoiser(self) -> UNetConfig:
        """The image network with its inserts, and with what this network is told besides."""
        channels = self.image.in_channels
        door = {"decoder": 0, "interpolation": channels + 1, "upscaler": channels, "frame-upscaler": channels}[self.kind]
        names = ("fps", "level") if self.kind.endswith("upscaler") else ("fps",)
        inserts = InsertTable() if self.kind == "frame-upscaler" else MAKE_A_VIDEO
        return replace(self.image, channel_door=door, vector=(Scalars(names=names),), inserts=inserts)


TINY = MakeAVideoConfig(
    image=UNetConfig(
        in_channels=3, widths=(16, 32), depths=(1, 1), transformers=(0, 1), heads=(2, 2), text_dim=32, groups=8, time_scale_shift=True, clock="edm"
    ),
    image_encoder=PictureEncoderConfig(dim=32),
    prior=TextPriorConfig(words=WordEncoderConfig(words=WORDS, dim=32, depth=1, num_heads=2), dim=32, depth=1, num_heads=2, steps=4),
)

_DEMO = MakeAVideoConfig(
    image=UNetConfig(
        in_channels=12, widths=(32, 64), depths=(1, 1), transformers=(0, 1), heads=(2, 4), text_dim=64, groups=8, time_scale_shift=True, clock="edm",
    ),
    autoencoder=PixelsConfig(patch=2), image_encoder=PictureEncoderConfig(dim=64),
    prior=TextPriorConfig(words=DEMO_WORDS, dim=64, depth=2, num_heads=2, steps=16),
)
DEMO = Demo(
    networks={kind: replace(_DEMO, kind=kind) for kind in get_args(Kind)},
    lessons=(
        Lesson(network="decoder", stage="image", frames=1, side=16, batch=64, share=0.3),
        Lesson(network="decoder", stage="prior", frames=1, side=16, batch=128, share=0.07),
        Lesson(network="decoder", stage="video", side=16, share=0.33),
        Lesson(network="interpolation", stage="interpolation", start="decoder", frames=3, stride=1, side=16, batch=32, share=0.1),
        Lesson(network="upscaler", stage="image-upscaler", start="decoder", frames=1, batch=16, share=0.07, options={"known": TWICE}),
        Lesson(network="upscaler", stage="upscaler", frames=3, stride=1, batch=8, share=0.07, options={"known": TWICE}),
        Lesson(network="frame-upscaler", stage="image-upscaler", start="upscaler", frames=1, side=64, batch=8, share=0.06, options={"known": TWICE}),
    ),
    cascade=Cascade("make-a-video", (
        first_clip("decoder", height=16, width=16),
        between("interpolation", height=16, width=16),
        larger("upscaler", window=3, height=32, width=32),
        larger("frame-upscaler", window=1, same_noise=True, shared_noise=True),
    )),
    latents=False,
)  # fmt: skip
"""All four networks, from 16 x 16 pixels to 64 x 64, two by two."""

DEFAULTS: dict[str, Any] = {
    "num_frames": 16, "fps": 8.0, "height": 64, "width": 64, "sampler": "ddim", "num_inference_steps": 50, "guidance_scale": 4.0,
}  # fmt: skip


def embedding(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """The row of a picture into the `tokens` door: of `Shown.picture`, or of what the text prior makes of the sentence."""
    shown = [first_of(request, Shown) for request in requests]
    rows = inputs.given.new_zeros(len(requests), 1, system.denoiser.config.text_dim)
    if any(one is None for one in shown):
        said = [row for row, one in enumerate(shown) if one is None and text_of(requests[row]).prompt]
        if said:
            rows[said] = system.text_encoder.encode([text_of(requests[row]).prompt for row in said])[0].to(rows)
    seen = [row for row, one in enumerate(shown) if one is not None]
    if seen:
        pictures = torch.stack([one.picture for one in shown if one is not None]).to(rows)
        rows = rows.index_copy(0, torch.tensor(seen, device=rows.device), system.image_encoder.encode(pictures).to(rows))
    return _tokens(inputs, rows)


def no_embedding(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """The null of `embedding`: a row of zeros."""
    return _tokens(inputs, inputs.given.new_zeros(len(requests), 1, system.denoiser.config.text_dim))


def _tokens(inputs: Inputs, rows: torch.Tensor) -> Inputs:
    mask = torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device)
    return replace(inputs, doors=inputs.doors.with_(tokens=rows, token_mask=mask))


EMBEDDING = Entrance(name="text", kinds=(Text, Shown), enter=embedding, null=no_embedding, defaults=(Text(),))
_LARGER = (numbers(frame_rate), by_channels(plain, told_as=1.0), EMBEDDING)
CONDITIONS = {
    "decoder": (numbers(frame_rate), EMBEDDING),
    "interpolation": (numbers(frame_rate), by_channels(masked), EMBEDDING),
    "upscaler": _LARGER,
    "frame-upscaler": _LARGER,
}


def compose(*, name: str = "make-a-video", defaults: dict[str, Any] | None = None, **parts: Any) -> System:
    """A network of parts that are there, the one that its name ends with; without one it is the decoder."""
    return System(
        name=name, method=CARD.name, process=Process(Cosine(), predicts="eps"), defaults=DEFAULTS | (defaults or {}),
        conditions=CONDITIONS.get(name.removeprefix(f"{CARD.name}-"), CONDITIONS["decoder"]), levels=levels_at(partial(linspace, first=0.995)),
        x0_hook=clip_at(1.0 / parts["autoencoder"].config.scale), **parts,
    )  # fmt: skip


def build(config: MakeAVideoConfig | None = None) -> System:
    """One of the networks with fresh weights."""
    config = config or MakeAVideoConfig()
    return compose(
        name=f"{CARD.name}-{config.kind}", denoiser=UNet(config.denoiser), autoencoder=Pixels(config.autoencoder),
        text_encoder=TextPrior(config.prior), image_encoder=PictureEncoder(config.image_encoder),
    )  # fmt: skip


def cascade(models: dict[str, str] | None = None, *, num_frames: int = 16, skip: int = 5, height: int = 64, width: int = 64) -> Cascade:
    """16 frames, 76 by completion between each pair, four times the size over frames, three times the size frame by frame."""
    models = models or {kind: f"make-a-video-{kind}" for kind in get_args(Kind)}
    many = skip * (num_frames - 1) + 1
    large: dict[str, Any] = {"num_frames": many, "fps": 8.0 * skip, "makes": "larger"}
    return Cascade("make-a-video", (
        CascadeStage(name="decoder", makes="clip", model=models["decoder"], num_frames=num_frames, fps=8.0, height=height, width=width),
        CascadeStage(
            name="interpolation", makes="between", model=models["interpolation"], num_frames=many, fps=8.0 * skip, gap=skip,
            height=height, width=width,
        ),
        CascadeStage(name="larger", model=models["upscaler"], height=4 * height, width=4 * width, window=16, level=0.1, **large),
        CascadeStage(
            name="largest", model=models["frame-upscaler"], height=12 * height, width=12 * width, window=1, level=0.1,
            same_noise=True, shared_noise=True, **large,
        ),
    ))  # fmt: skip
