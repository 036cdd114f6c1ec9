"""LaVie: one temporal attention per transformer block of Stable Diffusion 1.4, and a cascade of three latent models.

Base clip, four times as many frames, four times the size. The base adds nothing but attention over time, which knows the order of frames by
rotations and by a bias; clips and stills are trained together. In the interpolation network each frame reads the first one and the one before
it; the upscaler is Stable Diffusion's, with residual blocks and attention over time. Where the authors' code departs from the paper's text, their
code is followed: it made their checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from flipbook.autoencoders.kl import KLAutoencoder, KLAutoencoderConfig
from flipbook.conditions import DRAFT, TEXT, Entrance, Inputs, Request
from flipbook.data.seeds import derive_seed
from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.denoisers.unet_tables import LAVIE, LAVIE_INTERPOLATION, LAVIE_VSR
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.interop.schedulers import SchedulerPlan
from flipbook.long.cascade import Cascade, CascadeStage
from flipbook.long.known import Known, by_channels, held, known_of, resized
from flipbook.nn.inserts.micro_conditioning import Classes
from flipbook.process.noise import initial_noise
from flipbook.process.process import Process
from flipbook.process.vp import VP
from flipbook.systems.base import Card, Stage, System
from flipbook.systems.demo import DEMO_WORDS, PLACES, Demo, Lesson, between, demo_unet, first_clip, larger
from flipbook.systems.latent import PLAN as SD_PLAN
from flipbook.systems.latent import SD_1, SD_2, TINY_AUTOENCODER, TINY_WORDS, run_by, tiny, words

Kind = Literal["base", "interpolation", "upscaler"]

CARD = Card(
    name="lavie",
    title="LaVie: High-Quality Video Generation with Cascaded Latent Diffusion Models",
    arxiv="2309.15103",
    year=2023,
    authors="Wang et al.",
    reproduces=(
        "the base network, silent at birth in weight and bias (its published code zeroes the weight alone)",
        "interpolation from 16 to 61 frames: each key laid beside its neighbours, frames that read the first one and the one before them",
        "the upscaler on Stable Diffusion's, with its modules behind levels, residual blocks and attention over time",
        "training on clips with stills behind them", "the authors' three checkpoints, read and written",
    ),
    leaves_out=(
        "the interpolation network's alternative that reads a mask",
        "norms over the clip in networks that are built here (their checkpoints have them): a clip would not begin as the image model, frame by frame",
    ),
    citation="""@article{wang2023lavie,
  title={LaVie: High-Quality Video Generation with Cascaded Latent Diffusion Models},
  author={Wang, Yaohui and Chen, Xinyuan and Ma, Xin and Zhou, Shangchen and Huang, Ziqi and Wang, Yi and Yang, Ceyuan and He, Yinan and others},
  journal={arXiv preprint arXiv:2309.15103},
  year={2023}
}""",
)  # fmt: skip

STAGES = (
    Stage(
        name="base", trains=("spatial", "temporal"), data="captioned clips of 16 frames with four captioned stills behind each",
        options={"form": "append", "stills": 4}, parts=("denoiser", "text_encoder"),
    ),
    Stage(
        name="interpolation", trains=("spatial", "temporal"), data="captioned clips of 61 frames, of which every fourth is told",
        options={"known": {"take": "keys", "gap": 4, "levels": (0.0, 0.0)}},
    ),
    Stage(
        name="image-upscaler", trains=("spatial", "conditioning"), data="captioned stills and four times smaller ones, noised",
        options={"known": {"take": "small", "factor": 4, "levels": (0.0, 0.35)}}, parts=("denoiser", "text_encoder"),
    ),
    Stage(
        name="upscaler", trains=("temporal",), data="captioned clips and four times smaller ones, noised; the image upscaler keeps its bits",
        options={"known": {"take": "small", "factor": 4, "levels": (0.0, 0.35)}},
    ),
)  # fmt: skip

BETA_LINEAR = VP(schedule="linear", beta_start=1e-4, beta_end=0.02)
PLANS: dict[str, SchedulerPlan] = {
    "base": SchedulerPlan(process=Process(BETA_LINEAR, "eps"), sampler="ddpm", options={"variance": "small"}, spacing="leading", offset=1),
    "interpolation": replace(SD_PLAN, process=Process(BETA_LINEAR, "eps")),
    "upscaler": replace(SD_PLAN, process=Process(BETA_LINEAR, "v")),
}
"""Betas that rise linearly, not their roots: the one system here that left Stable Diffusion's schedule."""
SMALL_CLIP = VP(beta_start=1e-4, beta_end=0.02)
"""The noise of the small clip that the upscaler is shown, on Stable Diffusion's schedule still."""
DEFAULTS: dict[str, dict[str, Any]] = {
    "base": {"num_frames": 16, "fps": 8.0, "height": 320, "width": 512, "num_inference_steps": 50, "guidance_scale": 7.5},
    "interpolation": {"num_frames": 61, "fps": 32.0, "height": 320, "width": 512, "num_inference_steps": 50, "guidance_scale": 4.0},
    "upscaler": {"num_frames": 61, "fps": 32.0, "height": 1280, "width": 2048, "num_inference_steps": 50, "guidance_scale": 5.0},
}
LEVEL = 51 / 1000
"""Noise of the small clip that the upscaler is shown: level 50 of 1000."""


def beside_its_key(known: Tensor, mask: Tensor) -> Tensor:
    """Keys four apart, each beside the frames from one before it to two behind it: C channels, all frames covered.

    The authors repeat each key four times and cut one frame in front and two behind: 61 = 16 x 4 - 3.
    """
    after = held(known, mask)
    return torch.cat([after[:, :, 1:], after[:, :, -1:]], dim=2)


def low_resolution(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """The small clip's pixels, noised, into the `channels` door, one to a latent cell; the level's number into the `vector` door."""
    like, path = inputs.given, SMALL_CLIP
    pixels, numbers = like.new_zeros(len(requests), 3, *like.shape[2:]), like.new_zeros(len(requests), 1)
    for row, (known, seed) in enumerate(zip((known_of(request) for request in requests), inputs.seeds, strict=True)):
        if known is None:
            raise ValueError("LaVie's upscaler enlarges a clip, and none was given. Try it as a stage of `lavie.cascade()`.")
        small = resized(known.frames[None].to(like), *like.shape[3:])[0]
        t = torch.tensor(known.level, device=like.device)
        noise = initial_noise(small.shape, [derive_seed(seed, "known")])[0].to(like)
        pixels[row] = path.alpha(t) * small + path.sigma(t) * noise if known.level else small
        numbers[row] = max(0.0, round((known.level if known.declared is None else known.declared) * 1000 - 1))
    return replace(inputs, doors=inputs.doors.with_(channels=pixels, vector=numbers))


CONDITIONS: dict[str, tuple[Entrance, ...]] = {
    "base": (TEXT, DRAFT),
    "interpolation": (TEXT, replace(by_channels(beside_its_key), null=None)),         # guidance leaves the keys on
    "upscaler": (TEXT, Entrance(name="low resolution", kinds=(Known,), enter=low_resolution)),
}
UNETS: dict[str, UNetConfig] = {
    "base": replace(SD_1, inserts=LAVIE),
    "interpolation": replace(SD_1, inserts=LAVIE_INTERPOLATION, channel_door=4, kv_frames="sparse_causal"),
    "upscaler": replace(
        SD_2, widths=(256, 512, 512, 1024), transformers=(0, 1, 1, 1), head_dim=None, heads=(8, 8, 8, 8), channel_door=3,
        vector=(Classes(num_classes=1000),), text_alone=(True, True, True, False), inserts=LAVIE_VSR,
    ),
}  # fmt: skip
"""The authors' own, but for the image networks' norms, which span the clip in their checkpoints and the frame here."""
AUTOENCODERS = {
    "base": KLAutoencoderConfig(), "interpolation": KLAutoencoderConfig(),
    "upscaler": KLAutoencoderConfig(dims=(128, 256, 512), latent_scale=0.08333),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LaVieConfig:
    """kind: which of the three networks; parts that are None have its published sizes."""

    kind: Kind = "base"
    autoencoder: KLAutoencoderConfig | None = None
    denoiser: UNetConfig | None = None
    text_encoder: WordEncoderConfig | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind={self.kind!r} is no stage of LaVie. Try one of {', '.join(get_args(Kind))}.")


def tiny_stage(kind: Kind) -> LaVieConfig:
    """The tiny variant of one of the three networks."""
    small: dict[str, Any] = {"transformers": (1, 1), "text_alone": (True, False)} if kind == "upscaler" else {}
    autoencoder = replace(TINY_AUTOENCODER, dims=(16, 32)) if kind == "upscaler" else TINY_AUTOENCODER
    return LaVieConfig(kind=kind, autoencoder=autoencoder, denoiser=tiny(UNETS[kind], **small), text_encoder=TINY_WORDS)


TINY = tiny_stage("base")


def demo_stage(kind: Kind, **changes: Any) -> LaVieConfig:
    """One of the three networks at the size of a demonstration."""
    return LaVieConfig(kind=kind, autoencoder=TINY_AUTOENCODER, denoiser=demo_unet(UNETS[kind], **changes), text_encoder=DEMO_WORDS)


DEMO = Demo(
    networks={
        "base": demo_stage("base"), "interpolation": demo_stage("interpolation"),
        "upscaler": demo_stage("upscaler", widths=(32, 64), text_alone=(True, False)),
    },
    lessons=(
        Lesson(network="base", stage="base", start="stable-diffusion", options=PLACES, batch=20, share=0.5),
        Lesson(
            network="interpolation", stage="interpolation", start="base", frames=15, stride=1, share=0.2,
            options={"known": {"take": "keys", "gap": 2}},
        ),
        Lesson(network="upscaler", stage="image-upscaler", frames=1, side=64, batch=32, share=0.2),
        Lesson(network="upscaler", stage="upscaler", frames=5, stride=1, side=64, batch=4, share=0.1),
    ),
    cascade=Cascade("lavie", (first_clip("base"), between("interpolation", window=15), larger("upscaler", window=5, level=0.05))),
)  # fmt: skip
"""All three: 8 frames, 15, and 64 x 64 pixels from 16 x 16. An update of the base has four clips, with four stills behind each."""


def compose(*, name: str = f"{CARD.name}-base", defaults: dict[str, Any] | None = None, **parts: Any) -> System:
    """A stage of parts that are there, the one that its name ends with; without one it is the base."""
    kind = name.removeprefix(f"{CARD.name}-")
    kind = kind if kind in PLANS else "base"
    return System(
        **{"name": name, **parts}, method=CARD.name, conditions=CONDITIONS[kind], index_fps=None, **run_by(PLANS[kind]),
        defaults=DEFAULTS[kind] | {"sampler": PLANS[kind].sampler} | (defaults or {}),
    )  # fmt: skip


def build(config: LaVieConfig | None = None) -> System:
    """One stage with fresh weights."""
    config = config or LaVieConfig()
    denoiser = config.denoiser or UNETS[config.kind]
    return compose(
        name=f"{CARD.name}-{config.kind}", denoiser=UNet(denoiser), autoencoder=KLAutoencoder(config.autoencoder or AUTOENCODERS[config.kind]),
        text_encoder=WordEncoder(config.text_encoder or words(denoiser.text_dim or 0)),
    )  # fmt: skip


def cascade(models: dict[Kind, str] | None = None, *, num_frames: int = 16, height: int = 320, width: int = 512) -> Cascade:
    """The three stages as data: a clip, four times the frames, four times the size in chunks of 8."""
    models = models or {kind: f"{CARD.name}-{kind}" for kind in get_args(Kind)}
    base = CascadeStage(name="base", makes="clip", model=models["base"], num_frames=num_frames, fps=8.0, height=height, width=width)
    frames = 4 * (num_frames - 1) + 1
    keys = replace(base, name="interpolation", makes="between", model=models["interpolation"], num_frames=frames, fps=32.0, gap=4, window=frames)
    enlarged = replace(
        keys, name="upscaler", makes="larger", model=models["upscaler"], height=4 * height, width=4 * width, gap=1, window=min(8, frames), level=LEVEL
    )
    return Cascade(CARD.name, (base, keys, enlarged))
