"""ConvLSTM: the next frame by a recurrent network whose products are convolutions.

Squares of pixels are the channels of a cell, as its authors had them. It reads the given frames, and goes on from its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flipbook.autoencoders.pixels import Pixels, PixelsConfig
from flipbook.baselines.conv_lstm import ConvLSTM, ConvLSTMConfig
from flipbook.systems.base import Card, System
from flipbook.systems.demo import SHAPE, Demo, Lesson
from flipbook.systems.predicting import STAGES, composed

CARD = Card(
    name="convlstm",
    title="Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting",
    arxiv="1506.04214",
    year=2015,
    authors="Xingjian Shi, Zhourong Chen, Hao Wang, Dit-Yan Yeung, Wai-kin Wong, Wang-chun Woo",
    reproduces=(
        "The cell, with or without peepholes, in a stack whose states a 1 x 1 convolution reads together.",
        "Squares of pixels as channels.",
    ),
    leaves_out=(
        "One stack reads and forecasts, on its own frames; the paper copies the states into a second stack that is shown nothing.",
        "What it says is added to the frame before, and learns by squared error, not by cross-entropy.",
    ),
    citation="@inproceedings{shi2015convlstm, title={Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting}, author={Shi, "
    "Xingjian and Chen, Zhourong and Wang, Hao and Yeung, Dit-Yan and Wong, Wai-kin and Woo, Wang-chun}, booktitle={NeurIPS}, year={2015}}",
)

__all__ = ["CARD", "DEMO", "STAGES", "TINY", "ConvLSTMSystemConfig", "build", "compose"]


@dataclass(frozen=True, kw_only=True)
class ConvLSTMSystemConfig:
    """Sizes."""

    denoiser: ConvLSTMConfig = field(default_factory=lambda: ConvLSTMConfig(in_channels=48))
    autoencoder: PixelsConfig = field(default_factory=lambda: PixelsConfig(patch=4))


TINY = ConvLSTMSystemConfig(denoiser=ConvLSTMConfig(in_channels=48, dims=(8, 8), kernel=3))

DEMO = Demo(
    networks={"convlstm": ConvLSTMSystemConfig(denoiser=ConvLSTMConfig(in_channels=48, dims=(64, 64), kernel=3))},
    lessons=(Lesson(network="convlstm", stage="frames", share=0.6), Lesson(network="convlstm", stage="own frames", share=0.4)),
    settings=SHAPE, asks="beginning", latents=False,
)  # fmt: skip


def compose(**parts: Any) -> System:
    """The system of parts that are there: denoiser, autoencoder; name, card and defaults if they have others."""
    return composed(CARD, **parts)


def build(config: ConvLSTMSystemConfig | None = None) -> System:
    """The system with fresh weights."""
    config = config or ConvLSTMSystemConfig()
    return compose(denoiser=ConvLSTM(config.denoiser), autoencoder=Pixels(config.autoencoder))
