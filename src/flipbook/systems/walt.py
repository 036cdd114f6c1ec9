"""W.A.L.T.: text to video by a transformer with windows on causal latents, images and clips in one network, in a cascade of three sizes.

The base network is told none, one or two latent frames of the clip, so that it also goes on from what it made; the networks above it are told
the smaller clip, noised, and how much. `build` makes one of both kinds, `cascade` says how they follow each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from flipbook.autoencoders.wan import WanAutoencoder, WanAutoencoderConfig
from flipbook.conditions import DRAFT, TEXT, Entrance
from flipbook.denoisers.walt import WALT, WALTConfig
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.interop.schedulers import SchedulerPlan
from flipbook.long.cascade import Cascade, CascadeStage
from flipbook.long.known import by_channels, masked, plain
from flipbook.process.process import Process
from flipbook.process.vp import VP
from flipbook.systems.base import Card, Group, Stage, System
from flipbook.systems.demo import DEMO_WORDS, SHAPE, Demo, Lesson, first_clip
from flipbook.systems.latent import TINY_WORDS, run_by, words

Kind = Literal["base", "upsampler"]

CARD = Card(
    name="walt",
    title="Photorealistic Video Generation with Diffusion Models",
    arxiv="2312.06662",
    year=2023,
    authors="Agrim Gupta, Lijun Yu, Kihyuk Sohn, Xiuye Gu, Meera Hahn, Li Fei-Fei, Irfan Essa, Lu Jiang, José Lezama",
    reproduces=(
        "the transformer: windows of one frame and of space and time by turns, text within frames alone, thin modulation, normalised queries and keys",
        "images and clips through one causal autoencoder and one network, whose tokens of space and time read themselves alone in images",
        "one or two latent frames told by mask and channels: the same network goes on from a clip",
        "self-conditioning: nine times of ten the network is told its own first answer in training, and its last one in sampling",
        "the cascade: two networks of larger pictures, told the smaller clip at a level of noise",
    ),
    leaves_out=(
        "the tokenizer of MAGVIT-v2: an autoencoder of Wan's shape, as strictly causal, with 8 channels",
        "relative places by learned tables: queries and keys turn with places instead", "T5: sentences are read by an encoder that learns with the system",
        "no weights were published, so none can be read; sizes that the paper does not print are our choice",
    ),
    citation="""@inproceedings{gupta2024walt,
  title={Photorealistic Video Generation with Diffusion Models},
  author={Gupta, Agrim and Yu, Lijun and Sohn, Kihyuk and Gu, Xiuye and Hahn, Meera and Fei-Fei, Li and Essa, Irfan and Jiang, Lu and Lezama, Jos{\\'e}},
  booktitle={ECCV},
  year={2024}
}""",
)

_ALL: tuple[Group, ...] = ("spatial", "temporal", "conditioning")
STAGES = (
    Stage(
        name="autoencoder", trains=(), parts=("autoencoder",), data="images and clips: reconstruction at a small price for the divergence of latents",
        objective="autoencoding",
    ),
    Stage(
        name="base", trains=_ALL, data="captioned clips of 17 frames and images; of a part of the clips one or two latent frames are known",
        parts=("denoiser", "text_encoder"),
        options={"form": "separate", "stills": 1, "known": {"take": "first", "counts": (1, 2), "share": 0.3}, "estimate": 0.9},
    ),
    Stage(
        name="upsampler", trains=_ALL, data="captioned clips, and two times smaller ones at a level of noise", parts=("denoiser", "text_encoder"),
        options={"known": {"take": "small", "factor": 2, "levels": (0.0, 0.3)}, "estimate": 0.9},
    ),
)  # fmt: skip

PLAN = SchedulerPlan(process=Process(VP("scaled_linear", zero_terminal=True), "v"), sampler="ddim", spacing="trailing")
"""1000 levels of the scaled-linear schedule, the last of which is noise alone."""
DEFAULTS: dict[str, Any] = {
    "num_frames": 17, "fps": 8.0, "height": 128, "width": 224, "sampler": PLAN.sampler, "num_inference_steps": 50, "guidance_scale": 7.5,
}


@dataclass(frozen=True, kw_only=True)
class WALTSystemConfig:
    """kind: which of the two networks.   denoiser: its sizes; what it is told besides follows from the kind.   known_scale: the weight of known frames."""

    kind: Kind = "base"
    denoiser: WALTConfig = field(default_factory=lambda: WALTConfig(places=(5, 16, 28)))
    autoencoder: WanAutoencoderConfig = field(
        default_factory=lambda: WanAutoencoderConfig(latent_channels=8, latent_mean=(0.0,) * 8, latent_std=(1.0,) * 8)
    )  # fmt: skip
    text_encoder: WordEncoderConfig = field(default_factory=lambda: words(4096))
    known_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind={self.kind!r} is no network of W.A.L.T. Try one of {', '.join(get_args(Kind))}.")

    @property
    def network(self) -> WALTConfig:
        """The denoiser with what its kind is told: known frames and their mask, or the smaller clip and its level."""
        base = self.kind == "base"
        return replace(self.denoiser, channel_door=self.denoiser.in_channels + base, told=not base, self_conditioned=True)


TINY = WALTSystemConfig(
    denoiser=WALTConfig(
        in_channels=4, text_dim=32, dim=32, depth=4, num_heads=2, mlp_dim=64, windows=((1, 4, 4), (3, 2, 2)), places=(3, 4, 4),
    ),
    autoencoder=WanAutoencoderConfig(
        latent_channels=4, dim=8, mults=(1, 2, 2), packs_time=(True, True), blocks=1, latent_mean=(0.0,) * 4, latent_std=(1.0,) * 4,
    ),
    text_encoder=TINY_WORDS,
)  # fmt: skip

_DEMO = WALTSystemConfig(
    denoiser=WALTConfig(
        in_channels=4, text_dim=64, dim=128, depth=6, num_heads=4, mlp_dim=512, windows=((1, 8, 8), (8, 4, 4)), places=(8, 8, 8), rank=4,
    ),
    text_encoder=DEMO_WORDS,
)  # fmt: skip
DEMO = Demo(
    networks={"base": _DEMO, "upsampler": replace(_DEMO, kind="upsampler", denoiser=replace(_DEMO.denoiser, dim=64, mlp_dim=256, depth=4))},
    lessons=(
        Lesson(network="base", stage="base", side=16, batch=32, share=0.6, options={"stills": 1}),
        Lesson(network="upsampler", stage="upsampler", batch=8, share=0.4),
    ),
    cascade=Cascade("walt", (
        first_clip("base", height=16, width=16),
        CascadeStage(name="upsampler", makes="larger", model="upsampler", level=0.1, **{**SHAPE, "num_inference_steps": 12, "guidance_scale": 1.0}),
    )),
)  # fmt: skip
"""On latents of single frames, in two sizes: a minute does not teach an autoencoder that packs time."""


def recipe(kind: str, known_scale: float) -> tuple[Entrance, ...]:
    """What each kind of network is told; what is known comes before the text in the guidance list, and has a weight of its own."""
    known = by_channels(plain, told_as=1.0) if kind == "upsampler" else by_channels(masked)
    return replace(known, weight=known_scale), TEXT, DRAFT


def compose(
    *, name: str = "walt", plan: SchedulerPlan = PLAN, defaults: dict[str, Any] | None = None, known_scale: float = 1.0, **parts: Any
) -> System:
    """The system of parts that are there, the kind that its name ends with; without one it is the base."""
    return System(
        name=name, **parts, method=CARD.name, conditions=recipe(name.removeprefix(f"{CARD.name}-"), known_scale), index_fps=None, **run_by(plan),
        defaults=DEFAULTS | {"sampler": plan.sampler} | (defaults or {}),
    )  # fmt: skip


def build(config: WALTSystemConfig | None = None) -> System:
    """One of the networks with fresh weights."""
    config = config or WALTSystemConfig()
    return compose(
        name=f"{CARD.name}-{config.kind}", known_scale=config.known_scale, denoiser=WALT(config.network),
        autoencoder=WanAutoencoder(config.autoencoder), text_encoder=WordEncoder(config.text_encoder),
    )  # fmt: skip


def cascade(
    models: tuple[str, str, str] = ("walt-base", "walt-upsampler", "walt-upsampler"), *, num_frames: int = 17, height: int = 128, width: int = 224,
    fps: float = 8.0, level: float = 0.15, window: int = 17, overlap: int = 5,
) -> Cascade:  # fmt: skip
    """The three networks as data: a clip, then twice its size, then twice that. A clip of more than `window` frames is made chunk by
    chunk, each of which knows the last `overlap` frames before it: 5 are two latent frames.
    """
    base, first, second = models
    chunks: dict[str, Any] = {"window": window, "overlap": overlap} if num_frames > window else {}
    stages = [CascadeStage(name="base", makes="clip", model=base, num_frames=num_frames, fps=fps, height=height, width=width, **chunks)]
    for number, model in enumerate((first, second), 1):
        last = stages[-1]
        stages.append(CascadeStage(
            name=f"{number}-size", makes="larger", model=model, num_frames=num_frames, fps=fps, height=2 * last.height, width=2 * last.width,
            level=level, **chunks,
        ))  # fmt: skip
    return Cascade(CARD.name, tuple(stages))
