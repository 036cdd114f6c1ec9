"""Next frame by optical flow: each frame is the one before it, moved, and what is uncovered is painted in.

Our own composition of published parts, the simplest of the autoregressive systems: y_t = f(y_{t-1}, ..., y_{t-m}, x_t) with an
encoder-decoder transformer for f and the optical flow for x_t (`baselines/next_frame.py`), trained with squared error on true frames and
then on its own. What the flow of a frame to come is, nobody knows: what moved goes on moving.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flipbook.autoencoders.pixels import Pixels, PixelsConfig
from flipbook.baselines.next_frame import NextFrame, NextFrameConfig
from flipbook.systems.base import Card, System
from flipbook.systems.demo import SHAPE, Demo, Lesson
from flipbook.systems.predicting import STAGES, composed

CARD = Card(
    name="next-frame",
    title="Video-to-Video Synthesis (the flow and occlusion part of its generator)",
    arxiv="1808.06601",
    year=2018,
    authors="Ting-Chun Wang, Ming-Yu Liu, Jun-Yan Zhu, Guilin Liu, Andrew Tao, Jan Kautz, Bryan Catanzaro",
    reproduces=(
        "The frame before, warped by optical flow, and a soft mask of what it cannot explain, which the network paints.",
        "Teacher forcing and scheduled sampling (arXiv:1506.03099) in one rollout.",
    ),
    leaves_out=(
        "A transformer stands in the place of the convolutional generator.",
        "The flow of frames to come is carried on from those that are there, not predicted by a network.",
        "No adversarial and no feature-matching terms, no semantic maps.",
    ),
    citation="@inproceedings{wang2018vid2vid, title={Video-to-Video Synthesis}, author={Wang, Ting-Chun and Liu, Ming-Yu and Zhu, Jun-Yan and Liu, Guilin "
    "and Tao, Andrew and Kautz, Jan and Catanzaro, Bryan}, booktitle={NeurIPS}, year={2018}}",
)

__all__ = ["CARD", "DEMO", "STAGES", "TINY", "NextFrameSystemConfig", "build", "compose"]


@dataclass(frozen=True, kw_only=True)
class NextFrameSystemConfig:
    """Pixels as they are, so that the flow moves them exactly."""

    denoiser: NextFrameConfig = field(default_factory=NextFrameConfig)
    autoencoder: PixelsConfig = field(default_factory=lambda: PixelsConfig(patch=1))


TINY = NextFrameSystemConfig(denoiser=NextFrameConfig(context=2, dim=16, depth=1, num_heads=2))

DEMO = Demo(
    networks={"next-frame": NextFrameSystemConfig(denoiser=NextFrameConfig(context=2, dim=64, depth=1, num_heads=4))},
    lessons=(
        Lesson(network="next-frame", stage="frames", share=0.6, data={"fields": True}),
        Lesson(network="next-frame", stage="own frames", share=0.4, data={"fields": True}),
    ),
    settings=SHAPE, asks="beginning", latents=False,
)  # fmt: skip


def compose(**parts: Any) -> System:
    """The system of parts that are there: denoiser, autoencoder; name, card and defaults if they have others."""
    return composed(CARD, **parts)


def build(config: NextFrameSystemConfig | None = None) -> System:
    """The system with fresh weights."""
    config = config or NextFrameSystemConfig()
    return compose(denoiser=NextFrame(config.denoiser), autoencoder=Pixels(config.autoencoder))
