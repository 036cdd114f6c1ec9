"""Samplers: pure functions (denoise, x, path, matrix) -> x0. `SAMPLERS` maps their names to them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

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


def puts_noise(name: str, options: Mapping[str, Any] | None = None) -> bool:
    """Whether the sampler of that name puts fresh noise between its steps. options: what it is called with besides (`System.sampler_options`)."""
    eta = inspect.signature(SAMPLERS[name]).parameters.get("eta")
    return name == "ddpm" or (eta is not None and (options or {}).get("eta", eta.default) > 0)


__all__ = [
    "SAMPLERS",
    "puts_noise",
    "sample_ddim",
    "sample_ddpm",
    "sample_dpmpp_2m",
    "sample_dpmpp_2m_sde",
    "sample_euler",
    "sample_euler_ancestral",
    "sample_heun",
    "sample_unipc",
]
