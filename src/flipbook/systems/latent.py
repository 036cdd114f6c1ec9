"""What the systems on Stable Diffusion's image model share: its networks' sizes, its schedule, their tiny variants, and how a
scheduler's plan runs a system."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flipbook.autoencoders.kl import KLAutoencoderConfig
from flipbook.denoisers.unet import UNetConfig
from flipbook.encoders.wordlist import WORDS
from flipbook.encoders.words import WordEncoderConfig
from flipbook.interop.schedulers import SchedulerPlan
from flipbook.process.process import Process
from flipbook.process.vp import VP

SD_1 = UNetConfig(heads=(8, 8, 8, 8), text_dim=768)
"""The image U-Net of Stable Diffusion 1.x, arXiv:2112.10752."""
SD_2 = UNetConfig(head_dim=64, text_dim=1024)
"""The image U-Net of Stable Diffusion 2.x: heads of one size, text by OpenCLIP ViT-H."""

PLAN = SchedulerPlan(process=Process(VP(), "eps"), sampler="ddim", spacing="leading", offset=1)
"""How Stable Diffusion's own code samples: eps, 1000 levels of the scaled-linear schedule, DDIM at evenly spaced levels from 1 on."""

TINY_AUTOENCODER = KLAutoencoderConfig(dims=(16, 32, 32), blocks=1, groups=8)
TINY_WORDS = WordEncoderConfig(words=WORDS, dim=32, depth=1, num_heads=2)


def words(dim: int) -> WordEncoderConfig:
    """The text encoder of a system that is built fresh, which learns with it. Public folders bring CLIP instead."""
    return WordEncoderConfig(words=WORDS, dim=dim)


def tiny(full: UNetConfig, **changes: Any) -> UNetConfig:
    """A U-Net of the same kind, of less than a million weights: two levels, the same doors and inserts."""
    small: dict[str, Any] = {
        "widths": (32, 64), "depths": (1, 1), "transformers": (1, 0), "heads": (2, 2), "head_dim": None, "groups": 8,
        "text_dim": None if full.text_dim is None else 32,
    }  # fmt: skip
    return replace(full, **{**small, **changes})


def learned_variance(config: Any) -> dict[str, dict[str, Any]]:
    """The `sampler_options` of a network that predicts twice the channels it is given: DDPM draws with the variance that it learned."""
    return {"ddpm": {"variance": "learned"}} if config.out_channels == 2 * config.in_channels else {}


def run_by(plan: SchedulerPlan) -> dict[str, Any]:
    """The fields of a `System` that a scheduler's plan decides; its sampler belongs to the system's defaults."""
    ends_short = plan.spacing in ("linspace", "trailing") and plan.sampler in ("euler", "euler_ancestral")
    return {
        "process": plan.process,
        "levels": plan.matrix,
        "sampler_options": {plan.sampler: plan.options} if plan.options else {},
        "x0_hook": plan.x0_hook,
        "unit_noise": not ends_short,                                       # those start from sigma eps in their authors' code
    }
