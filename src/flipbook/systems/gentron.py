"""GenTron: text to video by an image transformer with a light attention along time, guided away from itself without motion.

The guidance list has three entries: nothing told and frames apart, nothing told and frames together, all of it. What the second adds to the first
is motion, and has a weight of its own; what the third adds is the text.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from flipbook.autoencoders.kl import KLAutoencoder, KLAutoencoderConfig
from flipbook.conditions import DRAFT, TEXT
from flipbook.conditions.entrances import motion
from flipbook.denoisers.gentron import GenTron, GenTronConfig
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.interop.schedulers import SchedulerPlan
from flipbook.systems.base import Card, Stage, System
from flipbook.systems.demo import DEMO_WORDS, GUIDED, IMAGE_FIRST, Demo, Lesson
from flipbook.systems.latent import PLAN, TINY_AUTOENCODER, TINY_WORDS, run_by, words

CARD = Card(
    name="gentron",
    title="GenTron: Diffusion Transformers for Image and Video Generation",
    arxiv="2312.04557",
    year=2023,
    authors="Shoufa Chen, Mengmeng Xu, Jiawei Ren, Yuren Cong, Sen He, Yanping Xie, Animesh Sinha, Ping Luo, Tao Xiang, Juan-Manuel Perez-Rua",
    reproduces=(
        "the image transformer with text by cross-attention, XL/2 and G/2",
        "attention along time between text and perceptron of each block, silent at birth",
        "motion-free guidance: frames are kept apart in a share of the clips of training, and in one branch of the guidance list",
    ),
    leaves_out=(
        "CLIP and T5 side by side: sentences are read by one encoder that learns with the system",
        "what the paper does not print is our choice: places of frames by rotation, the schedule of Stable Diffusion, the weight of motion",
        "no weights were published, so none can be read",
    ),
    citation="""@inproceedings{chen2024gentron,
  title={GenTron: Diffusion Transformers for Image and Video Generation},
  author={Chen, Shoufa and Xu, Mengmeng and Ren, Jiawei and Cong, Yuren and He, Sen and Xie, Yanping and Sinha, Animesh and Luo, Ping and Xiang, Tao and Perez-Rua, Juan-Manuel},
  booktitle={CVPR},
  year={2024}
}""",  # noqa: E501
)

STAGES = (
    Stage(
        name="images", trains=("spatial",), data="captioned images: the image model", parts=("denoiser", "text_encoder"),
        options={"form": "separate", "stills": 1},
    ),
    Stage(
        name="joint", trains=("spatial", "temporal"), data="captioned images and clips; a tenth of the clips is seen without motion",
        parts=("denoiser", "text_encoder"), options={"form": "append", "stills": 4, "motion_free": 0.1},
    ),
)  # fmt: skip

DEFAULTS: dict[str, Any] = {
    "num_frames": 16, "fps": 8.0, "height": 512, "width": 512, "sampler": PLAN.sampler, "num_inference_steps": 50, "guidance_scale": 7.5,
}
MOTION_SCALE = 1.2
"""The weight of motion, between 1 and 1.3 in the paper."""

XL_2 = GenTronConfig()
G_2 = GenTronConfig(dim=1664, depth=48, num_heads=16, mlp_dim=6656)
"""The published sizes."""


@dataclass(frozen=True, kw_only=True)
class GenTronSystemConfig:
    """XL/2. motion_scale: the weight of motion in the guidance list; 1: motion as it is."""

    denoiser: GenTronConfig = XL_2
    autoencoder: KLAutoencoderConfig = field(default_factory=KLAutoencoderConfig)
    text_encoder: WordEncoderConfig = field(default_factory=lambda: words(2048))
    motion_scale: float = MOTION_SCALE


TINY = GenTronSystemConfig(
    denoiser=GenTronConfig(text_dim=32, dim=32, depth=2, num_heads=2, mlp_dim=64, places=4), autoencoder=TINY_AUTOENCODER, text_encoder=TINY_WORDS,
)  # fmt: skip
DEMO = Demo(
    networks={"gentron": GenTronSystemConfig(
        denoiser=GenTronConfig(text_dim=64, dim=128, depth=6, num_heads=4, mlp_dim=512, places=4), text_encoder=DEMO_WORDS,
    )},
    lessons=(
        replace(IMAGE_FIRST, network="gentron", share=0.3),
        Lesson(network="gentron", stage="joint", batch=16, share=0.7, options={"stills": 1}),
    ),
    settings=GUIDED,
)  # fmt: skip


def compose(
    *, plan: SchedulerPlan = PLAN, defaults: dict[str, Any] | None = None, motion_scale: float = MOTION_SCALE, **parts: Any
) -> System:
    """The system of parts that are there: denoiser, autoencoder, text_encoder; name and card if they have others."""
    return System(
        **{"name": CARD.name, **parts}, method=CARD.name, conditions=(motion(motion_scale), TEXT, DRAFT), index_fps=None, **run_by(plan),
        defaults=DEFAULTS | {"sampler": plan.sampler} | (defaults or {}),
    )  # fmt: skip


def build(config: GenTronSystemConfig | None = None) -> System:
    """The system with fresh weights."""
    config = config or GenTronSystemConfig()
    return compose(
        denoiser=GenTron(config.denoiser), autoencoder=KLAutoencoder(config.autoencoder), text_encoder=WordEncoder(config.text_encoder),
        motion_scale=config.motion_scale,
    )  # fmt: skip
