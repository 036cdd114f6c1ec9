"""AnimateDiff: one motion module, learned once on a frozen image model, that sets any fine-tune of it in motion.

The module sits behind every pair of residual block and attention; its last layer is zero at birth, so the network starts as the image
model, frame by frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from flipbook.autoencoders.kl import KLAutoencoder, KLAutoencoderConfig
from flipbook.conditions import TEXT_AND_DRAFT
from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.denoisers.unet_tables import ANIMATEDIFF_V2, animatediff
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.interop.schedulers import SchedulerPlan
from flipbook.process.process import Process
from flipbook.process.vp import VP
from flipbook.systems.base import Card, Stage, System
from flipbook.systems.demo import DEMO_WORDS, GUIDED, PLACES, Demo, Lesson, demo_unet
from flipbook.systems.latent import SD_1, TINY_AUTOENCODER, TINY_WORDS, run_by, tiny, words

CARD = Card(
    name="animatediff",
    title="AnimateDiff: Animate Your Personalized Text-to-Image Diffusion Models without Specific Tuning",
    arxiv="2307.04725",
    year=2023,
    authors="Guo et al.",
    reproduces=(
        "motion modules v1, v2 and v3 on any Stable Diffusion 1.x image model, kept apart or joined",
        "norms of the motion module per frame, as its authors ran it; over the clip, as diffusers does, by a switch",
    ),
    leaves_out=("low-rank adapters (domain adapter, MotionLoRA): they belong to adapters/", "SparseCtrl", "the SDXL module"),
    citation="""@inproceedings{guo2024animatediff,
  title={AnimateDiff: Animate Your Personalized Text-to-Image Diffusion Models without Specific Tuning},
  author={Guo, Yuwei and Yang, Ceyuan and Rao, Anyi and Liang, Zhengyang and Wang, Yaohui and Qiao, Yu and Agrawala, Maneesh and Lin, Dahua and Dai, Bo},
  booktitle={ICLR},
  year={2024}
}""",
)

STAGES = (
    Stage(
        name="image", trains=("spatial",), data="captioned images: the image model, which a public one replaces",
        parts=("denoiser", "text_encoder"), options={"form": "separate", "stills": 1},
    ),
    Stage(name="motion", trains=("temporal",), data="captioned clips of 16 frames, every fourth frame of the source; all image weights keep their bits"),
)  # fmt: skip

PLAN = SchedulerPlan(
    process=Process(VP(schedule="linear"), "eps"), sampler="ddim", spacing="leading", offset=1
)  # betas rise linearly from 0.00085 to 0.012, where the image model's square roots do
DEFAULTS: dict[str, Any] = {
    "num_frames": 16, "fps": 8.0, "height": 512, "width": 512, "sampler": PLAN.sampler, "num_inference_steps": 25, "guidance_scale": 7.5,
}


@dataclass(frozen=True, kw_only=True)
class AnimateDiffConfig:
    """Version 2 on Stable Diffusion 1.5."""

    autoencoder: KLAutoencoderConfig = field(default_factory=KLAutoencoderConfig)
    denoiser: UNetConfig = field(default_factory=lambda: replace(SD_1, inserts=ANIMATEDIFF_V2))
    text_encoder: WordEncoderConfig = field(default_factory=lambda: words(768))


TINY = AnimateDiffConfig(
    autoencoder=TINY_AUTOENCODER, denoiser=tiny(SD_1, inserts=animatediff(heads=2, middle=False)), text_encoder=TINY_WORDS,
)  # fmt: skip
DEMO = Demo(
    networks={"motion": AnimateDiffConfig(denoiser=demo_unet(SD_1, inserts=animatediff(heads=4, middle=False)), text_encoder=DEMO_WORDS)},
    lessons=(Lesson(network="motion", stage="motion", start="stable-diffusion", options=PLACES),),
    settings=GUIDED,
)  # fmt: skip


def compose(*, plan: SchedulerPlan = PLAN, defaults: dict[str, Any] | None = None, **parts: Any) -> System:
    """The system of parts that are there: denoiser, autoencoder, text_encoder; name and card if they have others."""
    return System(
        **{"name": CARD.name, **parts}, method=CARD.name, conditions=TEXT_AND_DRAFT, index_fps=None, **run_by(plan),
        defaults=DEFAULTS | {"sampler": plan.sampler} | (defaults or {}),
    )  # fmt: skip


def build(config: AnimateDiffConfig | None = None) -> System:
    """The system with fresh weights."""
    config = config or AnimateDiffConfig()
    return compose(
        denoiser=UNet(config.denoiser), autoencoder=KLAutoencoder(config.autoencoder), text_encoder=WordEncoder(config.text_encoder),
    )  # fmt: skip
