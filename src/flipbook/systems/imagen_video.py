"""Imagen Video: a cascade of pixel models that predict v, each told the noise of what it was handed.

Base clip, frames between (all at once, from repeated frames), larger pictures (from enlarged ones): three kinds of stage make the
paper's seven. Every stage reads the sentence. `build` makes one stage, `cascade` says how they follow each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, get_args

from flipbook.autoencoders.pixels import Pixels, PixelsConfig
from flipbook.conditions import TEXT
from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.denoisers.unet_tables import IMAGEN_VIDEO, IMAGEN_VIDEO_SR
from flipbook.encoders.wordlist import WORDS
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.guidance import Weight, oscillating
from flipbook.long.cascade import Cascade, CascadeStage
from flipbook.long.known import by_channels, held, plain
from flipbook.nn.inserts.micro_conditioning import Scalars
from flipbook.process.matrix import noise_levels
from flipbook.process.path import Cosine
from flipbook.process.process import Process
from flipbook.steering import dynamic_threshold
from flipbook.systems.base import Card, Group, Stage, System, constant_guidance
from flipbook.systems.demo import DEMO_WORDS, Demo, Lesson, between, first_clip

Kind = Literal["base", "temporal", "spatial"]

CARD = Card(
    name="imagen-video",
    title="Imagen Video: High Definition Video Generation with Diffusion Models",
    arxiv="2210.02303",
    year=2022,
    authors="Jonathan Ho, William Chan, Chitwan Saharia, Jay Whang, Ruiqi Gao, Alexey Gritsenko, Diederik P. Kingma, Ben Poole, and others",
    reproduces=(
        "Base, temporal and spatial super-resolution networks: temporal attention in the base, temporal convolution in the others.",
        "v prediction, noise augmentation that the network is told, dynamic threshold, oscillating guidance.",
        "Progressive distillation to a few steps, with the guidance scale taken up first.",
    ),
    leaves_out=(
        "T5-XXL: sentences are read by our own words.",
        "Layouts of temporal layers and the number of residual blocks are our choice, since the paper does not print them.",
    ),
    citation="@article{ho2022imagen, title={Imagen Video: High Definition Video Generation with Diffusion Models}, author={Ho, Jonathan and Chan, "
    "William and Saharia, Chitwan and Whang, Jay and Gao, Ruiqi and others}, journal={arXiv:2210.02303}, year={2022}}",
)

_ALL: tuple[Group, ...] = ("spatial", "temporal", "conditioning")
STAGES = (
    Stage(
        name="base", trains=_ALL, data="captioned clips at a low rate, with stills behind them", objective="conditioned",
        options={"form": "append", "stills": 4}, parts=("denoiser", "text_encoder"),
    ),
    Stage(
        name="temporal", trains=_ALL, data="captioned clips; every second frame is known", objective="conditioned",
        options={"known": {"take": "keys", "gap": 2, "levels": (0.0, 0.5)}}, parts=("denoiser", "text_encoder"),
    ),
    Stage(
        name="spatial", trains=_ALL, data="captioned clips, and four times smaller ones", objective="conditioned",
        options={"known": {"take": "small", "factor": 4, "levels": (0.0, 1.0)}}, parts=("denoiser", "text_encoder"),
    ),
    Stage(
        name="distil", trains=_ALL, data="the same clips as the stage that is distilled", objective="progressive",
        options={"steps": 64, "guidance": 6.0},
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ImagenVideoConfig:
    """kind: which of the three networks.   gap: frames between two known ones, for "temporal".

    oscillate: steps of the sampler for which guidance oscillates between the scale and 1; None: it is constant.
    """

    kind: Kind = "base"
    widths: tuple[int, ...] = (128, 256, 384, 512)
    depths: tuple[int, ...] = (3, 3, 3, 3)
    transformers: tuple[int, ...] = (0, 1, 1, 1)
    heads: tuple[int, ...] = (8, 8, 8, 8)
    groups: int = 32
    autoencoder: PixelsConfig = field(default_factory=lambda: PixelsConfig(patch=1))
    text_encoder: WordEncoderConfig = field(default_factory=lambda: WordEncoderConfig(words=WORDS))
    oscillate: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind={self.kind!r} is no stage of Imagen Video. Try one of {', '.join(get_args(Kind))}.")

    @property
    def denoiser(self) -> UNetConfig:
        """The network of this stage."""
        told: dict[str, Any] = {} if self.kind == "base" else {"channel_door": 3, "vector": (Scalars(names=("level",), silent=False),)}
        return UNetConfig(
            in_channels=3, widths=self.widths, depths=self.depths, transformers=self.transformers,
            mid_transformers=1 if any(self.transformers) else 0, heads=self.heads, groups=self.groups,
            text_dim=self.text_encoder.dim, time_scale_shift=True, clock="edm",
            inserts=IMAGEN_VIDEO if self.kind == "base" else IMAGEN_VIDEO_SR, **told,
        )  # fmt: skip


TINY = ImagenVideoConfig(
    widths=(16, 32), depths=(1, 1), transformers=(0, 1), heads=(2, 2), groups=8,
    text_encoder=WordEncoderConfig(words=WORDS, dim=32, depth=1, num_heads=2),
)  # fmt: skip

_DEMO = ImagenVideoConfig(widths=(32, 64), depths=(1, 1), transformers=(0, 1), heads=(2, 4), groups=8, text_encoder=DEMO_WORDS)
DEMO = Demo(
    networks={"base": _DEMO, "temporal": replace(_DEMO, kind="temporal"), "spatial": replace(_DEMO, kind="spatial", widths=(16, 32))},
    lessons=(
        Lesson(network="base", stage="base", frames=4, stride=4, side=16, batch=40, share=0.5),
        Lesson(network="temporal", stage="temporal", start="base", frames=7, stride=2, side=16, share=0.2),
        Lesson(
            network="spatial", stage="spatial", frames=4, stride=2, batch=8, share=0.3,
            options={"known": {"take": "small", "factor": 2, "levels": (0.0, 0.6)}},
        ),
    ),
    cascade=Cascade("imagen-video", (
        first_clip("base", num_frames=4, fps=2.0, height=16, width=16),
        between("temporal", num_frames=7, fps=4.0, height=16, width=16, window=7, level=0.15),
        CascadeStage(
            name="spatial", makes="larger", model="spatial", num_frames=7, fps=4.0, height=32, width=32, level=0.15, num_inference_steps=16, guidance_scale=1.0,
        ),
    )),
    latents=False,
)  # fmt: skip
"""One stage of each kind: 4 frames of 16 x 16, 7 frames, 32 x 32."""

DEFAULTS: dict[str, Any] = {
    "num_frames": 16, "fps": 3.0, "height": 24, "width": 40, "sampler": "ddim", "num_inference_steps": 64, "guidance_scale": 6.0,
}  # fmt: skip

CONDITIONS = {
    "base": (TEXT,),
    "temporal": (TEXT, by_channels(held, told_as=1.0)),
    "spatial": (TEXT, by_channels(plain, told_as=1.0)),
}


def compose(*, name: str = "imagen-video", defaults: dict[str, Any] | None = None, oscillate: int | None = None, **parts: Any) -> System:
    """A stage of parts that are there, the stage that its name ends with; without one it is the base."""
    return System(
        name=name, method=CARD.name, process=Process(Cosine(), predicts="v"), defaults=DEFAULTS | (defaults or {}),
        conditions=CONDITIONS.get(name.removeprefix(f"{CARD.name}-"), CONDITIONS["base"]),
        guidance=constant_guidance if oscillate is None else partial(_oscillating, oscillate),
        x0_hook=dynamic_threshold(limit=1.0 / parts["autoencoder"].config.scale), **parts,
    )  # fmt: skip


def build(config: ImagenVideoConfig | None = None) -> System:
    """One stage with fresh weights."""
    config = config or ImagenVideoConfig()
    return compose(
        name=f"{CARD.name}-{config.kind}", oscillate=config.oscillate,
        denoiser=UNet(config.denoiser), autoencoder=Pixels(config.autoencoder), text_encoder=WordEncoder(config.text_encoder),
    )  # fmt: skip


def _oscillating(steps: int, scale: float, num_frames: int) -> Weight:
    return oscillating(noise_levels(steps, 1)[:, 0], high=scale)


def cascade(
    models: dict[Kind, str] | None = None, *, num_frames: int = 16, height: int = 24, width: int = 40, fps: float = 3.0, level: float = 0.15
) -> Cascade:
    """The seven stages as data: base, frames x 2, size x 2, size x 4, frames x 2, frames x 2, size x 4.

    The first frame of a pair keeps its place and clips end on a known frame, so 16 frames become 31, 61, 121.
    """
    models = models or {kind: f"imagen-video-{kind}" for kind in get_args(Kind)}
    first = CascadeStage(name="base", makes="clip", model=models["base"], num_frames=num_frames, fps=fps, height=height, width=width)
    stages, order = [first], ("temporal", "x2", "x4", "temporal", "temporal", "x4")
    for number, kind in enumerate(order, 1):
        last = stages[-1]
        if kind == "temporal":
            frames = 2 * last.num_frames - 1
            stages.append(replace(
                last, name=f"{number}-frames", makes="between", model=models["temporal"], num_frames=frames, fps=2 * last.fps, gap=2,
                window=frames, level=level,
            ))  # fmt: skip
        else:
            by = int(kind[1:])
            stages.append(replace(
                last, name=f"{number}-size", makes="larger", model=models["spatial"], height=by * last.height, width=by * last.width,
                gap=1, window=None, level=level,
            ))  # fmt: skip
    return Cascade("imagen-video", tuple(stages))
