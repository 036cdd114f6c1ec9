"""Open-Sora 1.2: text to video by blocks within frames and along time, on latents that two autoencoders made one behind the other.

Rectified flow, moved towards noise by the size of the clip. Any frames may be known: they stand clean in the clip at noise level 0, and
the network learned so with masks of ten kinds, so that it animates, goes on, fills in and joins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from flipbook.autoencoders.stacked import StackedAutoencoder, StackedAutoencoderConfig
from flipbook.autoencoders.temporal import TemporalAutoencoderConfig
from flipbook.conditions import DRAFT, GIVEN_FRAMES, TEXT, Entrance, Inputs, Request, Size, Text, numbers
from flipbook.conditions.entrances import null_tokens, text_tokens
from flipbook.conditions.given import text_of
from flipbook.denoisers.stdit import STDiT, STDiTConfig
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.long.cascade import Cascade, CascadeStage
from flipbook.long.known import BY_FRAMES
from flipbook.process.path import RectifiedFlow
from flipbook.process.process import Process
from flipbook.systems.base import Card, Stage, System
from flipbook.systems.demo import DEMO_WORDS, GUIDED, IMAGE_FIRST, Demo, Lesson
from flipbook.systems.latent import TINY_AUTOENCODER, TINY_WORDS, words

CARD = Card(
    name="opensora",
    title="Open-Sora: Democratizing Efficient Video Production for All",
    arxiv="2412.20404",
    year=2024,
    authors="Zangwei Zheng, Xiangyu Peng, Tianji Yang, Chenhui Shen, Shenggui Li, Hongxin Liu, Yukun Zhou, Tianyi Li, Yang You",
    reproduces=(
        "version 1.2: STDiT3 and the stacked autoencoder, read from the folders of their authors",
        "rectified flow with levels moved by the size of the clip, the frame rate as a number, places of patches by the size of the frame",
        "masks of ten kinds in training, known frames clean at level 0, a loss on the others alone; buckets are the recipe's own (`buckets`)",
    ),
    leaves_out=(
        "versions 1.0, 1.1, 1.3 and 2.0; edit ratios of given frames; scores in captions, which are ordinary words of a caption",
        "the adversary and the perceptual loss of the autoencoder's training, and its first target, the latents of the images",
        "T5 in its own folder: sentences of fresh systems are read by an encoder that learns with them",
    ),
    citation="""@article{zheng2024opensora,
  title={Open-Sora: Democratizing Efficient Video Production for All},
  author={Zheng, Zangwei and Peng, Xiangyu and Yang, Tianji and Shen, Chenhui and Li, Shenggui and Liu, Hongxin and Zhou, Yukun and Li, Tianyi and You, Yang},
  journal={arXiv preprint arXiv:2412.20404},
  year={2024}
}""",
)

MASKED = {"take": "masks", "share": 0.5}
TIMES = {"logit_normal": (0.0, 1.0)}
STAGES = (
    Stage(
        name="autoencoder in time", trains=(), parts=("autoencoder",), data="images and clips of 17 frames; the autoencoder of images keeps its bits",
        objective="autoencoding", options={"only": ("temporal",)},
    ),
    Stage(name="autoencoder", trains=(), parts=("autoencoder",), data="clips of up to 34 frames: both autoencoders at once", objective="autoencoding"),
    Stage(
        name="images", trains=("spatial", "conditioning"), data="captioned images in buckets of size and aspect", parts=("denoiser", "text_encoder"),
        options={"form": "separate", "stills": 1, **TIMES},
    ),
    Stage(
        name="time", trains=("temporal",), data="captioned clips in buckets of size, length and aspect; the image model keeps its bits",
        options={"known": MASKED, **TIMES},
    ),
    Stage(
        name="joint", trains=("spatial", "temporal", "conditioning"), data="captioned images and clips in buckets; half of the clips are masked",
        parts=("denoiser", "text_encoder"), options={"form": "separate", "stills": 1, "known": MASKED, **TIMES},
    ),
)  # fmt: skip

DEFAULTS: dict[str, Any] = {
    "num_frames": 51, "fps": 24.0, "height": 480, "width": 848, "sampler": "euler", "num_inference_steps": 30, "guidance_scale": 7.0,
}
STILL_RATE = 120.0
"""The frame rate that an image is told to have."""


@dataclass(frozen=True, kw_only=True)
class OpenSoraConfig:
    """The public sizes, but for the text encoder: a fresh one learns with the system."""

    denoiser: STDiTConfig = field(default_factory=STDiTConfig)
    autoencoder: StackedAutoencoderConfig = field(default_factory=StackedAutoencoderConfig)
    text_encoder: WordEncoderConfig = field(default_factory=lambda: words(4096))


TINY = OpenSoraConfig(
    denoiser=STDiTConfig(text_dim=32, dim=32, depth=2, num_heads=2, mlp_dim=64, base_cells=8),
    autoencoder=StackedAutoencoderConfig(
        image=replace(TINY_AUTOENCODER, dims=(16, 32), groups=8), chunk=5,
        temporal=TemporalAutoencoderConfig(dim=8, mults=(1, 1, 2), packs=(True, True), blocks=1, groups=4),
    ),
    text_encoder=TINY_WORDS,
)  # fmt: skip
DEMO = Demo(
    networks={"opensora": OpenSoraConfig(
        denoiser=STDiTConfig(text_dim=64, out_channels=4, dim=128, depth=4, num_heads=4, mlp_dim=512, base_cells=8), text_encoder=DEMO_WORDS,
    )},
    lessons=(
        replace(IMAGE_FIRST, network="opensora", share=0.3),
        Lesson(network="opensora", stage="joint", batch=16, share=0.7, options={"stills": 0, "known": {**MASKED, "share": 0.2}}),
    ),
    settings=GUIDED,
)  # fmt: skip
"""On latents of single frames: a minute does not teach an autoencoder that packs time."""


def frame_rate(request: Request, size: Size) -> float:
    """Frames per second; an image has a rate of its own."""
    return STILL_RATE if size.num_frames == 1 else size.fps


def rows_or_none(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """The sentence into the `tokens` door, and in the place of an empty one the network's rows for no text."""
    inputs = text_tokens(system, requests, inputs)
    tokens, mask = inputs.doors.tokens, inputs.doors.token_mask
    assert tokens is not None
    empty = torch.tensor([not text_of(request).prompt for request in requests], device=tokens.device)
    tokens = torch.where(empty[:, None, None], _none(system, tokens), tokens)
    return replace(inputs, doors=inputs.doors.with_(tokens=tokens, token_mask=None if mask is None else mask | empty[:, None]))


def rows_of_none(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """The network's rows for no text, as many as the sentence has; with a negative prompt, that one's."""
    if any(text_of(request).negative_prompt for request in requests):
        return null_tokens(system, requests, inputs)
    inputs = text_tokens(system, requests, inputs)
    assert inputs.doors.tokens is not None
    return replace(inputs, doors=inputs.doors.with_(tokens=_none(system, inputs.doors.tokens).expand(len(requests), -1, -1)))


def _none(system: System, tokens: Tensor) -> Tensor:
    """The network's rows for no text, as many as `tokens` (B, L, D) has: (L, D). Raises ValueError where there are fewer."""
    rows: Tensor = system.denoiser.null_text
    if len(rows) < tokens.shape[1]:
        raise ValueError(f"a text of {tokens.shape[1]} rows: this network has {len(rows)} rows that stand for no text. Try null_rows={tokens.shape[1]}.")
    return rows[: tokens.shape[1]].to(tokens)


NULL_ROWS = Entrance(name="text", kinds=(Text,), enter=rows_or_none, null=rows_of_none, defaults=TEXT.defaults)


def shift(base_side: float, size: Size, latent_frames: int) -> float:
    """How far levels move towards noise: the side of the frame over the base side, times the root of the latent frames."""
    return float((size.height * size.width * latent_frames) ** 0.5 / base_side)


def compose(*, name: str = "opensora", defaults: dict[str, Any] | None = None, **parts: Any) -> System:
    """The system of parts that are there: denoiser, autoencoder, text_encoder; name and card if they have others."""
    base_side = parts["denoiser"].config.base_cells * parts["autoencoder"].stride
    return System(
        **{"process": Process(RectifiedFlow(), "flow"), **parts}, name=name, method=CARD.name, index_fps=None,
        conditions=(numbers(frame_rate), NULL_ROWS if parts["denoiser"].config.null_rows else TEXT, GIVEN_FRAMES, BY_FRAMES, DRAFT),
        shift=lambda size, latent_frames: shift(base_side, size, latent_frames), defaults=DEFAULTS | (defaults or {}),
    )  # fmt: skip


def build(config: OpenSoraConfig | None = None) -> System:
    """The system with fresh weights."""
    config = config or OpenSoraConfig()
    return compose(
        denoiser=STDiT(config.denoiser), autoencoder=StackedAutoencoder(config.autoencoder), text_encoder=WordEncoder(config.text_encoder),
    )  # fmt: skip


def cascade(model: str = "opensora", *, num_frames: int = 119, window: int = 51, overlap: int = 17, height: int = 480, width: int = 848) -> Cascade:
    """A long clip as data: windows of whole chunks, each of which knows the last chunk before it."""
    return Cascade(CARD.name, (CascadeStage(
        name="clip", makes="clip", model=model, num_frames=num_frames, fps=24.0, height=height, width=width, window=window, overlap=overlap,
    ),))  # fmt: skip
