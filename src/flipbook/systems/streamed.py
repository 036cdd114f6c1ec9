"""What causal systems share: thumb's transformer, which keeps the keys and values of clean frames and makes its clips chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flipbook.autoencoders.frame import FrameAutoencoder
from flipbook.conditions import TEXT, Entrance, FirstFrame, Frames
from flipbook.conditions.entrances import given_frames
from flipbook.denoisers.dit import DiT
from flipbook.encoders.words import WordEncoder
from flipbook.long.streaming import Streaming
from flipbook.process.path import RectifiedFlow
from flipbook.process.process import Process
from flipbook.systems import thumb
from flipbook.systems.base import Card, System


@dataclass(frozen=True, kw_only=True)
class StreamedConfig(thumb.ThumbConfig):
    """thumb's sizes; what a chunk is and how far back it reads, in latent frames."""

    streaming: Streaming = field(default_factory=lambda: Streaming(chunk=4, window=12))


TINY = StreamedConfig(
    autoencoder=thumb.TINY.autoencoder, denoiser=thumb.TINY.denoiser, text_encoder=thumb.TINY.text_encoder, streaming=Streaming(chunk=2, window=4),
)  # fmt: skip
BEGINNING = Entrance(name="frames", kinds=(Frames, FirstFrame), enter=given_frames)
"""Known frames are those that a video begins with: a stream has no last one."""
FEW_STEPS: dict[str, Any] = {**thumb.DEFAULTS, "num_inference_steps": 4, "guidance_scale": 1.0, "sampler": "euler"}
"""Of a student: its teacher's guidance is in its weights, and its few steps were taught without noise between them."""


def composed(of: Card, *, defaults: dict[str, Any] | None = None, **parts: Any) -> System:
    """The system of parts that are there: denoiser, autoencoder, text_encoder, streaming; name and card if they have others."""
    return System(
        **{"name": of.name, "streaming": Streaming(), "process": Process(RectifiedFlow(shift=thumb.ThumbConfig.shift), predicts="flow"), **parts},
        conditions=(TEXT, BEGINNING), method=of.name, defaults=FEW_STEPS | (defaults or {}),
    )  # fmt: skip


def built(of: Card, config: StreamedConfig) -> System:
    """The system with fresh weights."""
    return composed(
        of, denoiser=DiT(config.denoiser), autoencoder=FrameAutoencoder(config.autoencoder), text_encoder=WordEncoder(config.text_encoder),
        process=Process(RectifiedFlow(shift=config.shift), predicts="flow"), streaming=config.streaming,
    )  # fmt: skip
