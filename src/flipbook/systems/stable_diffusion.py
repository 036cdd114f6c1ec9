"""Stable Diffusion: the image model that most video systems of 2022 to 2024 are built on, frame by frame.

One text, one image per frame: a clip of it is a set of pictures that do not know each other, the baseline that every temporal layer is
measured against.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flipbook.autoencoders.kl import KLAutoencoder, KLAutoencoderConfig
from flipbook.conditions import TEXT_AND_DRAFT
from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.interop.schedulers import SchedulerPlan
from flipbook.systems.base import Card, Stage, System
from flipbook.systems.demo import DEMO_WORDS, GUIDED, IMAGE_FIRST, Demo, demo_unet
from flipbook.systems.latent import PLAN, SD_1, TINY_AUTOENCODER, TINY_WORDS, run_by, tiny, words

CARD = Card(
    name="stable-diffusion",
    title="High-Resolution Image Synthesis with Latent Diffusion Models",
    arxiv="2112.10752",
    year=2022,
    authors="Rombach et al.",
    reproduces=("text to image on latents, each frame by itself", "public folders of Stable Diffusion 1.x and 2.x, read and written", "SDEdit from a draft"),
    leaves_out=("the safety checker", "inpainting and depth variants as systems; their networks load"),
    citation="""@inproceedings{rombach2022high,
  title={High-Resolution Image Synthesis with Latent Diffusion Models},
  author={Rombach, Robin and Blattmann, Andreas and Lorenz, Dominik and Esser, Patrick and Ommer, Bj{\\"o}rn},
  booktitle={CVPR},
  year={2022}
}""",
)

STAGES = (Stage(name="images", trains=("spatial",), data="captioned images, or single frames of clips", parts=("denoiser", "text_encoder")),)

DEFAULTS: dict[str, Any] = {
    "num_frames": 1, "fps": 8.0, "height": 512, "width": 512, "sampler": PLAN.sampler, "num_inference_steps": 50, "guidance_scale": 7.5,
}


@dataclass(frozen=True, kw_only=True)
class StableDiffusionConfig:
    """The sizes of Stable Diffusion 1.5."""

    autoencoder: KLAutoencoderConfig = field(default_factory=KLAutoencoderConfig)
    denoiser: UNetConfig = SD_1
    text_encoder: WordEncoderConfig = field(default_factory=lambda: words(768))


TINY = StableDiffusionConfig(autoencoder=TINY_AUTOENCODER, denoiser=tiny(SD_1), text_encoder=TINY_WORDS)
DEMO = Demo(
    networks={"image": StableDiffusionConfig(denoiser=demo_unet(SD_1), text_encoder=DEMO_WORDS)}, lessons=(IMAGE_FIRST,),
    settings=GUIDED,
)  # fmt: skip


def compose(*, plan: SchedulerPlan = PLAN, defaults: dict[str, Any] | None = None, **parts: Any) -> System:
    """The system of parts that are there: denoiser, autoencoder, text_encoder; name and card if they have others."""
    return System(
        **{"name": CARD.name, **parts}, method=CARD.name, conditions=TEXT_AND_DRAFT, index_fps=None, **run_by(plan),
        defaults=DEFAULTS | {"sampler": plan.sampler} | (defaults or {}),
    )  # fmt: skip


def build(config: StableDiffusionConfig | None = None) -> System:
    """The system with fresh weights."""
    config = config or StableDiffusionConfig()
    return compose(
        denoiser=UNet(config.denoiser), autoencoder=KLAutoencoder(config.autoencoder), text_encoder=WordEncoder(config.text_encoder),
    )  # fmt: skip
