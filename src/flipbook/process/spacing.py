"""Step spacings: which noise levels a sampler visits.

Each function returns (num_steps + 1,) float64 times that fall strictly from at most 1 to 0; the last one is the clean sample.
Bind further arguments with functools.partial to make a `Spacing` for `noise_levels`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Spacing = Callable[[int], Tensor]


def uniform(num_steps: int) -> Tensor:
    """Equal steps of t from 1 to 0."""
    return torch.linspace(1.0, 0.0, _steps(num_steps) + 1, dtype=torch.float64)


def _steps(num_steps: int) -> int:
    if num_steps < 1:
        raise ValueError(f"num_inference_steps={num_steps}: a sampler takes at least one step. Try 20.")
    return num_steps
