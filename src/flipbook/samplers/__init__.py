"""Samplers: pure functions (denoise, x, path, matrix) -> x0. `SAMPLERS` maps their names to them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from flipbook.samplers.ddim import sample_ddim
from flipbook.samplers.ddpm import sample_ddpm
from flipbook.samplers.dpmpp_2m import sample_dpmpp_2m, sample_dpmpp_2m_sde
from flipbook.samplers.euler import sample_euler
from flipbook.samplers.euler_ancestral import sample_euler_ancestral
from flipbook.samplers.heun import sample_heun
from flipbook.samplers.unipc import sample_unipc

SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "ddpm": sample_ddpm,
    "ddim": sample_ddim,
    "euler": sample_euler,
    "euler_ancestral": sample_euler_ancestral,
    "heun": sample_heun,
    "dpmpp_2m": sample_dpmpp_2m,
    "dpmpp_2m_sde": sample_dpmpp_2m_sde,
    "unipc": sample_unipc,
}

__all__ = [
    "SAMPLERS",
    "sample_ddim",
    "sample_ddpm",
    "sample_dpmpp_2m",
    "sample_dpmpp_2m_sde",
    "sample_euler",
    "sample_euler_ancestral",
    "sample_heun",
    "sample_unipc",
]
