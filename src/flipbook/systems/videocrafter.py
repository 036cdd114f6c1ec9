"""VideoCrafter 1 and 2: ModelScope's temporal layers on Stable Diffusion 2.1, told the frame rate.

Version 2 gets its picture quality from images: after joint training on low-quality clips, the temporal weights are frozen and the spatial ones
fine-tuned on high-quality stills. It also scales x0 down at high noise, so that less of a clip's brightness leaks into pure noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from flipbook.autoencoders.kl import KLAutoencoder, KLAutoencoderConfig
from flipbook.conditions import DRAFT, TEXT, TEXT_AND_PICTURE, Entrance, frame_rate, numbers
from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.denoisers.unet_tables import VIDEOCRAFTER, modelscope
from flipbook.encoders.resampler import ResampledPictureEncoder, ResampledPictureEncoderConfig
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.interop.schedulers import SchedulerPlan
from flipbook.nn.inserts.micro_conditioning import Scalars
from flipbook.process.process import Process
from flipbook.process.vp import VP
from flipbook.process.x0_scale import X0Scale
from flipbook.systems.base import Card, Stage, System
from flipbook.systems.demo import DEMO_WORDS, GUIDED, PLACES, Demo, Lesson, demo_unet
from flipbook.systems.latent import PLAN as SD_PLAN
from flipbook.systems.latent import SD_2, TINY_AUTOENCODER, TINY_WORDS, run_by, tiny, words

CARD = Card(
    name="videocrafter",
    title="VideoCrafter2: Overcoming Data Limitations for High-Quality Video Diffusion Models",
    arxiv="2401.09047",
    year=2024,
    authors="Chen et al.",
    reproduces=(
        "text to video of versions 1 (arXiv:2310.19512) and 2, told the frame rate", "the scale on x0", "version 2's two stages, frozen groups and all",
        "image to video: rows of the picture beside those of the text, with keys and values of their own", "the authors' checkpoints, read and written",
    ),
    leaves_out=("the training stages of version 1 and of its image-to-video model", "the clips and images that all were trained on"),
    citation="""@inproceedings{chen2024videocrafter2,
  title={VideoCrafter2: Overcoming Data Limitations for High-Quality Video Diffusion Models},
  author={Chen, Haoxin and Zhang, Yong and Cun, Xiaodong and Xia, Menghan and Wang, Xintao and Weng, Chao and Shan, Ying},
  booktitle={CVPR},
  year={2024}
}""",
)

STAGES = (
    Stage(
        name="all modules on clips", trains=("spatial", "temporal", "conditioning"), data="low-quality captioned clips, with images among them",
        parts=("denoiser", "text_encoder"), options={"form": "separate", "stills": 1},
    ),
    Stage(
        name="spatial modules on images", trains=("spatial",), data="high-quality captioned images; temporal weights keep their bits",
        options={"form": "separate", "stills": 1},
    ),
)  # fmt: skip

RECIPE = (TEXT, DRAFT, numbers(frame_rate))
PICTURE_RECIPE = (TEXT_AND_PICTURE, DRAFT, numbers(frame_rate))
PLAN_1 = replace(SD_PLAN, options={"eta": 1.0}, last=1 / SD_PLAN.num_levels)
PLAN = replace(PLAN_1, process=Process(X0Scale(VP()), "eps"))
"""Version 2; `PLAN_1` is version 1's, without the scale."""
DEFAULTS: dict[str, Any] = {
    "num_frames": 16, "fps": 28.0, "height": 320, "width": 512, "sampler": PLAN.sampler, "num_inference_steps": 50, "guidance_scale": 12.0,
}


UNET = replace(SD_2, inserts=VIDEOCRAFTER, vector=(Scalars(names=("fps",), frequencies=320),))


@dataclass(frozen=True, kw_only=True)
class VideoCrafterConfig:
    """The sizes of the published networks. version: 2, or 1, which differs by its path alone.

    image_encoder: of the image-to-video model, whose denoiser has a `picture_dim` of its `out_dim`; None: text to video.
    """

    autoencoder: KLAutoencoderConfig = field(default_factory=KLAutoencoderConfig)
    denoiser: UNetConfig = field(default_factory=lambda: UNET)
    text_encoder: WordEncoderConfig = field(default_factory=lambda: words(1024))
    image_encoder: ResampledPictureEncoderConfig | None = None
    version: int = 2

    def __post_init__(self) -> None:
        if self.version not in (1, 2):
            raise ValueError(f"version={self.version}: there are VideoCrafter 1 and 2. Try version=2.")


TINY = VideoCrafterConfig(
    autoencoder=TINY_AUTOENCODER, text_encoder=TINY_WORDS,
    denoiser=tiny(UNET, inserts=modelscope(head_dim=4), vector=(Scalars(names=("fps",), frequencies=32),)),
)  # fmt: skip
TINY_PICTURE = replace(
    TINY, denoiser=replace(TINY.denoiser, picture_dim=32), image_encoder=ResampledPictureEncoderConfig(dim=16, side=16, out_dim=32, rows=3, depth=1, heads=2),
)  # fmt: skip
"""The image-to-video model."""
DEMO = Demo(
    networks={"clips": VideoCrafterConfig(
        denoiser=demo_unet(UNET, inserts=modelscope(head_dim=8, dropout=0.0), vector=(Scalars(names=("fps",), frequencies=32),)), text_encoder=DEMO_WORDS,
    )},
    lessons=(
        Lesson(network="clips", stage="all modules on clips", start="stable-diffusion", options=PLACES, share=0.8),
        Lesson(network="clips", stage="spatial modules on images", frames=1, batch=64, share=0.2),
    ),
    settings=GUIDED,
)  # fmt: skip


def compose(*, plan: SchedulerPlan = PLAN, defaults: dict[str, Any] | None = None, **parts: Any) -> System:
    """The system of parts that are there: denoiser, autoencoder, text_encoder, image_encoder; name and card if they have others.

    With an image encoder it is the image-to-video model. A network without a frame rate is not told any.
    """
    recipe: tuple[Entrance, ...] = PICTURE_RECIPE if parts.get("image_encoder") is not None else RECIPE
    recipe = recipe if parts["denoiser"].config.vector else recipe[:-1]
    return System(
        **{"name": CARD.name, **parts}, method=CARD.name, conditions=recipe, index_fps=None, **run_by(plan),
        defaults=DEFAULTS | {"sampler": plan.sampler} | (defaults or {}),
    )  # fmt: skip


def build(config: VideoCrafterConfig | None = None) -> System:
    """The system with fresh weights."""
    config = config or VideoCrafterConfig()
    return compose(
        plan=PLAN if config.version == 2 else PLAN_1,
        denoiser=UNet(config.denoiser), autoencoder=KLAutoencoder(config.autoencoder), text_encoder=WordEncoder(config.text_encoder),
        image_encoder=None if config.image_encoder is None else ResampledPictureEncoder(config.image_encoder),
    )  # fmt: skip
