"""VDM, Video Diffusion Models: a factorised space-time U-Net on pixels that learns from clips and stills together.

Clips longer than the network's, frames between frames and larger pictures come by gradients of an energy while sampling:
`flipbook.steering`. Clips and stills ride in one batch, kept apart by the network: `objectives/conditioned.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flipbook.autoencoders.pixels import Pixels, PixelsConfig
from flipbook.conditions import TEXT
from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.denoisers.unet_tables import VDM as TABLE
from flipbook.encoders.wordlist import WORDS
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.long.stage import levels_at
from flipbook.process.path import Cosine
from flipbook.process.process import Process
from flipbook.process.spacing import linspace
from flipbook.steering import clip_at
from flipbook.systems.base import Card, Stage, System
from flipbook.systems.demo import DEMO_WORDS, SHAPE, Demo, Lesson

CARD = Card(
    name="vdm",
    title="Video Diffusion Models",
    arxiv="2204.03458",
    year=2022,
    authors="Jonathan Ho, Tim Salimans, Alexey Gritsenko, William Chan, Mohammad Norouzi, David J. Fleet",
    reproduces=(
        "A 2D U-Net whose temporal attention has distance buckets, in the layout of lucidrains' code with its rotary embedding.",
        "Stills appended to clips, kept apart by the image-only switch.",
        "Reconstruction guidance in time and space, the replacement method, Langevin corrections.",
    ),
    leaves_out=(
        "The distance biases are not shared by all layers.",
        "Sentences enter by cross-attention to our own words, not as one pooled BERT vector.",
    ),
    citation="@inproceedings{ho2022video, title={Video Diffusion Models}, author={Ho, Jonathan and Salimans, Tim and Gritsenko, Alexey and Chan, "
    "William and Norouzi, Mohammad and Fleet, David J.}, booktitle={NeurIPS}, year={2022}}",
)

STAGES = (
    Stage(
        name="joint", trains=("spatial", "temporal", "conditioning"), data="captioned clips, each with stills of other clips behind it",
        objective="conditioned", options={"form": "append", "stills": 4}, parts=("denoiser", "text_encoder"),
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class VDMConfig:
    """Sizes. first: the noise level that sampling starts from, just short of pure noise, of which an eps prediction says nothing."""

    denoiser: UNetConfig = field(
        default_factory=lambda: UNetConfig(
            in_channels=3, widths=(64, 128, 256, 512), depths=(2, 2, 2, 2), transformers=(0, 1, 1, 1), heads=(8, 8, 8, 8), text_dim=192,
            time_scale_shift=True, clock="edm", inserts=TABLE,
        )
    )  # fmt: skip
    autoencoder: PixelsConfig = field(default_factory=lambda: PixelsConfig(patch=1))
    text_encoder: WordEncoderConfig = field(default_factory=lambda: WordEncoderConfig(words=WORDS))
    first: float = 0.995


TINY = VDMConfig(
    denoiser=UNetConfig(
        in_channels=3, widths=(16, 32), depths=(1, 1), transformers=(0, 1), heads=(2, 2), text_dim=32, groups=8,
        time_scale_shift=True, clock="edm", inserts=TABLE,
    ),
    text_encoder=WordEncoderConfig(words=WORDS, dim=32, depth=1, num_heads=2),
)  # fmt: skip

DEMO = Demo(
    networks={"vdm": VDMConfig(
        denoiser=UNetConfig(
            in_channels=12, widths=(32, 64), depths=(1, 1), transformers=(0, 1), heads=(2, 4), text_dim=64, groups=8,
            time_scale_shift=True, clock="edm", inserts=TABLE,
        ),
        autoencoder=PixelsConfig(patch=2), text_encoder=DEMO_WORDS,
    )},
    lessons=(Lesson(network="vdm", stage="joint", batch=20),), latents=False,
    settings={**SHAPE, "guidance_scale": 2.0, "num_inference_steps": 32},
)  # fmt: skip
"""Pixels two by two: a quarter of the places, twelve numbers at each."""

DEFAULTS: dict[str, Any] = {
    "num_frames": 16, "fps": 8.0, "height": 64, "width": 64, "sampler": "ddpm", "num_inference_steps": 128, "guidance_scale": 2.0,
}  # fmt: skip


def compose(*, defaults: dict[str, Any] | None = None, first: float = 0.995, **parts: Any) -> System:
    """The system of parts that are there: denoiser, autoencoder (pixels), text_encoder; name and card if they have others."""
    return System(
        **{"name": CARD.name, **parts}, method=CARD.name, process=Process(Cosine(), predicts="eps"), defaults=DEFAULTS | (defaults or {}),
        conditions=(TEXT,), levels=levels_at(partial(linspace, first=first)), x0_hook=clip_at(1.0 / parts["autoencoder"].config.scale),
    )  # fmt: skip


def build(config: VDMConfig | None = None) -> System:
    """The system with fresh weights."""
    config = config or VDMConfig()
    return compose(
        denoiser=UNet(config.denoiser), autoencoder=Pixels(config.autoencoder), text_encoder=WordEncoder(config.text_encoder), first=config.first,
    )  # fmt: skip
