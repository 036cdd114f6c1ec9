"""MagicVideo: an image model that becomes a video model by an affine per frame and by attention to earlier frames.

No convolution over time. A clip of another length needs adaptors of that length, or a rule to stretch them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from flipbook.autoencoders.kl import KLAutoencoder, KLAutoencoderConfig
from flipbook.conditions import TEXT, frame_rate, numbers
from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.denoisers.unet_tables import MAGIC_VIDEO
from flipbook.encoders.wordlist import WORDS
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.long.cascade import Cascade, CascadeStage
from flipbook.long.known import by_channels, masked, plain
from flipbook.nn.inserts import FrameAdaptor, InsertTable, TemporalAttention
from flipbook.nn.inserts.micro_conditioning import Scalars
from flipbook.process.process import Process
from flipbook.process.vp import VP
from flipbook.systems.base import Card, Group, Stage, System
from flipbook.systems.demo import DEMO_WORDS, PLACES, TWICE, Demo, Lesson, between, demo_unet, first_clip, larger
from flipbook.systems.latent import SD_1

Kind = Literal["keyframes", "interpolation", "upscaler"]

CARD = Card(
    name="magicvideo",
    title="MagicVideo: Efficient Video Generation With Latent Diffusion Models",
    arxiv="2211.11018",
    year=2022,
    authors="Daquan Zhou, Weimin Wang, Hanshu Yan, Weiwei Lv, Yizhe Zhu, Jiashi Feng",
    reproduces=(
        "Frame adaptors: 2 C T parameters behind each image convolution, the identity at birth.",
        "Directed temporal attention by a mask before the softmax, so that no frame shows in an earlier one; behind it, as printed, by `masks`.",
        "A frame rate embedding, keyframes then frames between then larger pictures.",
    ),
    leaves_out=(
        "The attention layers of its video decoder: frames are decoded one by one.",
    ),
    citation="@article{zhou2022magicvideo, title={MagicVideo: Efficient Video Generation With Latent Diffusion Models}, author={Zhou, Daquan and "
    "Wang, Weimin and Yan, Hanshu and Lv, Weiwei and Zhu, Yizhe and Feng, Jiashi}, journal={arXiv:2211.11018}, year={2022}}",
)

_ALL: tuple[Group, ...] = ("spatial", "temporal", "conditioning")
STAGES = (
    Stage(name="image", trains=("spatial",), data="captioned stills", objective="conditioned", parts=("denoiser", "text_encoder")),
    Stage(name="video", trains=_ALL, data="captioned clips at several rates", objective="conditioned"),
    Stage(
        name="interpolation", trains=_ALL, data="clips whose ends are known", objective="conditioned",
        options={"known": {"take": "ends"}},
    ),
    Stage(
        name="upscaler", trains=_ALL, data="clips, and four times smaller ones with noise", objective="conditioned",
        options={"known": {"take": "small", "factor": 4, "levels": (0.0, 0.5)}},
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MagicVideoConfig:
    """kind: which of the models.   num_frames: length of the clips, which the adaptors are made for.

    resample: "linear" lets adaptors of one length serve clips of another; None refuses them.
    masks: what the triangle of directed attention acts on: "logits", or the softmax's "weights" as the paper prints it, where later frames still show.
    """

    kind: Kind = "keyframes"
    num_frames: int = 16
    resample: Literal["linear"] | None = None
    masks: Literal["logits", "weights"] = "logits"
    image: UNetConfig = field(default_factory=lambda: UNetConfig(heads=(8, 8, 8, 8), text_dim=192))
    autoencoder: KLAutoencoderConfig = field(default_factory=KLAutoencoderConfig)
    text_encoder: WordEncoderConfig = field(default_factory=lambda: WordEncoderConfig(words=WORDS))

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind={self.kind!r} is no model of MagicVideo. Try one of {', '.join(get_args(Kind))}.")

    @property
    def denoiser(self) -> UNetConfig:
        """The image network with its inserts, and with what this model is told besides."""
        adaptor = FrameAdaptor(num_frames=self.num_frames, resample=self.resample)
        attention = TemporalAttention(mask="causal", masks=self.masks)
        rows = tuple(replace(row, kind=adaptor if isinstance(row.kind, FrameAdaptor) else attention) for row in MAGIC_VIDEO.rows)
        door = {"keyframes": 0, "interpolation": self.image.in_channels + 1, "upscaler": self.image.in_channels}[self.kind]
        names = ("fps",) if self.kind != "upscaler" else ("fps", "level")
        return replace(self.image, channel_door=door, vector=(Scalars(names=names),), inserts=InsertTable(rows))


TINY = MagicVideoConfig(
    num_frames=4,
    image=UNetConfig(widths=(16, 32), depths=(1, 1), transformers=(1, 0), heads=(2, 2), text_dim=32, groups=8),
    autoencoder=KLAutoencoderConfig(dims=(8, 16), blocks=1, groups=4),
    text_encoder=WordEncoderConfig(words=WORDS, dim=32, depth=1, num_heads=2),
)

_DEMO = MagicVideoConfig(num_frames=8, image=demo_unet(SD_1), text_encoder=DEMO_WORDS)
DEMO = Demo(
    networks={
        "keyframes": _DEMO, "interpolation": replace(_DEMO, kind="interpolation", num_frames=3), "upscaler": replace(_DEMO, kind="upscaler", num_frames=5),
    },
    lessons=(
        Lesson(network="keyframes", stage="video", start="stable-diffusion", options=PLACES, share=0.6),
        Lesson(network="interpolation", stage="interpolation", start="keyframes", frames=3, stride=1, batch=32, share=0.2),
        Lesson(network="upscaler", stage="upscaler", start="keyframes", frames=5, stride=1, side=64, batch=4, share=0.2, options={"known": TWICE}),
    ),
    cascade=Cascade("magicvideo", (first_clip("keyframes"), between("interpolation"), larger("upscaler", window=5))),
)  # fmt: skip
"""Keyframes, the frames between them, and 64 x 64 pixels; the adaptors are as long as the clip of each."""

DEFAULTS: dict[str, Any] = {
    "num_frames": 16, "fps": 4.0, "height": 256, "width": 256, "sampler": "ddim", "num_inference_steps": 50, "guidance_scale": 7.5,
}  # fmt: skip

CONDITIONS = {
    "keyframes": (numbers(frame_rate), TEXT),
    "interpolation": (numbers(frame_rate), by_channels(masked), TEXT),
    "upscaler": (numbers(frame_rate), by_channels(plain, told_as=1.0), TEXT),
}


def compose(*, name: str = "magicvideo", defaults: dict[str, Any] | None = None, **parts: Any) -> System:
    """A model of parts that are there, the one that its name ends with; without one it makes keyframes."""
    return System(
        name=name, method=CARD.name, process=Process(VP(), predicts="eps"), defaults=DEFAULTS | (defaults or {}),
        conditions=CONDITIONS.get(name.removeprefix(f"{CARD.name}-"), CONDITIONS["keyframes"]), index_fps=None, unit_noise=True, **parts,
    )  # fmt: skip


def build(config: MagicVideoConfig | None = None) -> System:
    """One of the models with fresh weights."""
    config = config or MagicVideoConfig()
    return compose(
        name=f"{CARD.name}-{config.kind}", denoiser=UNet(config.denoiser), autoencoder=KLAutoencoder(config.autoencoder),
        text_encoder=WordEncoder(config.text_encoder), defaults={"num_frames": config.num_frames},
    )  # fmt: skip


def cascade(models: dict[str, str] | None = None, *, num_frames: int = 16, gap: int = 3, height: int = 256, width: int = 256) -> Cascade:
    """Keyframes, the frames between each pair of them, four times the size in chunks as long as the keyframes' clip, which share a frame.

    With `gap` - 1 frames between two keys the interpolation's adaptors are as long as a pair with what lies between.
    """
    models = models or {kind: f"magicvideo-{kind}" for kind in get_args(Kind)}
    many = gap * (num_frames - 1) + 1
    shape: dict[str, Any] = {"height": height, "width": width}
    return Cascade("magicvideo", (
        CascadeStage(name="keyframes", makes="clip", model=models["keyframes"], num_frames=num_frames, fps=4.0, **shape),
        CascadeStage(name="between", makes="between", model=models["interpolation"], num_frames=many, fps=4.0 * gap, gap=gap, **shape),
        CascadeStage(
            name="larger", makes="larger", model=models["upscaler"], num_frames=many, fps=4.0 * gap, height=4 * height, width=4 * width,
            window=num_frames, overlap=1, level=0.1,
        ),
    ))  # fmt: skip
