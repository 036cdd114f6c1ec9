"""ModelScopeT2V, and Zeroscope, which is its network fine-tuned on clean clips.

Stable Diffusion 2.1's image network with a temporal convolution behind each residual block and a temporal transformer behind each
attention. Nothing tells the transformers the order of frames; the convolutions alone know it. Zeroscope works in two stages: a small clip
from text, then the same text over the enlarged clip, started from noise that leaves its outline (`vid2vid` below).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from flipbook.autoencoders.kl import KLAutoencoder, KLAutoencoderConfig
from flipbook.conditions import TEXT_AND_DRAFT, Draft, Text
from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.denoisers.unet_tables import MODELSCOPE, modelscope
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.interop.schedulers import SchedulerPlan
from flipbook.systems.base import Card, Stage, System
from flipbook.systems.demo import DEMO_WORDS, GUIDED, PLACES, Demo, Lesson, demo_unet
from flipbook.systems.latent import PLAN as SD_PLAN
from flipbook.systems.latent import SD_2, TINY_AUTOENCODER, TINY_WORDS, run_by, tiny, words
from flipbook.video import Video

CARD = Card(
    name="modelscope",
    title="ModelScope Text-to-Video Technical Report",
    arxiv="2308.06571",
    year=2023,
    authors="Wang et al.",
    reproduces=(
        "the 1.7 B network with all its temporal layers, and its public folders, read and written",
        "Zeroscope v2: the same folders, and the video-to-video stage that enlarges a clip",
    ),
    leaves_out=("the frame-rate embedding, which the public weights do not have", "the original checkpoint's own file layout: the converted folders are read"),
    citation="""@article{wang2023modelscope,
  title={ModelScope Text-to-Video Technical Report},
  author={Wang, Jiuniu and Yuan, Hangjie and Chen, Dayou and Zhang, Yingya and Wang, Xiang and Zhang, Shiwei},
  journal={arXiv preprint arXiv:2308.06571},
  year={2023}
}""",
)

STAGES = (
    Stage(
        name="images", trains=("spatial",), data="captioned images: Stable Diffusion 2.1, which a public one replaces",
        parts=("denoiser", "text_encoder"), options={"form": "separate", "stills": 1},
    ),
    Stage(
        name="joint", trains=("spatial", "temporal"), data="captioned clips of 16 frames; one worker in eight sees images alone",
        options={"form": "ranks"},
    ),
    Stage(name="clean clips", trains=("spatial", "temporal"), data="Zeroscope: some thousand clips without watermarks, 24 frames"),
    Stage(
        name="enlarging", trains=("spatial", "temporal"), data="Zeroscope XL: the same clips at 1024 x 576, for the pass over the enlarged clip",
        options={"offset_noise": 0.1},
    ),
)  # fmt: skip

PLAN = replace(SD_PLAN, last=1 / SD_PLAN.num_levels)
"""Its code steps to the cleanest level and calls that done."""
DEFAULTS: dict[str, Any] = {
    "num_frames": 16, "fps": 8.0, "height": 256, "width": 256, "sampler": PLAN.sampler, "num_inference_steps": 50, "guidance_scale": 9.0,
}
ENLARGE_STRENGTH = 0.75


@dataclass(frozen=True, kw_only=True)
class ModelScopeConfig:
    """The sizes of the published network."""

    autoencoder: KLAutoencoderConfig = field(default_factory=KLAutoencoderConfig)
    denoiser: UNetConfig = field(default_factory=lambda: replace(SD_2, inserts=MODELSCOPE))
    text_encoder: WordEncoderConfig = field(default_factory=lambda: words(1024))


TINY = ModelScopeConfig(
    autoencoder=TINY_AUTOENCODER, denoiser=tiny(SD_2, inserts=modelscope(head_dim=4)), text_encoder=TINY_WORDS,
)  # fmt: skip
DEMO = Demo(
    networks={"clips": ModelScopeConfig(denoiser=demo_unet(SD_2, inserts=modelscope(head_dim=8, dropout=0.0)), text_encoder=DEMO_WORDS)},
    lessons=(Lesson(network="clips", stage="clean clips", start="stable-diffusion", options=PLACES),), settings=GUIDED,
)  # fmt: skip


def compose(*, plan: SchedulerPlan = PLAN, defaults: dict[str, Any] | None = None, **parts: Any) -> System:
    """The system of parts that are there: denoiser, autoencoder, text_encoder; name and card if they have others."""
    return System(
        **{"name": CARD.name, **parts}, method=CARD.name, conditions=TEXT_AND_DRAFT, index_fps=None, **run_by(plan),
        defaults=DEFAULTS | {"sampler": plan.sampler} | (defaults or {}),
    )  # fmt: skip


def build(config: ModelScopeConfig | None = None) -> System:
    """The system with fresh weights."""
    config = config or ModelScopeConfig()
    return compose(
        denoiser=UNet(config.denoiser), autoencoder=KLAutoencoder(config.autoencoder), text_encoder=WordEncoder(config.text_encoder),
    )  # fmt: skip


def vid2vid(video: Video, prompt: str, *, height: int, width: int, strength: float = ENLARGE_STRENGTH) -> tuple[list[Any], dict[str, Any]]:
    """Zeroscope's second stage as a request: (conditions, settings) for `generate` with any text-to-video system of this kind.

    The clip is enlarged, noised to `strength` (0.66 to 0.85 for Zeroscope XL) and denoised again with the same prompt.
    """
    return [Text(prompt), Draft(video, strength)], {"num_frames": len(video), "fps": video.fps, "height": height, "width": width}
