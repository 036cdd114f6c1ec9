"""DIGAN: a clip as a function of place and time, learnt against two discriminators; the adversarial baseline of its era.

A generator that is no denoiser (`baselines/implicit.py`): two vectors are drawn, one for what is seen and one for how it moves, and colours are
computed at any place and moment, all frames at once. It learns from pairs of frames (`objectives/adversarial.py`): one discriminator judges pictures,
the other two frames and the time between them. There is no noise here to take away, so no sampler of `flipbook.samplers` and no steps.

Asked for clips at another rate it computes other moments of the same function, so a seed keeps its clip: `fps` and `num_frames` say which moments, from
the clip's beginning, also behind the length that it learnt from. It reads neither sentences nor pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from flipbook.autoencoders.pixels import Pixels, PixelsConfig
from flipbook.baselines.implicit import ImplicitVideo, ImplicitVideoConfig, vectors
from flipbook.conditions import MOTION_SEED, Inputs, MotionSeed, Request, first_of
from flipbook.nn.doors import Doors
from flipbook.process.none import NoNoise
from flipbook.process.process import Process
from flipbook.systems.base import Card, Stage, System
from flipbook.systems.demo import SHAPE, Demo, Lesson

CARD = Card(
    name="digan",
    title="Generating Videos with Dynamics-aware Implicit Generative Adversarial Networks",
    arxiv="2202.10571",
    year=2022,
    authors="Sihyun Yu, Jihoon Tack, Sangwoo Mo, Hyunsu Kim, Junho Kim, Jung-Woo Ha, Jinwoo Shin",
    reproduces=(
        "The clip as a function of (x, y, t): Fourier features of places whose phases alone move, by a motion vector that time multiplies.",
        "Layers whose weights are each clip's own, by factorised modulation with rows of length 1.",
        "Two discriminators, of pictures and of two frames with the time between them, with the non-saturating loss and R1.",
        "Moments of training from a Beta(2, 1) and a Beta(1, 2) draw; light, colour, contrast and place augmented for both frames alike.",
    ),
    leaves_out=(
        "A discriminator's batch statistics, so that a clip is judged by itself; averages stand in the place of its blur filters.",
        "Made pairs stand at moments at which true frames stand; in the authors' code they stand anywhere, and the time alone can tell them apart.",
        "One output of colours per resolution instead of several at the coarsest.",
        "Clips are not mirrored; no truncation of the content vector, no class labels.",
        "t = 1 is a length in seconds, not the end of whatever clip is shown.",
        "The authors' figures (FVD on UCF-101, Sky, TaiChi): nothing was trained at their size, and there are no weights of theirs to load.",
    ),
    citation="@inproceedings{yu2022digan, title={Generating Videos with Dynamics-aware Implicit Generative Adversarial Networks}, author={Yu, Sihyun and "
    "Tack, Jihoon and Mo, Sangwoo and Kim, Hyunsu and Kim, Junho and Ha, Jung-Woo and Shin, Jinwoo}, booktitle={ICLR}, year={2022}}",
)

STAGES = (Stage(name="pairs", trains=(), data="two frames of each clip and the time between them, no sentences", objective="adversarial"),)

DEFAULTS: dict[str, Any] = {
    "num_frames": 16, "fps": 8.0, "height": 128, "width": 128, "sampler": "moments", "num_inference_steps": 1, "guidance_scale": 1.0,
}
AT_ONCE = 16
"""Frames in memory at a time."""


@dataclass(frozen=True, kw_only=True)
class DIGANConfig:
    """The paper's sizes for 128 x 128; t = 1 is two seconds, the length of the world's clips."""

    denoiser: ImplicitVideoConfig = field(default_factory=ImplicitVideoConfig)
    autoencoder: PixelsConfig = field(default_factory=lambda: PixelsConfig(patch=1, scale=1.0))


TINY = DIGANConfig(
    denoiser=ImplicitVideoConfig(content=12, motion=10, dim=16, frequencies=8, base=8, widths=(16, 12), layers=(2, 1), rank=2),
)  # fmt: skip

GAN_RECIPE: dict[str, Any] = {
    "optimizer": {"name": "adamw", "lr": 5e-3, "betas": [0.0, 0.99], "weight_decay": 0.0}, "clip_norm": 0.0, "ema": 0.995,
}
"""Keys of a recipe that adversarial training wants otherwise: no momentum, no decay, slopes of R1 as they come. Twice the paper's rate, for minutes."""

DEMO = Demo(
    networks={"digan": DIGANConfig(
        denoiser=ImplicitVideoConfig(
            content=64, motion=64, dim=64, frequencies=32, time_bandwidth=2.0, base=16, widths=(64, 48), layers=(3, 2), rank=4,
        )
    )},
    lessons=(Lesson(
        network="digan", stage="pairs", batch=16, options={"dim": 16, "max_dim": 64, "r1": 0.1, "augment": False}, recipe=GAN_RECIPE,
    ),),
    settings=SHAPE, asks="nothing", latents=False,
)  # fmt: skip
"""Phases turn eight times as fast in time as in the paper: weights of variance 1 move by the learning rate an update, and objects of the world cross half
the picture. The world never shows a clip twice, so nothing is augmented; R1 weighs less, as pictures are smaller."""


def draw_moments(
    system: System, net: Any, requests: Sequence[Request], inputs: Inputs, doors: Mapping[str, Doors], guidance_scale: float
) -> Tensor:
    """Frames (B, C, T, h, w) at 0, 1 / fps, 2 / fps, ... seconds of each sample's clip."""
    config, device = net.config, inputs.given.device
    t = torch.arange(inputs.size.num_frames, device=device) / inputs.size.fps / config.seconds
    moves = [first_of(request, MotionSeed) or MotionSeed(seed) for request, seed in zip(requests, inputs.seeds, strict=True)]
    content = vectors(inputs.seeds, "content", config.content).to(device)
    motion = vectors([one.seed for one in moves], "motion", config.motion).to(device)
    height, width = inputs.given.shape[3:]
    return torch.cat([net(content, motion, some, height, width) for some in t.split(AT_ONCE)], dim=2)


def compose(*, defaults: dict[str, Any] | None = None, **parts: Any) -> System:
    """The system of parts that are there: denoiser, autoencoder (pixels); name and card if they have others."""
    return System(
        **{"name": CARD.name, "text_encoder": None, **parts}, method=CARD.name, process=Process(NoNoise(), predicts="x0"),
        defaults=DEFAULTS | (defaults or {}), conditions=(MOTION_SEED,), draws={"moments": draw_moments},
    )  # fmt: skip


def build(config: DIGANConfig | None = None) -> System:
    """The system with fresh weights; its clips have the sides that the generator is made for, unless others are asked for."""
    config = config or DIGANConfig()
    side = {"height": config.denoiser.side, "width": config.denoiser.side}
    return compose(denoiser=ImplicitVideo(config.denoiser), autoencoder=Pixels(config.autoencoder), defaults=side)
