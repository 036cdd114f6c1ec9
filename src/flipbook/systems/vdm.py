"""VDM, Video Diffusion Models: a factorised space-time U-Net on pixels that learns from clips and stills together.

The network reads no frames, and is given some all the same: they stand in the noisy clip, as noisy as the others, and those that are wanted
lean to what makes them come out right (reconstruction guidance). So a clip is animated, goes on, or is filled in; `flipbook.steering` has
the energy, and that of larger pictures. Clips and stills ride in one batch, kept apart by the network: `objectives/conditioned.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from flipbook.autoencoders.pixels import Pixels, PixelsConfig
from flipbook.conditions import TEXT_AND_FRAMES, Inputs
from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.denoisers.unet_tables import VDM as TABLE
from flipbook.encoders.wordlist import WORDS
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.process.matrix import noise_levels
from flipbook.process.path import Cosine, Path
from flipbook.process.process import Process
from flipbook.process.spacing import linspace
from flipbook.samplers.common import Denoise, Hook, Noise
from flipbook.steering import clip_at, langevin, reconstruction_guidance, replacement
from flipbook.systems.base import Card, Stage, System
from flipbook.systems.demo import DEMO_WORDS, SHAPE, Demo, Lesson

CARD = Card(
    name="vdm",
    title="Video Diffusion Models",
    arxiv="2204.03458",
    year=2022,
    authors="Jonathan Ho, Tim Salimans, Alexey Gritsenko, William Chan, Mohammad Norouzi, David J. Fleet",
    reproduces=(
        "A 2D U-Net whose temporal attention has distance buckets, in the layout of lucidrains' code with its rotary embedding.",
        "Stills appended to clips, kept apart by the image-only switch.",
        "Given frames by reconstruction guidance, or by the replacement method alone (weight 0); Langevin corrections.",
    ),
    leaves_out=(
        "The distance biases are not shared by all layers.",
        "Sentences enter by cross-attention to our own words, not as one pooled BERT vector.",
        "Spatial super-resolution by guidance has its energy in `flipbook.steering`, and no request asks for it.",
    ),
    citation="@inproceedings{ho2022video, title={Video Diffusion Models}, author={Ho, Jonathan and Salimans, Tim and Gritsenko, Alexey and Chan, "
    "William and Norouzi, Mohammad and Fleet, David J.}, booktitle={NeurIPS}, year={2022}}",
)

STAGES = (
    Stage(
        name="joint", trains=("spatial", "temporal", "conditioning"), data="captioned clips, each with stills of other clips behind it",
        objective="conditioned", options={"form": "append", "stills": 4}, parts=("denoiser", "text_encoder"),
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class VDMConfig:
    """Sizes.

    first:          the noise level that sampling starts from, just short of pure noise, of which an eps prediction says nothing.
    reconstruction: weight of reconstruction guidance where frames are given; 0: they are put in place and nothing leans to them.
    langevin:       size of the correction between two steps, 0.1 in the paper; 0: none, which saves half of the calls.
    """

    denoiser: UNetConfig = field(
        default_factory=lambda: UNetConfig(
            in_channels=3, widths=(64, 128, 256, 512), depths=(2, 2, 2, 2), transformers=(0, 1, 1, 1), heads=(8, 8, 8, 8), text_dim=192,
            time_scale_shift=True, clock="edm", inserts=TABLE,
        )
    )  # fmt: skip
    autoencoder: PixelsConfig = field(default_factory=lambda: PixelsConfig(patch=1))
    text_encoder: WordEncoderConfig = field(default_factory=lambda: WordEncoderConfig(words=WORDS))
    first: float = 0.995
    reconstruction: float = 2.0
    langevin: float = 0.0


TINY = VDMConfig(
    denoiser=UNetConfig(
        in_channels=3, widths=(16, 32), depths=(1, 1), transformers=(0, 1), heads=(2, 2), text_dim=32, groups=8,
        time_scale_shift=True, clock="edm", inserts=TABLE,
    ),
    text_encoder=WordEncoderConfig(words=WORDS, dim=32, depth=1, num_heads=2),
)  # fmt: skip

DEMO = Demo(
    networks={"vdm": VDMConfig(
        denoiser=UNetConfig(
            in_channels=12, widths=(32, 64), depths=(1, 1), transformers=(0, 1), heads=(2, 4), text_dim=64, groups=8,
            time_scale_shift=True, clock="edm", inserts=TABLE,
        ),
        autoencoder=PixelsConfig(patch=2), text_encoder=DEMO_WORDS,
    )},
    lessons=(Lesson(network="vdm", stage="joint", batch=20),), latents=False,
    settings={**SHAPE, "guidance_scale": 2.0, "num_inference_steps": 32},
)  # fmt: skip
"""Pixels two by two: a quarter of the places, twelve numbers at each."""

DEFAULTS: dict[str, Any] = {
    "num_frames": 16, "fps": 8.0, "height": 64, "width": 64, "sampler": "ddpm", "num_inference_steps": 128, "guidance_scale": 2.0,
}  # fmt: skip


def levels(first: float, num_steps: int, num_frames: int, *, given: Any = ()) -> Tensor:
    """All frames go through the levels together, given ones as well: `steered` puts them there."""
    return noise_levels(num_steps, num_frames, spacing=partial(linspace, first=first))


def steered(
    weight: float, step: float, denoise: Denoise, inputs: Inputs, path: Path, matrix: Tensor, noise: Noise
) -> tuple[Denoise, Hook | None]:
    """The denoiser with reconstruction guidance, and the hook that corrects the state and puts given frames in their places (section 3.1)."""
    hooks: list[Hook] = []
    if inputs.is_given.any():
        denoise = reconstruction_guidance(denoise, inputs.given, inputs.is_given, path, weight=weight)
        hooks.append(replacement(inputs.given, inputs.is_given, path, matrix, noise))
    if step:
        hooks.insert(0, langevin(denoise, path, matrix, noise, step=step))

    def one_after_the_other(x: Tensor, i: int) -> Tensor:
        for hook in hooks:
            x = hook(x, i)
        return x

    return denoise, one_after_the_other if hooks else None


def compose(
    *, defaults: dict[str, Any] | None = None, first: float = 0.995, reconstruction: float = 2.0, langevin: float = 0.0, **parts: Any
) -> System:
    """The system of parts that are there: denoiser, autoencoder (pixels), text_encoder; name and card if they have others."""
    return System(
        **{"name": CARD.name, **parts}, method=CARD.name, process=Process(Cosine(), predicts="eps"), defaults=DEFAULTS | (defaults or {}),
        conditions=TEXT_AND_FRAMES, levels=partial(levels, first), steer=partial(steered, reconstruction, langevin),
        x0_hook=clip_at(1.0 / parts["autoencoder"].config.scale),
    )  # fmt: skip


def build(config: VDMConfig | None = None) -> System:
    """The system with fresh weights."""
    config = config or VDMConfig()
    return compose(
        denoiser=UNet(config.denoiser), autoencoder=Pixels(config.autoencoder), text_encoder=WordEncoder(config.text_encoder),
        first=config.first, reconstruction=config.reconstruction, langevin=config.langevin,
    )  # fmt: skip
