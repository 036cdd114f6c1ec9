"""Layers of equal learning rates: weights of variance 1, scaled by their fan-in each time they are used (arXiv:1710.10196, section 4.1).

An optimiser whose steps have one size for every weight, such as Adam, then moves all layers by the same share of themselves.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GAIN = math.sqrt(2.0)


def leaky(x: Tensor) -> Tensor:
    """sqrt(2) max(x, 0.2 x): the activation around these layers, which keeps the variance about where it was."""
    return F.leaky_relu(x, 0.2) * GAIN


class EqualLinear(nn.Module):
    """x W^T rate / sqrt(fan-in) + rate b. Computed in float32, under autocast too: what it says is few numbers that much depends on.

    rate: how much slower it learns than others.   bias: where b starts.
    """

    def __init__(self, fan_in: int, fan_out: int, *, rate: float = 1.0, bias: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in) / rate)
        self.bias = nn.Parameter(torch.full((fan_out,), bias))
        self.rate, self.gain = rate, rate / math.sqrt(fan_in)

    def forward(self, x: Tensor) -> Tensor:
        """(..., fan-in) to (..., fan-out)."""
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.float(), self.weight.float() * self.gain, self.bias.float() * self.rate)

    def row_by_row(self, x: Tensor) -> Tensor:
        """The same, each row summed by itself: its bits do not depend on how many rows there are, as those of a matrix product may."""
        return (x.float()[..., None, :] * (self.weight.float() * self.gain)).sum(-1) + self.bias.float() * self.rate


class EqualConv2d(nn.Module):
    """A convolution over images whose sides it keeps."""

    def __init__(self, fan_in: int, fan_out: int, kernel: int, *, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(fan_out)) if bias else None
        self.gain, self.padding = 1.0 / (kernel * math.sqrt(fan_in)), kernel // 2

    def forward(self, x: Tensor) -> Tensor:                                 # (N, C, H, W)
        return F.conv2d(x, self.weight * self.gain, self.bias, padding=self.padding)
