"""Numbers as vectors, and the norms around them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sinusoid(x: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Sines and cosines of real numbers at geometric frequencies: (...,) to (..., dim), dim even (arXiv:1706.03762, 3.5)."""
    half = dim // 2
    freqs = torch.exp(torch.arange(half, dtype=torch.float32, device=x.device) * (-math.log(max_period) / half))
    angles = x.to(torch.float32)[..., None] * freqs
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class RMSNorm(nn.Module):
    """x / rms(x) over the last axis, times a learned gain (arXiv:1910.07467). The statistics are float32."""

    def __init__(self, dim: int, eps: float = 1e-6):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)
        return (y * self.gain.float()).to(x.dtype)


class TimeEmbedding(nn.Module):
    """Noise level t in [0, 1], any shape, to vectors (..., dim): sinusoid of 1000 t, then a two-layer network."""

    def __init__(self, dim: int, num_frequencies: int = 128):
        super().__init__()
        self.num_frequencies = num_frequencies
        self.mlp = nn.Sequential(nn.Linear(num_frequencies, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t: Tensor) -> Tensor:
        return self.mlp(sinusoid(1000.0 * t, self.num_frequencies).to(next(self.mlp.parameters()).dtype))


def zero_(layer: nn.Linear | nn.Conv2d | nn.Conv3d) -> nn.Linear | nn.Conv2d | nn.Conv3d:
    """Set weight and bias to zero, so that a new branch starts silent (`zero output`)."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
