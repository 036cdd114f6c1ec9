"""TCN: the next frame by causal dilated convolutions along time.

The paper is about sequences of any kind; that its network runs over the features of frames, between two small image networks, is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flipbook.autoencoders.pixels import Pixels, PixelsConfig
from flipbook.baselines.tcn import TCN, TCNConfig
from flipbook.systems.base import Card, System
from flipbook.systems.demo import SHAPE, Demo, Lesson
from flipbook.systems.predicting import STAGES, composed

CARD = Card(
    name="tcn",
    title="An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence Modeling",
    arxiv="1803.01271",
    year=2018,
    authors="Shaojie Bai, J. Zico Kolter, Vladlen Koltun",
    reproduces=(
        "Blocks of two weight-normed causal convolutions whose dilation doubles, with dropout of whole channels and a residual.",
        "All frames at once in training, one at a time in fixed memory after it, with the same result.",
    ),
    leaves_out=("The image networks before and behind it, and what it says being added to the frame before, are ours.",),
    citation="@article{bai2018tcn, title={An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence Modeling}, author={Bai, "
    "Shaojie and Kolter, J. Zico and Koltun, Vladlen}, journal={arXiv preprint arXiv:1803.01271}, year={2018}}",
)

__all__ = ["CARD", "DEMO", "STAGES", "TINY", "TCNSystemConfig", "build", "compose"]


@dataclass(frozen=True, kw_only=True)
class TCNSystemConfig:
    """Sizes."""

    denoiser: TCNConfig = field(default_factory=TCNConfig)
    autoencoder: PixelsConfig = field(default_factory=lambda: PixelsConfig(patch=4))


TINY = TCNSystemConfig(denoiser=TCNConfig(dim=16, depth=2))

DEMO = Demo(
    networks={"tcn": TCNSystemConfig()},
    lessons=(Lesson(network="tcn", stage="frames", share=0.6), Lesson(network="tcn", stage="own frames", share=0.4)),
    settings=SHAPE, asks="beginning", latents=False,
)  # fmt: skip


def compose(**parts: Any) -> System:
    """The system of parts that are there: denoiser, autoencoder; name, card and defaults if they have others."""
    return composed(CARD, **parts)


def build(config: TCNSystemConfig | None = None) -> System:
    """The system with fresh weights."""
    config = config or TCNSystemConfig()
    return compose(denoiser=TCN(config.denoiser), autoencoder=Pixels(config.autoencoder))
