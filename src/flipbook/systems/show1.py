"""Show-1: pixels where a sentence is decided, latents where sharpness is.

Tiny keyframes and the frames between them by pixel models, which follow words well; four times the size by a pixel model in
chunks that hand on their last frame; then a latent model that works the clip over from a high noise level.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from flipbook.autoencoders.kl import KLAutoencoder, KLAutoencoderConfig
from flipbook.autoencoders.pixels import Pixels, PixelsConfig
from flipbook.conditions import TEXT
from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.denoisers.unet_tables import modelscope
from flipbook.encoders.wordlist import WORDS
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.long.cascade import Cascade, CascadeStage
from flipbook.long.known import blended, by_channels, plain
from flipbook.nn.inserts import InsertTable
from flipbook.nn.inserts.micro_conditioning import Classes
from flipbook.process.process import Process
from flipbook.process.vp import VP
from flipbook.steering import dynamic_threshold
from flipbook.systems.base import Card, Group, Stage, System
from flipbook.systems.demo import DEMO_WORDS, TWICE, Demo, Lesson, between, demo_unet, first_clip
from flipbook.systems.latent import SD_1, learned_variance

Kind = Literal["keyframes", "interpolation", "upscaler", "expert"]
LEVELS = 1000

CARD = Card(
    name="show1",
    title="Show-1: Marrying Pixel and Latent Diffusion Models for Text-to-Video Generation",
    arxiv="2309.15818",
    year=2023,
    authors="David Junhao Zhang, Jay Zhangjie Wu, Jia-Wei Liu, Rui Zhao, Lingmin Ran, Yuchao Gu, Difei Gao, Mike Zheng Shou",
    reproduces=(
        "Four stages: 8 keyframes, 29 frames by pairs with one noise for all of them, chunks of 8 at stride 7, a latent pass at strength 0.8.",
        "ModelScope's temporal layers; ends blended beside a mask; the upscaler is told the level of its draft as a class.",
        "The latent expert learns low noise levels alone.",
        "The learned variance of the pixel networks, taught by the chain's own cost and drawn with by `sampler=ddpm`.",
    ),
    leaves_out=(
        "The clean first frame by an image upscaler.",
    ),
    citation="@article{zhang2023show1, title={Show-1: Marrying Pixel and Latent Diffusion Models for Text-to-Video Generation}, author={Zhang, David "
    "Junhao and Wu, Jay Zhangjie and Liu, Jia-Wei and Zhao, Rui and Ran, Lingmin and Gu, Yuchao and Gao, Difei and Shou, Mike Zheng}, "
    "journal={arXiv:2309.15818}, year={2023}}",
)

_ALL: tuple[Group, ...] = ("spatial", "temporal", "conditioning")
STAGES = (
    Stage(name="keyframes", trains=_ALL, data="captioned clips at 2 fps", objective="conditioned", options={"vlb": 0.001}, parts=("denoiser", "text_encoder")),
    Stage(
        name="interpolation", trains=_ALL, data="clips of 5 frames whose ends are known", objective="conditioned",
        options={"known": {"take": "ends"}, "vlb": 0.001}, parts=("denoiser", "text_encoder"),
    ),
    Stage(
        name="upscaler", trains=_ALL, data="clips, and four times smaller ones with noise", objective="conditioned",
        options={"known": {"take": "small", "factor": 4, "levels": (0.0, 0.5), "done": 0.5}, "vlb": 0.001}, parts=("denoiser", "text_encoder"),
    ),
    Stage(
        name="expert", trains=_ALL, data="captioned clips in latents, low noise levels alone", objective="conditioned",
        options={"times": (0.0, 0.8)}, parts=("denoiser", "text_encoder"),
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Show1Config:
    """kind: which of the models.   autoencoder: of the expert; the others see pixels, `patch` by `patch` of them as the channels of one place."""

    kind: Kind = "keyframes"
    image: UNetConfig = field(
        default_factory=lambda: UNetConfig(widths=(320, 640, 1280, 1280), depths=(3, 3, 3, 3), heads=(5, 10, 20, 20), text_dim=192, in_channels=3)
    )
    inserts: InsertTable = field(default_factory=modelscope)
    patch: int = 1
    autoencoder: KLAutoencoderConfig = field(default_factory=KLAutoencoderConfig)
    text_encoder: WordEncoderConfig = field(default_factory=lambda: WordEncoderConfig(words=WORDS))

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind={self.kind!r} is no model of Show-1. Try one of {', '.join(get_args(Kind))}.")
        if self.kind != "expert" and self.image.in_channels != 3 * self.patch**2:
            raise ValueError(f"image.in_channels={self.image.in_channels}: patch={self.patch} makes {3 * self.patch**2} channels of pixels. Try that many.")

    @property
    def denoiser(self) -> UNetConfig:
        """The network of this model."""
        if self.kind == "expert":
            return replace(self.image, in_channels=self.autoencoder.latent_channels, inserts=self.inserts)
        channels = self.image.in_channels
        door = {"keyframes": 0, "interpolation": channels + 1, "upscaler": channels}[self.kind]
        told = (Classes(num_classes=LEVELS, silent=False),) if self.kind == "upscaler" else ()
        return replace(self.image, out_channels=2 * channels, channel_door=door, vector=told, inserts=self.inserts)


TINY = Show1Config(
    image=UNetConfig(in_channels=3, widths=(16, 32), depths=(1, 1), transformers=(1, 0), heads=(2, 2), text_dim=32, groups=8),
    inserts=modelscope(head_dim=4, dropout=0.0),
    autoencoder=KLAutoencoderConfig(dims=(8, 16), blocks=1, groups=4),
    text_encoder=WordEncoderConfig(words=WORDS, dim=32, depth=1, num_heads=2),
)

_DEMO = Show1Config(
    image=UNetConfig(in_channels=12, widths=(32, 64), depths=(1, 1), transformers=(0, 1), heads=(2, 4), text_dim=64, groups=8),
    inserts=modelscope(head_dim=4, dropout=0.0), patch=2, text_encoder=DEMO_WORDS,
)
DEMO = Demo(
    networks={
        "keyframes": _DEMO, "interpolation": replace(_DEMO, kind="interpolation"),
        "upscaler": replace(_DEMO, kind="upscaler"),
        "expert": replace(_DEMO, kind="expert", image=demo_unet(SD_1)),
    },
    lessons=(
        Lesson(network="keyframes", stage="keyframes", frames=4, stride=4, side=16, batch=32, share=0.35),
        Lesson(network="interpolation", stage="interpolation", start="keyframes", frames=5, stride=1, side=16, share=0.15),
        Lesson(
            network="upscaler", stage="upscaler", frames=4, stride=1, batch=8, share=0.25,
            options={"known": TWICE | {"done": 0.5}},
        ),
        Lesson(network="expert", stage="expert", start="stable-diffusion", frames=4, stride=1, batch=24, share=0.25),
    ),
    cascade=Cascade("show1", (
        first_clip("keyframes", num_frames=4, fps=2.0, height=16, width=16),
        between("interpolation", num_frames=13, fps=8.0, height=16, width=16, gap=4, same_noise=True),
        CascadeStage(
            name="upscaler", makes="larger", model="upscaler", num_frames=13, fps=8.0, height=32, width=32, window=4, overlap=1, level=0.25, clean=True,
            same_noise=True, num_inference_steps=16, guidance_scale=1.0,
        ),
        CascadeStage(
            name="expert", makes="again", model="expert", num_frames=13, fps=8.0, height=32, width=32, strength=0.5, num_inference_steps=16, guidance_scale=2.0,
        ),
    )),
    latents=("expert",),
)  # fmt: skip
"""All four stages: 16 x 16 pixels, then 32 x 32, two by two, then thumb's latents."""

DEFAULTS: dict[str, Any] = {
    "num_frames": 8, "fps": 2.0, "height": 40, "width": 64, "sampler": "dpmpp_2m", "num_inference_steps": 75, "guidance_scale": 9.0,
}  # fmt: skip

CONDITIONS = {
    "keyframes": (TEXT,),
    "interpolation": (by_channels(blended), TEXT),
    "upscaler": (by_channels(plain, told_as=LEVELS - 1.0), TEXT),
    "expert": (TEXT,),
}


def compose(*, name: str = "show1", defaults: dict[str, Any] | None = None, **parts: Any) -> System:
    """A model of parts that are there, the one that its name ends with; without one it makes keyframes."""
    in_pixels = isinstance(parts["autoencoder"], Pixels)
    return System(
        name=name, method=CARD.name, process=Process(VP(schedule="cosine") if in_pixels else VP(), predicts="eps"),
        defaults=DEFAULTS | (defaults or {}), conditions=CONDITIONS.get(name.removeprefix(f"{CARD.name}-"), CONDITIONS["keyframes"]),
        x0_hook=dynamic_threshold(limit=1.0 / parts["autoencoder"].config.scale) if in_pixels else None, index_fps=None, unit_noise=True,
        sampler_options=learned_variance(parts["denoiser"].config), **parts,
    )  # fmt: skip


def build(config: Show1Config | None = None) -> System:
    """One of the models with fresh weights."""
    config = config or Show1Config()
    autoencoder = KLAutoencoder(config.autoencoder) if config.kind == "expert" else Pixels(PixelsConfig(patch=config.patch))
    return compose(
        name=f"{CARD.name}-{config.kind}", denoiser=UNet(config.denoiser), autoencoder=autoencoder, text_encoder=WordEncoder(config.text_encoder),
    )  # fmt: skip


def cascade(
    models: dict[str, str] | None = None, *, num_frames: int = 8, gap: int = 4, height: int = 40, width: int = 64, final: tuple[int, int] = (320, 576)
) -> Cascade:
    """The four stages: 8 keyframes at 2 fps, 29 frames at 7.5 fps, four times the size, the expert at its own size."""
    models = models or {kind: f"show1-{kind}" for kind in get_args(Kind)}
    many, fps = gap * (num_frames - 1) + 1, 7.5
    return Cascade("show1", (
        CascadeStage(
            name="keyframes", makes="clip", model=models["keyframes"], num_frames=num_frames, fps=2.0, height=height, width=width,
            num_inference_steps=75, guidance_scale=9.0,
        ),
        CascadeStage(
            name="interpolation", makes="between", model=models["interpolation"], num_frames=many, fps=fps, height=height, width=width,
            gap=gap, same_noise=True, num_inference_steps=75, guidance_scale=4.0,
        ),
        CascadeStage(
            name="upscaler", makes="larger", model=models["upscaler"], num_frames=many, fps=fps, height=4 * height, width=4 * width,
            window=8, overlap=1, level=0.25, clean=True, same_noise=True, num_inference_steps=125, guidance_scale=7.0,
        ),
        CascadeStage(
            name="expert", makes="again", model=models["expert"], num_frames=many, fps=fps, height=final[0], width=final[1],
            strength=0.8, num_inference_steps=50,
        ),
    ))  # fmt: skip
