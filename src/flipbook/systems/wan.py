"""Wan 2.1: text to video and image to video by a transformer that reads the whole clip at once, in the latents of a causal autoencoder.

Rectified flow with a shift that grows with the picture (3 at 480 p, 5 at 720 p). An image-to-video model sees beside every latent frame
what is known of it, and a mask that says which of its four frames are; and it reads rows of the picture beside those of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from flipbook.autoencoders.wan import WanAutoencoder, WanAutoencoderConfig
from flipbook.conditions import DRAFT, TEXT, Entrance, FirstFrame, Frames, Inputs, LastFrame, Request, pictures_of
from flipbook.denoisers.wan import Wan, WanConfig
from flipbook.encoders.picture import PictureEncoder, PictureEncoderConfig
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.interop.schedulers import SchedulerPlan
from flipbook.process.path import RectifiedFlow
from flipbook.process.process import Process
from flipbook.shapes import pixels_to_tensor
from flipbook.systems.base import Card, Stage, System
from flipbook.systems.demo import DEMO_WORDS, GUIDED, IMAGE_FIRST, Demo, Lesson
from flipbook.systems.latent import TINY_WORDS, run_by, words

CARD = Card(
    name="wan",
    title="Wan: Open and Advanced Large-Scale Video Generative Models",
    arxiv="2503.20314",
    year=2025,
    authors="Team Wan: Ang Wang, Baole Ai, Bin Wen, Chaojie Mao, Chen-Wei Xie, Di Chen, Feiwu Yu, Haiming Zhao, Jianxiao Yang, Jianyuan Zeng and others",
    reproduces=(
        "Wan 2.1 text to video (1.3 B, 14 B) and image to video (14 B), also between a first and a last frame: networks, autoencoder, condition recipe.",
        "Public folders of both pipelines, read and run; transformer and autoencoder also written.",
        "The causal autoencoder, streaming in both directions with a cache of features.",
    ),
    leaves_out=(
        "Wan 2.2: two experts by noise level, and the autoencoder with residual resampling.",
        "Training data, prompt rewriting by a language model, editing (VACE) and audio.",
    ),
    citation="@article{wan2025wan, title={Wan: Open and Advanced Large-Scale Video Generative Models}, author={Team Wan and Ang Wang and Baole Ai and Bin Wen "
    "and Chaojie Mao and others}, journal={arXiv preprint arXiv:2503.20314}, year={2025}}",
)

STAGES = (
    Stage(
        name="autoencoder", trains=(), parts=("autoencoder",), data="images and clips: reconstruction at a small price for the divergence of latents",
        objective="autoencoding",
    ),
    Stage(
        name="images", trains=("spatial", "temporal", "conditioning"), data="captioned images at 256 pixels",
        options={"form": "separate", "stills": 1}, parts=("denoiser", "text_encoder"),
    ),
    Stage(
        name="joint", trains=("spatial", "temporal", "conditioning"), data="captioned images and clips of 81 frames: 256 pixels, then 480 p and 720 p",
        options={"form": "separate", "stills": 1}, parts=("denoiser", "text_encoder"),
    ),
)  # fmt: skip

FPS = 16.0
SHIFT_480, SHIFT_720 = 3.0, 5.0                                             # of the noise levels, by the picture's size


def plan_of(shift: float) -> SchedulerPlan:
    """How Wan's own code samples: UniPC of second order at equally spaced levels, shifted towards noise."""
    return SchedulerPlan(process=Process(RectifiedFlow(shift), "flow", clock="level"), sampler="unipc", options={"order": 2}, spacing="uniform")


PLAN = plan_of(SHIFT_480)
DEFAULTS: dict[str, Any] = {
    "num_frames": 81, "fps": FPS, "height": 480, "width": 832, "sampler": PLAN.sampler, "num_inference_steps": 50, "guidance_scale": 5.0,
}

T2V_1_3B = WanConfig()
T2V_14B = WanConfig(dim=5120, depth=40, num_heads=40, mlp_dim=13824)
I2V_14B = replace(T2V_14B, channel_door=20, picture_dim=1280)
FLF2V_14B = replace(I2V_14B, picture_positions=514)
"""The published sizes: text to video, image to video, and from a first to a last frame."""


@dataclass(frozen=True, kw_only=True)
class WanSystemConfig:
    """The defaults are the 1.3 B text-to-video model, but for the encoders: fresh ones learn with the system, public folders bring umT5 and CLIP."""

    denoiser: WanConfig = T2V_1_3B
    autoencoder: WanAutoencoderConfig = field(default_factory=WanAutoencoderConfig)
    text_encoder: WordEncoderConfig = field(default_factory=lambda: words(4096))


TINY = WanSystemConfig(
    denoiser=WanConfig(in_channels=4, text_dim=32, dim=32, depth=2, num_heads=2, mlp_dim=64, time_frequencies=32),
    autoencoder=WanAutoencoderConfig(
        latent_channels=4, dim=8, mults=(1, 2, 2), packs_time=(True, True), blocks=1, latent_mean=(0.0,) * 4, latent_std=(1.0,) * 4,
    ),
    text_encoder=TINY_WORDS,
)  # fmt: skip
DEMO = Demo(
    networks={"wan": WanSystemConfig(
        denoiser=WanConfig(in_channels=4, text_dim=64, dim=128, depth=6, num_heads=4, mlp_dim=512), text_encoder=DEMO_WORDS,
    )},
    lessons=(
        replace(IMAGE_FIRST, network="wan", share=0.3),
        Lesson(network="wan", stage="joint", batch=16, share=0.7, options={"stills": 0}),
    ),
    settings=GUIDED,
)  # fmt: skip
"""On latents of single frames: a minute does not teach an autoencoder that packs time (stage "autoencoder")."""
TINY_I2V = replace(TINY, denoiser=replace(TINY.denoiser, channel_door=8, picture_dim=16))


def known_frames(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """Given pictures by two doors. `channels`: a mask of which frames of each latent frame are known, and the latents of the clip that has
    the pictures and an even gray elsewhere. `picture_tokens`: the pictures' rows by the image encoder, one behind the other.
    """
    size, stride = inputs.size, system.autoencoder.time_stride
    clips = inputs.given.new_zeros(len(requests), 3, size.num_frames, size.height, size.width)
    mask = inputs.given.new_zeros(len(requests), size.num_frames)
    for row, request in enumerate(requests):
        for frame, picture in pictures_of(request).items():
            clips[row, :, frame] = pixels_to_tensor(picture[None])[:, 0].to(clips)
            mask[row, frame] = 1.0
    z = system.autoencoder.encode(clips.to(next(system.autoencoder.parameters()))).to(inputs.given)
    channels = torch.cat([packed_mask(mask, stride)[..., None, None].expand(-1, -1, -1, *z.shape[-2:]), z], dim=1)
    doors = inputs.doors.with_(channels=channels)
    if system.image_encoder is not None:
        doors = doors.with_(picture_tokens=_picture_rows(system, clips, mask))
    return replace(inputs, doors=doors)


def packed_mask(mask: Tensor, stride: int) -> Tensor:
    """Known frames (B, T) by latent frame, (B, stride, 1 + (T - 1) / stride); the first frame fills its latent frame alone."""
    full = torch.cat([mask[:, :1].expand(-1, stride), mask[:, 1:]], dim=1)
    return full.unflatten(1, (-1, stride)).transpose(1, 2)


def _picture_rows(system: System, clips: Tensor, mask: Tensor) -> Tensor:
    """Rows (B, n L, D) of the n known frames of each clip. Raises ValueError if they are not as many in each, or not those that the network reads."""
    counts = mask.sum(1).long()
    if (counts != counts[0]).any():
        raise ValueError("the videos of one batch have different numbers of given frames. Try batch_size=1.")
    if system.denoiser.config.picture_positions is not None and not bool((mask[:, [0, -1]] == 1).all() and (counts == 2).all()):
        raise ValueError("this model goes from a first to a last frame: it needs both, and no other. Try [Text('...'), FirstFrame(a), LastFrame(b)].")
    images = clips.transpose(1, 2)[mask > 0]                                # (B n, 3, H, W)
    rows = system.image_encoder.encode(images)                              # (B n, L, D)
    return rows.unflatten(0, (len(clips), -1)).flatten(1, 2)


PICTURE = Entrance(name="picture", kinds=(FirstFrame, Frames), enter=known_frames, places=(0,))
PICTURES = Entrance(name="pictures", kinds=(FirstFrame, LastFrame, Frames), enter=known_frames)


def recipe(denoiser: WanConfig) -> tuple[Entrance, ...]:
    """Which conditions enter a network, by its config. Guidance switches the text off, and leaves the picture on."""
    if not denoiser.channel_door:
        return TEXT, DRAFT
    return (TEXT, PICTURE) if denoiser.picture_positions is None else (TEXT, PICTURES)


def compose(*, plan: SchedulerPlan = PLAN, defaults: dict[str, Any] | None = None, **parts: Any) -> System:
    """The system of parts that are there: denoiser, autoencoder, text_encoder, image_encoder if it reads pictures; name and card if they have others."""
    return System(
        **{"name": CARD.name, **parts}, method=CARD.name, conditions=recipe(parts["denoiser"].config), index_fps=None, **run_by(plan),
        defaults=DEFAULTS | {"sampler": plan.sampler} | (defaults or {}),
    )  # fmt: skip


def build(config: WanSystemConfig | None = None) -> System:
    """The system with fresh weights."""
    config = config or WanSystemConfig()
    picture = config.denoiser.picture_dim
    return compose(
        denoiser=Wan(config.denoiser), autoencoder=WanAutoencoder(config.autoencoder), text_encoder=WordEncoder(config.text_encoder),
        image_encoder=None if picture is None else PictureEncoder(PictureEncoderConfig(dim=picture)),
    )  # fmt: skip
