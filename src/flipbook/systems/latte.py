"""Latte: text to video by a transformer whose blocks look within frames and along time by turns, on Stable Diffusion's latents.

The class-conditional models of the paper are the same network without text, whose blocks have a modulation of their own by level and class:
`build("latte", classes=[...])`, asked by `ClassLabel(name)`. The four orders of blocks are `layout("V1")` to `layout("V4")` of
`flipbook.denoisers.latte`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flipbook.autoencoders.kl import KLAutoencoder, KLAutoencoderConfig
from flipbook.conditions import CLASS, DRAFT, TEXT, Entrance, Inputs, Request, Text
from flipbook.conditions.given import text_of
from flipbook.denoisers.latte import Latte, LatteConfig, layout
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.interop.schedulers import SchedulerPlan
from flipbook.process.process import Process
from flipbook.process.vp import VP
from flipbook.systems.base import Card, Stage, System
from flipbook.systems.demo import DEMO_WORDS, GUIDED, IMAGE_FIRST, Demo, Lesson
from flipbook.systems.latent import TINY_AUTOENCODER, TINY_WORDS, learned_variance, run_by, words

CARD = Card(
    name="latte",
    title="Latte: Latent Diffusion Transformer for Video Generation",
    arxiv="2401.03048",
    year=2024,
    authors="Ma et al.",
    reproduces=(
        "the transformer with all four orders of its blocks, its modulation by level and class or by level alone, and its text model",
        "public folders of the text model, read, run and written",
        "the learned variance, taught by the chain's own cost and drawn with by `sampler=ddpm`",
        "the class as a condition of a request, with none of them for guidance to start from",
        "joint training: images behind a clip skip whatever looks along time",
    ),
    leaves_out=(
        "tubelets of several frames in place of patches of one, and class tokens in place of modulation, which the paper found to be worse",
    ),
    citation="""@article{ma2024latte,
  title={Latte: Latent Diffusion Transformer for Video Generation},
  author={Ma, Xin and Wang, Yaohui and Jia, Gengyun and Chen, Xinyuan and Liu, Ziwei and Li, Yuan-Fang and Chen, Cunjian and Qiao, Yu},
  journal={arXiv preprint arXiv:2401.03048},
  year={2024}
}""",
)

STAGES = (
    Stage(
        name="images", trains=("spatial", "temporal"), data="captioned images: PixArt's image transformer, which a public one replaces",
        parts=("denoiser", "text_encoder"), options={"form": "separate", "stills": 1, "vlb": 0.001},
    ),
    Stage(
        name="joint", trains=("spatial", "temporal"), data="captioned clips of 16 frames, every third frame, and 8 images behind each",
        options={"form": "append", "stills": 8, "vlb": 0.001},
    ),
)  # fmt: skip

PLAN = SchedulerPlan(process=Process(VP("linear", beta_start=1e-4, beta_end=0.02), "eps"), sampler="ddim", spacing="leading")
"""1000 levels of the linear schedule, sampled by DDIM as its public pipeline does."""
DEFAULTS: dict[str, Any] = {
    "num_frames": 16, "fps": 8.0, "height": 512, "width": 512, "sampler": PLAN.sampler, "num_inference_steps": 50, "guidance_scale": 7.5,
}
CLASS_DEFAULTS: dict[str, Any] = {**DEFAULTS, "height": 256, "width": 256, "sampler": "ddpm", "num_inference_steps": 250, "guidance_scale": 7.0}
"""Of the class-conditional models: the paper's 250 steps of DDPM, by the variance that the network learned."""
MAX_TOKENS = 120


@dataclass(frozen=True, kw_only=True)
class LatteSystemConfig:
    """The sizes of the public text model, but for its text encoder: a fresh one learns with the system, public folders bring T5.

    classes: names; with them the network is told one of them, and reads no text.
    """

    denoiser: LatteConfig = field(default_factory=LatteConfig)
    autoencoder: KLAutoencoderConfig = field(default_factory=KLAutoencoderConfig)
    text_encoder: WordEncoderConfig = field(default_factory=lambda: words(4096))
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        if self.classes:
            told: dict[str, Any] = {"text_dim": None, "shared": False, "vector_dim": len(self.classes) + 1}
            object.__setattr__(self, "denoiser", replace(self.denoiser, **told))


TINY = LatteSystemConfig(
    denoiser=LatteConfig(text_dim=32, dim=32, num_heads=2, mlp_dim=128, layout=layout("V1", 4), places=4),
    autoencoder=TINY_AUTOENCODER, text_encoder=TINY_WORDS,
)  # fmt: skip
DEMO = Demo(
    networks={"latte": LatteSystemConfig(
        denoiser=LatteConfig(text_dim=64, dim=128, num_heads=4, mlp_dim=512, layout=layout("V1", 8), places=4), text_encoder=DEMO_WORDS,
    )},
    lessons=(
        replace(IMAGE_FIRST, network="latte", share=0.3),
        Lesson(network="latte", stage="joint", batch=16, share=0.7, options={"stills": 1}),
    ),
    settings=GUIDED,
)  # fmt: skip


def as_long_as_the_sentence(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """The null of the text where rows of padding are kept: as many rows of the negative prompt as the sentence has, whatever stands there.

    So the public model was sampled, one sentence at a time: the empty sentence is its end and then what the encoder says of padding.
    """
    rows, _ = system.text_encoder.encode([text_of(request).negative_prompt for request in requests])
    _, mask = system.text_encoder.encode([text_of(request).prompt for request in requests])
    return replace(inputs, doors=inputs.doors.with_(tokens=rows, token_mask=mask))


PADDED_TEXT = Entrance(name="text", kinds=(Text,), enter=TEXT.enter, null=as_long_as_the_sentence, defaults=TEXT.defaults)


def compose(*, plan: SchedulerPlan = PLAN, defaults: dict[str, Any] | None = None, **parts: Any) -> System:
    """The system of parts that are there: denoiser, autoencoder, text_encoder or the names of `classes`; name and card if they have others."""
    text = PADDED_TEXT if getattr(parts.get("text_encoder"), "keeps_padding", False) else TEXT
    told, own = (CLASS, CLASS_DEFAULTS) if parts.get("classes") else (text, DEFAULTS | {"sampler": plan.sampler})
    run = run_by(plan)
    run["sampler_options"] = learned_variance(parts["denoiser"].config) | run["sampler_options"]
    return System(
        **{"name": CARD.name, "text_encoder": None, **parts}, method=CARD.name, conditions=(told, DRAFT), index_fps=None, **run,
        defaults=own | (defaults or {}),
    )  # fmt: skip


def build(config: LatteSystemConfig | None = None) -> System:
    """The system with fresh weights."""
    config = config or LatteSystemConfig()
    told: dict[str, Any] = {"classes": config.classes} if config.classes else {"text_encoder": WordEncoder(config.text_encoder)}
    return compose(denoiser=Latte(config.denoiser), autoencoder=KLAutoencoder(config.autoencoder), **told)
