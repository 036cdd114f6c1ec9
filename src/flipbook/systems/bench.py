"""bench: the small image model of the world and its video inserts, on which adapters and editors are tried.

Our own composition, made like the systems that it stands for: an image U-Net of Stable Diffusion's kind (arXiv:2112.10752; residual
blocks, attention within the frame, text by cross-attention) on the latents of thumb's autoencoder, and motion modules behind its pairs of
residual block and attention (AnimateDiff, arXiv:2307.04725). The image model is trained first, on stills; the modules then on clips, while
every image weight keeps its bits: with its inserts off (`image_weights.without_inserts`, `flipbook.load("bench", inserts="off")`) the
shipped model is the image model, exactly. Unlike Stable Diffusion it learns the straight path of rectified flow (arXiv:2403.03206), and
frames may be given at noise level 0. `recipes/bench-*.yaml` train it; LOG.md tells how the sizes were found.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from flipbook.autoencoders.frame import FrameAutoencoder, FrameAutoencoderConfig
from flipbook.conditions import DRAFT, GIVEN_FRAMES, TEXT
from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.denoisers.unet_tables import animatediff
from flipbook.encoders.wordlist import WORDS
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.nn.inserts import Insert, InsertTable, TemporalAttention
from flipbook.process.path import RectifiedFlow
from flipbook.process.process import Process
from flipbook.systems.base import Stage, System

INSERTS = InsertTable((
    *(replace(row, levels=(1, 2)) for row in animatediff(heads=None).rows),
    Insert(name="motion_fine", at="after_pair", kind=TemporalAttention(positions=("sinusoidal",)), stages=("up",), levels=(0,)),
))
"""AnimateDiff's motion module at 8 x 8 and 4 x 4 cells. At 16 x 16, where most of the work is, attention over time alone, on the way up."""

STAGES = (
    Stage(
        name="stills", trains=("spatial",), data="single frames of the world", objective="denoising",
        options={"given": 0.0, "time_std": 1.0, "labels": 0.2}, parts=("denoiser", "text_encoder"),
    ),
    Stage(
        name="inserts", trains=("temporal",), data="clips of the world; all image weights and the text encoder keep their bits",
        objective="denoising", options={"given": 0.2, "time_std": 1.0, "labels": 0.2},
    ),
)  # fmt: skip

DEFAULTS: dict[str, Any] = {
    "num_frames": 8, "fps": 4.0, "height": 64, "width": 64, "sampler": "euler", "num_inference_steps": 24, "guidance_scale": 4.0,
}
"""Every second frame of the world's sixteen: what the inserts were taught last."""

SHIPPED = {
    "what": "Text to image, 64 x 64, and video inserts on it, up to 32 frames at 8 frames per second: drawn shapes, skies, figures and satellite "
            "clouds. inserts=\"off\" is the image model alone. The autoencoder is that of thumb.",
    "data": "flipbook.data.world (shapes, sky, figures; held-out combinations left out); weather satellite pictures, NOAA GOES-East, "
            "September 2017, public domain.",
}
"""What the card of the shipped weights says."""


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """Sizes of the shipped model: latents of 16 x 16 cells for 64 pixels, attention at 8 x 8 and 4 x 4."""

    autoencoder: FrameAutoencoderConfig = field(default_factory=FrameAutoencoderConfig)
    denoiser: UNetConfig = field(default_factory=lambda: UNetConfig(
        widths=(64, 128, 128), depths=(1, 1, 1), transformers=(0, 1, 1), head_dim=32, text_dim=192, inserts=INSERTS,
    ))  # fmt: skip
    text_encoder: WordEncoderConfig = field(default_factory=lambda: WordEncoderConfig(words=WORDS))
    shift: float = 4.0


TINY = BenchConfig(
    autoencoder=FrameAutoencoderConfig(latent_channels=4, encoder_dims=(16,), encoder_blocks=(1,), decoder_dims=(16, 8), decoder_blocks=(1, 1)),
    denoiser=UNetConfig(
        widths=(16, 32), depths=(1, 1), transformers=(0, 1), head_dim=16, text_dim=32, groups=8, inserts=INSERTS,
    ),
    text_encoder=WordEncoderConfig(words=WORDS, dim=32, depth=1, num_heads=2),
)  # fmt: skip


def compose(**parts: Any) -> System:
    """The system of parts that are there: denoiser, autoencoder, text_encoder; process, name, card and defaults if they have others."""
    own = {"name": "bench", "process": process(BenchConfig.shift), "defaults": dict(DEFAULTS)}
    return System(**{**own, **parts}, method="bench", conditions=(TEXT, GIVEN_FRAMES, DRAFT))


def process(shift: float) -> Process:
    """The straight path, moved towards noise."""
    return Process(RectifiedFlow(shift=shift), predicts="flow")


def build(config: BenchConfig | None = None) -> System:
    """The system with fresh weights."""
    config = config or BenchConfig()
    return compose(
        denoiser=UNet(config.denoiser), autoencoder=FrameAutoencoder(config.autoencoder), text_encoder=WordEncoder(config.text_encoder),
        process=process(config.shift),
    )  # fmt: skip
