"""Stable Video Diffusion: a picture set in motion.

VideoLDM's layers with all weights trained, noise as in EDM, v-prediction. The picture enters twice: as one row of CLIP in cross-attention, and
as its raw latent beside every frame; three numbers say frame rate, amount of motion and how much noise the picture was given.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from flipbook.autoencoders.temporal_decoder import TemporalDecoderAutoencoder, TemporalDecoderAutoencoderConfig
from flipbook.conditions import ANIMATED_PICTURE, frame_rate_less_one, motion_bucket, noise_level, numbers
from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.denoisers.unet_tables import SVD as TABLE
from flipbook.encoders.picture import PictureEncoder, PictureEncoderConfig
from flipbook.guidance import Weight
from flipbook.interop.schedulers import SchedulerPlan
from flipbook.nn.inserts.micro_conditioning import Scalars
from flipbook.process.path import EDM
from flipbook.process.process import Process
from flipbook.systems.base import Card, Stage, System
from flipbook.systems.demo import SHAPE, Demo, Lesson, demo_unet
from flipbook.systems.latent import SD_2, run_by, tiny

CARD = Card(
    name="svd",
    title="Stable Video Diffusion: Scaling Latent Video Diffusion Models to Large Datasets",
    arxiv="2311.15127",
    year=2023,
    authors="Blattmann et al.",
    reproduces=(
        "image to video with frame rate, motion bucket and noise augmentation; guidance that rises over the frames",
        "the decoder that knows time", "public folders of 14 and 25 frames, read and written",
    ),
    leaves_out=("the text-to-video and multi-view models, of which no folders are public in this layout", "the 152 M clips"),
    citation="""@article{blattmann2023stable,
  title={Stable Video Diffusion: Scaling Latent Video Diffusion Models to Large Datasets},
  author={Blattmann, Andreas and Dockhorn, Tim and Kulal, Sumith and Mendelevitch, Daniel and Kilian, Maciej and Lorenz, Dominik and Levi, Yam and others},
  journal={arXiv preprint arXiv:2311.15127},
  year={2023}
}""",
)  # fmt: skip

ANIMATION: dict[str, Any] = {"animate": True, "drop_text": 1.0, "log_normal": (0.7, 1.6)}
STAGES = (
    Stage(name="image pretraining", trains=("spatial",), data="captioned images: Stable Diffusion 2.1's weights", options={"form": "separate", "stills": 1}),
    Stage(name="video pretraining", trains=("spatial", "temporal", "conditioning"), data="many curated clips at low resolution, 14 frames", options=ANIMATION),
    Stage(
        name="high-quality finetuning", trains=("spatial", "temporal", "conditioning"),
        data="few clips of high quality at 576 x 1024; the picture noised by exp(N(-3, 0.5)), dropped now and then", options=ANIMATION,
    ),
)  # fmt: skip

RECIPE = (ANIMATED_PICTURE, numbers(frame_rate_less_one, motion_bucket, noise_level))
PLAN = SchedulerPlan(process=Process(EDM(), "v"), sampler="euler", spacing="karras", ratio_min=0.002, ratio_max=700.0)
DEFAULTS: dict[str, Any] = {
    "num_frames": 14, "fps": 7.0, "height": 576, "width": 1024, "sampler": PLAN.sampler, "num_inference_steps": 25, "guidance_scale": 2.5,
}
DIFFUSERS_GUIDANCE = 3.0
"""`guidance_scale` of the reference pipeline, where the authors' code has 2.5."""


UNET = replace(SD_2, channel_door=4, clock="edm", inserts=TABLE, vector=(Scalars(names=("fps", "motion_bucket", "noise_aug"), silent=False),))


@dataclass(frozen=True, kw_only=True)
class SVDConfig:
    """The sizes of the published networks, but for the image encoder: a fresh one learns with the system, public folders bring CLIP."""

    autoencoder: TemporalDecoderAutoencoderConfig = field(default_factory=TemporalDecoderAutoencoderConfig)
    denoiser: UNetConfig = field(default_factory=lambda: UNET)
    image_encoder: PictureEncoderConfig = field(default_factory=lambda: PictureEncoderConfig(dim=1024))


TINY = SVDConfig(
    autoencoder=TemporalDecoderAutoencoderConfig(dims=(16, 32, 32), blocks=1, groups=8),
    denoiser=tiny(UNET), image_encoder=PictureEncoderConfig(dim=32),
)  # fmt: skip
DEMO = Demo(
    networks={"video": SVDConfig(denoiser=demo_unet(UNET), image_encoder=PictureEncoderConfig(dim=64))},
    lessons=(Lesson(
        network="video", stage="video pretraining", start="stable-diffusion", data={"motion": True},
        options={"train": {"denoiser": "all", "image_encoder": "all"}},
    ),),
    settings={**SHAPE, "guidance_scale": 1.5, "num_inference_steps": 20}, asks="picture",
)  # fmt: skip
"""Its image encoder is fresh and learns with the rest, where the paper has CLIP."""


def rising_guidance(scale: float, num_frames: int) -> Weight:
    """Weights (num_frames,) from 1 at the first frame, which is given, to `scale` at the last."""
    return torch.linspace(1.0, scale, num_frames)


def compose(*, plan: SchedulerPlan = PLAN, defaults: dict[str, Any] | None = None, **parts: Any) -> System:
    """The system of parts that are there: denoiser, autoencoder, image_encoder; name and card if they have others."""
    return System(
        **{"name": CARD.name, "text_encoder": None, **parts}, method=CARD.name, conditions=RECIPE, guidance=rising_guidance, index_fps=None,
        **run_by(plan), defaults=DEFAULTS | {"sampler": plan.sampler} | (defaults or {}),
    )  # fmt: skip


def build(config: SVDConfig | None = None) -> System:
    """The system with fresh weights."""
    config = config or SVDConfig()
    return compose(
        denoiser=UNet(config.denoiser), autoencoder=TemporalDecoderAutoencoder(config.autoencoder), image_encoder=PictureEncoder(config.image_encoder),
    )  # fmt: skip
