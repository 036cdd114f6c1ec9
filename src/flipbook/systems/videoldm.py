"""VideoLDM, Align Your Latents: a frozen image model whose frames are brought in line by temporal layers and mixers.

Only what lies between the image layers learns, so the temporal layers also serve fine-tunes of the image model. Prediction and
interpolation models see known latents beside a mask; the decoder learns over frames in a stage of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from flipbook.autoencoders.temporal_decoder import TemporalDecoderAutoencoder, TemporalDecoderAutoencoderConfig
from flipbook.conditions import TEXT, frame_rate, numbers
from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.denoisers.unet_tables import VIDEO_LDM
from flipbook.encoders.wordlist import WORDS
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.long.cascade import Cascade, CascadeStage
from flipbook.long.known import by_channels, masked, plain
from flipbook.nn.inserts import Insert, InsertTable, TemporalAttention
from flipbook.nn.inserts.micro_conditioning import Scalars
from flipbook.process.process import Process
from flipbook.process.vp import VP
from flipbook.systems.base import Card, Stage, System
from flipbook.systems.demo import DEMO_WORDS, PLACES, TWICE, Demo, Lesson, between, demo_unet, first_clip, larger
from flipbook.systems.latent import SD_1

Kind = Literal["keyframes", "prediction", "interpolation", "upscaler"]

CARD = Card(
    name="videoldm",
    title="Align your Latents: High-Resolution Video Synthesis with Latent Diffusion Models",
    arxiv="2304.08818",
    year=2023,
    authors="Andreas Blattmann, Robin Rombach, Huan Ling, Tim Dockhorn, Seung Wook Kim, Sanja Fidler, Karsten Kreis",
    reproduces=(
        "Temporal convolution and attention behind each image layer, joined by mixers that start at the image model.",
        "Image weights frozen bit for bit; temporal layers fit other weights of the same image model.",
        "Prediction and interpolation by known latents and a mask, context guidance, an aligned upscaler with noise augmentation.",
        "A decoder that is fine-tuned over frames, against a discriminator of patches of clips.",
    ),
    leaves_out=(
        "The learned down-sampler in front of the mask: known latents are concatenated at the input.",
        "Text as keys and values of the temporal layers.",
    ),
    citation="@inproceedings{blattmann2023align, title={Align your Latents: High-Resolution Video Synthesis with Latent Diffusion Models}, "
    "author={Blattmann, Andreas and Rombach, Robin and Ling, Huan and Dockhorn, Tim and Kim, Seung Wook and Fidler, Sanja and Kreis, Karsten}, "
    "booktitle={CVPR}, year={2023}}",
)

_SMALL = {"known": {"take": "small", "factor": 4, "levels": (0.0, 0.5)}}
STAGES = (
    Stage(
        name="image", trains=("spatial",), data="captioned stills", objective="conditioned", parts=("denoiser", "text_encoder"),
    ),
    Stage(name="video", trains=("temporal", "conditioning"), data="captioned clips", objective="conditioned"),
    Stage(
        name="decoder", trains=("temporal",), data="clips", objective="decoding", options={"adversary": {"weight": 0.5}}, parts=("autoencoder",),
    ),
    Stage(
        name="prediction", trains=("temporal", "conditioning"), data="clips whose first 0, 1 or 2 frames are known", objective="conditioned",
        options={"known": {"take": "first", "counts": (0, 1, 2)}},
    ),
    Stage(
        name="interpolation", trains=("temporal", "conditioning"), data="clips whose every fourth frame is known", objective="conditioned",
        options={"known": {"take": "keys", "gap": 4}},
    ),
    Stage(
        name="image-upscaler", trains=("spatial", "conditioning"), data="captioned stills, and four times smaller ones with noise",
        objective="conditioned", options=_SMALL,
    ),
    Stage(
        name="upscaler", trains=("temporal",), data="clips, and four times smaller ones with noise", objective="conditioned", options=_SMALL,
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class VideoLDMConfig:
    """kind: which of the models; all share the image network. The defaults are Stable Diffusion 1.5's, with our own words."""

    kind: Kind = "keyframes"
    image: UNetConfig = field(default_factory=lambda: UNetConfig(heads=(8, 8, 8, 8), text_dim=192))
    inserts: InsertTable = VIDEO_LDM
    autoencoder: TemporalDecoderAutoencoderConfig = field(default_factory=TemporalDecoderAutoencoderConfig)
    text_encoder: WordEncoderConfig = field(default_factory=lambda: WordEncoderConfig(words=WORDS))

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind={self.kind!r} is no model of VideoLDM. Try one of {', '.join(get_args(Kind))}.")

    @property
    def denoiser(self) -> UNetConfig:
        """The image network with its inserts, and with what this model is told besides."""
        channels = self.image.in_channels
        door = {"keyframes": 0, "prediction": channels + 1, "interpolation": channels + 1, "upscaler": channels}[self.kind]
        names = ("fps",) if self.kind != "upscaler" else ("fps", "level")
        return replace(self.image, channel_door=door, vector=(Scalars(names=names),), inserts=self.inserts)


def _small(row: Insert) -> Insert:
    """A row of the published table for the tiny image network."""
    return replace(row, kind=replace(row.kind, heads=2)) if isinstance(row.kind, TemporalAttention) else row


TINY = VideoLDMConfig(
    image=UNetConfig(widths=(16, 32), depths=(1, 1), transformers=(1, 0), heads=(2, 2), text_dim=32, groups=8),
    inserts=InsertTable(tuple(_small(row) for row in VIDEO_LDM.rows)),
    autoencoder=TemporalDecoderAutoencoderConfig(dims=(8, 16), blocks=1, groups=4),
    text_encoder=WordEncoderConfig(words=WORDS, dim=32, depth=1, num_heads=2),
)

_DEMO = VideoLDMConfig(image=demo_unet(SD_1), inserts=InsertTable(tuple(_small(row) for row in VIDEO_LDM.rows)), text_encoder=DEMO_WORDS)
DEMO = Demo(
    networks={kind: replace(_DEMO, kind=kind) for kind in ("keyframes", "interpolation", "upscaler")},
    lessons=(
        Lesson(network="keyframes", stage="video", start="stable-diffusion", options=PLACES, share=0.55),
        Lesson(
            network="interpolation", stage="interpolation", start="keyframes", frames=3, stride=1, batch=32, share=0.2,
            options={"known": {"take": "ends"}},
        ),
        Lesson(network="upscaler", stage="image-upscaler", start="keyframes", frames=1, side=64, batch=16, share=0.15, options={"known": TWICE}),
        Lesson(network="upscaler", stage="upscaler", frames=5, stride=1, side=64, batch=4, share=0.1, options={"known": TWICE}),
    ),
    cascade=Cascade("videoldm", (first_clip("keyframes"), between("interpolation"), larger("upscaler", window=5))),
)  # fmt: skip
"""Keyframes, the frame between each pair, and 64 x 64 pixels; the image weights of stable-diffusion's demonstration keep their bits in the first
two, those of the upscaler once it has learned to enlarge stills."""

DEFAULTS: dict[str, Any] = {
    "num_frames": 8, "fps": 2.0, "height": 256, "width": 256, "sampler": "ddim", "num_inference_steps": 50, "guidance_scale": 8.0,
}  # fmt: skip

_KNOWN = by_channels(masked)
CONDITIONS = {
    "keyframes": (numbers(frame_rate), TEXT),
    "prediction": (numbers(frame_rate), _KNOWN, TEXT),
    "interpolation": (numbers(frame_rate), _KNOWN, TEXT),
    "upscaler": (numbers(frame_rate), by_channels(plain, told_as=1.0), TEXT),
}


def compose(*, name: str = "videoldm", defaults: dict[str, Any] | None = None, **parts: Any) -> System:
    """A model of parts that are there, the one that its name ends with; without one it makes keyframes."""
    return System(
        name=name, method=CARD.name, process=Process(VP(), predicts="eps"), defaults=DEFAULTS | (defaults or {}),
        conditions=CONDITIONS.get(name.removeprefix(f"{CARD.name}-"), CONDITIONS["keyframes"]), index_fps=None, unit_noise=True, **parts,
    )  # fmt: skip


def build(config: VideoLDMConfig | None = None) -> System:
    """One of the models with fresh weights; `image_weights.start_from_image_model` puts an image model's into it."""
    config = config or VideoLDMConfig()
    return compose(
        name=f"{CARD.name}-{config.kind}", denoiser=UNet(config.denoiser), autoencoder=TemporalDecoderAutoencoder(config.autoencoder),
        text_encoder=WordEncoder(config.text_encoder),
    )  # fmt: skip


def cascade(models: dict[str, str] | None = None, *, num_frames: int = 8, height: int = 256, width: int = 256) -> Cascade:
    """Keyframes at 2 fps, twice four times as many frames, four times the size in chunks of 8 that share a frame."""
    models = models or {kind: f"videoldm-{kind}" for kind in get_args(Kind)}
    few = 4 * (num_frames - 1) + 1
    many = 4 * (few - 1) + 1
    shape: dict[str, Any] = {"height": height, "width": width}
    return Cascade("videoldm", (
        CascadeStage(name="keyframes", makes="clip", model=models["keyframes"], num_frames=num_frames, fps=1.875, **shape),
        CascadeStage(name="between", makes="between", model=models["interpolation"], num_frames=few, fps=7.5, gap=4, **shape),
        CascadeStage(name="between-again", makes="between", model=models["interpolation"], num_frames=many, fps=30.0, gap=4, **shape),
        CascadeStage(
            name="larger", makes="larger", model=models["upscaler"], num_frames=many, fps=30.0, height=4 * height, width=4 * width,
            window=min(8, many), overlap=1, level=0.1,
        ),
    ))  # fmt: skip
