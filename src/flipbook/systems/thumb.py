"""thumb: the small text-to-video model that flipbook ships, the one that a thumb sets in motion.

Our own composition, no paper's: a per-frame autoencoder (4 x 4 pixels to a cell), convolutions at its two finest sizes around a
video transformer with full space-time attention over 4 x 4 cells, words by cross-attention, rectified flow
(arXiv:2209.03003, 2403.03206), given frames through the `frames` door at noise level 0 (as Wan 2.2, arXiv:2503.20314), so one
network makes, animates, predicts and interpolates.
`recipes/thumb-*.yaml` train it; LOG.md tells how the sizes were found.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flipbook.autoencoders.frame import FrameAutoencoder, FrameAutoencoderConfig
from flipbook.denoisers.dit import DiT, DiTConfig
from flipbook.encoders.wordlist import WORDS
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.process.path import RectifiedFlow
from flipbook.process.process import Process
from flipbook.systems.base import System


@dataclass(frozen=True, kw_only=True)
class ThumbConfig:
    """Sizes of the shipped model."""

    autoencoder: FrameAutoencoderConfig = field(default_factory=FrameAutoencoderConfig)
    denoiser: DiTConfig = field(default_factory=lambda: DiTConfig(in_channels=4, dim=256, depth=6, num_heads=4, local_dims=(64, 128), local_depths=(1, 2)))
    text_encoder: WordEncoderConfig = field(default_factory=lambda: WordEncoderConfig(words=WORDS))
    shift: float = 4.0


TINY = ThumbConfig(
    autoencoder=FrameAutoencoderConfig(latent_channels=4, encoder_dims=(16,), encoder_blocks=(1,), decoder_dims=(16, 8), decoder_blocks=(1, 1)),
    denoiser=DiTConfig(in_channels=4, text_dim=32, dim=32, depth=2, num_heads=2),
    text_encoder=WordEncoderConfig(words=WORDS, dim=32, depth=1, num_heads=2),
)

DEFAULTS: dict[str, Any] = {
    "num_frames": 16, "fps": 8.0, "height": 64, "width": 64, "sampler": "euler_ancestral", "num_inference_steps": 24, "guidance_scale": 4.0,
}

SHIPPED = {
    "what": "Text to video, 16 frames of 64 x 64 at 8 frames per second, on drawn shapes, skies, figures and satellite clouds.",
    "data": "flipbook.data.world (shapes, sky, figures; held-out combinations left out); weather satellite pictures, NOAA GOES-East, "
            "September 2017, public domain.",
}
"""What the card of the shipped weights says."""


def build(config: ThumbConfig | None = None) -> System:
    """The system with fresh weights."""
    config = config or ThumbConfig()
    return System(
        name="thumb",
        denoiser=DiT(config.denoiser),
        autoencoder=FrameAutoencoder(config.autoencoder),
        text_encoder=WordEncoder(config.text_encoder),
        process=Process(RectifiedFlow(shift=config.shift), predicts="flow"),
        defaults=dict(DEFAULTS),
    )
