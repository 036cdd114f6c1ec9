"""VideoGPT: a clip is packed into codes, and a transformer says which code comes next.

The codes come from an autoencoder with a codebook (`autoencoders/vq.py`), the transformer reads them in (t h w) order
(`baselines/code_transformer.py`), and a new clip is drawn code by code, `Choice(temperature, top_k)`, from a cache of keys and values. It may be
told a sentence, or one of its `classes` by `ClassLabel(name)`, and, with a `beginning`, first frames to go on from.
There is no noise here, so no sampler of `flipbook.samplers` and no steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from flipbook.autoencoders.vq import VQAutoencoder, VQAutoencoderConfig
from flipbook.baselines.code_transformer import CodeTransformer, CodeTransformerConfig
from flipbook.conditions import CHOICE, CLASS, FIRST_FRAMES, TEXT, Inputs, Request, choice_of
from flipbook.encoders.beginning import BeginningEncoder, BeginningEncoderConfig
from flipbook.encoders.wordlist import WORDS
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.long.codes import roll_codes
from flipbook.nn.doors import Doors
from flipbook.process.none import NoNoise
from flipbook.process.process import Process
from flipbook.systems.base import Card, Stage, System
from flipbook.systems.demo import DEMO_WORDS, SHAPE, Demo, Lesson
from flipbook.systems.latent import TINY_WORDS

CARD = Card(
    name="videogpt",
    title="VideoGPT: Video Generation using VQ-VAE and Transformers",
    arxiv="2104.10157",
    year=2021,
    authors="Wilson Yan, Yunzhi Zhang, Pieter Abbeel, Aravind Srinivas",
    reproduces=(
        "The autoencoder of 3D convolutions and axial attention around a codebook that starts at its data, follows it and revives dead codes.",
        "The causal transformer over codes, with a place for each axis, a class by its norms, and an even guess before training.",
        "Drawing code by code from cached keys and values, with temperature and top-k.",
        "Given first frames by a 3D residual network whose cells every block reads; sentences, which the paper has not, are read beside them.",
    ),
    leaves_out=(
        "Group norm stands in the place of batch norm, so that a clip does not depend on its batch.",
        "What is drawn begins with the given frames as the codes have them, not with their pixels, as in the paper.",
    ),
    citation="@article{yan2021videogpt, title={VideoGPT: Video Generation using VQ-VAE and Transformers}, author={Yan, Wilson and Zhang, Yunzhi and "
    "Abbeel, Pieter and Srinivas, Aravind}, journal={arXiv preprint arXiv:2104.10157}, year={2021}}",
)

STAGES = (
    Stage(name="codes", trains=(), data="clips", objective="quantising", parts=("autoencoder",)),
    Stage(
        name="prior", trains=("spatial", "temporal", "conditioning"), data="captioned clips, packed into codes", objective="codes",
        parts=("denoiser", "text_encoder"),
    ),
    Stage(name="classes", trains=(), data="clips whose captions name their class, packed into codes", objective="codes"),
    Stage(
        name="beginnings", trains=(), data="captioned clips, packed into codes, whose first frame is shown", objective="codes", options={"given": 1},
    ),
)  # fmt: skip

DEFAULTS: dict[str, Any] = {
    "num_frames": 16, "fps": 8.0, "height": 64, "width": 64, "sampler": "codes", "num_inference_steps": 1, "guidance_scale": 1.0,
}


@dataclass(frozen=True, kw_only=True)
class VideoGPTConfig:
    """The paper's sizes for 16 frames of 64 x 64; the text encoder is ours and learns with the transformer.

    classes:   names; with them the network is told one of them, and reads no text.
    beginning: what reads given first frames, whose rows are as wide as those of the text; None: none are given.
    """

    denoiser: CodeTransformerConfig = field(default_factory=lambda: CodeTransformerConfig(text_dim=192))
    autoencoder: VQAutoencoderConfig = field(default_factory=VQAutoencoderConfig)
    text_encoder: WordEncoderConfig = field(default_factory=lambda: WordEncoderConfig(words=WORDS))
    classes: tuple[str, ...] = ()
    beginning: BeginningEncoderConfig | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        if isinstance(self.beginning, Mapping):                             # as it stands in a recipe
            object.__setattr__(self, "beginning", BeginningEncoderConfig(**self.beginning))
        if self.classes:
            told: dict[str, Any] = {"vector_dim": len(self.classes) + 1, "text_dim": self.beginning and self.beginning.dim}
            object.__setattr__(self, "denoiser", replace(self.denoiser, **told))
        if self.beginning is not None and self.beginning.dim != self.denoiser.text_dim:
            raise ValueError(f"beginning.dim={self.beginning.dim}: its rows are read with those of the text, {self.denoiser.text_dim} wide. Make them equal.")
        codes, book = (self.denoiser.num_codes, self.denoiser.in_channels), (self.autoencoder.num_codes, self.autoencoder.latent_channels)
        if codes != book:
            raise ValueError(
                f"denoiser (num_codes, in_channels)={codes}, autoencoder (num_codes, latent_channels)={book}: they share one codebook. Make them equal."
            )


TINY = VideoGPTConfig(
    denoiser=CodeTransformerConfig(num_codes=32, in_channels=8, grid=(4, 16, 16), dim=24, depth=2, num_heads=2, text_dim=32),
    autoencoder=VQAutoencoderConfig(num_codes=32, latent_channels=8, dim=16, blocks=1),
    text_encoder=TINY_WORDS,
)

DEMO = Demo(
    networks={"videogpt": VideoGPTConfig(
        denoiser=CodeTransformerConfig(num_codes=256, in_channels=16, grid=(2, 8, 8), dim=96, depth=3, num_heads=4, dropout=0.0, text_dim=64),
        autoencoder=VQAutoencoderConfig(num_codes=256, latent_channels=16, dim=48, blocks=1),
        text_encoder=DEMO_WORDS,
    )},
    lessons=(Lesson(network="videogpt", stage="codes", share=0.3, batch=8), Lesson(network="videogpt", stage="prior", share=0.7, batch=16)),
    settings=SHAPE, latents=False,
)  # fmt: skip
"""Four frames of 4 x 4 pixels to a code: 128 codes of 256 kinds for a clip."""


def draw_codes(
    system: System, net: Any, requests: Sequence[Request], inputs: Inputs, doors: Mapping[str, Doors], guidance_scale: float
) -> Tensor:
    """The vectors (B, D, T, h, w) of drawn codes. Guidance acts on the logits, and a scale of 1 asks the sentence alone."""
    choice, branches = choice_of(requests), list(doors.values())
    listed = [(door, guidance_scale) for door in (branches if guidance_scale != 1.0 else branches[-1:])]
    book, shape = system.autoencoder.codebook, inputs.given.shape
    codes = roll_codes(
        net, book.vectors, (shape[2], shape[3], shape[4]), inputs.seeds, listed, temperature=choice.temperature, top_k=choice.top_k
    )
    return book.vectors_of(codes)


def compose(*, defaults: dict[str, Any] | None = None, **parts: Any) -> System:
    """The system of parts that are there: denoiser, autoencoder, text_encoder or the names of `classes`, image_encoder; name and card if they have others."""
    told = CLASS if parts.get("classes") else TEXT
    return System(
        **{"name": CARD.name, "text_encoder": None, **parts}, method=CARD.name, process=Process(NoNoise(), predicts="x0"), defaults=DEFAULTS | (defaults or {}),
        conditions=(told, *((FIRST_FRAMES,) if parts.get("image_encoder") is not None else ()), CHOICE), draws={"codes": draw_codes},
    )  # fmt: skip


def build(config: VideoGPTConfig | None = None) -> System:
    """The system with fresh weights."""
    config = config or VideoGPTConfig()
    told: dict[str, Any] = {"classes": config.classes} if config.classes else {"text_encoder": WordEncoder(config.text_encoder)}
    if config.beginning is not None:
        told["image_encoder"] = BeginningEncoder(config.beginning)
    return compose(denoiser=CodeTransformer(config.denoiser), autoencoder=VQAutoencoder(config.autoencoder), **told)
