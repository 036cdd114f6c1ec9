"""Discriminators of pictures and of pairs of frames: 2D residual networks, as in StyleGAN2 (arXiv:1912.04958) and DIGAN (arXiv:2202.10571).

Two moments and the time between them are all that the motion discriminator sees, so that it is as cheap as one of pictures, and asks at any
frame rate the same question: can these two frames stand so far apart?
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.equal import EqualConv2d, EqualLinear, leaky
from flipbook.shapes import fold_frames

LAST = 4
"""The side at which a picture is judged as a whole."""


class Discriminator(nn.Module):
    """Pictures (N, C, side, side) to logits (N,), above 0 for what it takes as real.

    dim: width at full size, doubled with each halving of the sides up to `max_dim`. A picture's logit does not depend on its batch.
    """

    def __init__(self, channels: int, side: int, dim: int, max_dim: int):
        super().__init__()
        halvings = side.bit_length() - LAST.bit_length()
        if side != LAST << max(halvings, 0):
            raise ValueError(f"side={side}: a discriminator halves its pictures down to {LAST} x {LAST}. Try 32, 64, or 128.")
        widths = [min(dim * 2**k, max_dim) for k in range(halvings + 1)]
        self.first = EqualConv2d(channels, widths[0], 1)
        self.blocks = nn.ModuleList(Halving(a, b) for a, b in pairwise(widths))
        self.whole = EqualConv2d(widths[-1], widths[-1], 3)
        self.hidden, self.logit = EqualLinear(widths[-1] * LAST**2, widths[-1]), EqualLinear(widths[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        x = leaky(self.first(x))
        for block in self.blocks:
            x = block(x)
        x = leaky(self.whole(x)).flatten(1)
        logit: Tensor = self.logit(leaky(self.hidden(x)))
        return logit.squeeze(1)


class Halving(nn.Module):
    """Two convolutions and half the sides, beside a plain way; both together at the variance of one."""

    def __init__(self, fan_in: int, fan_out: int):
        super().__init__()
        self.conv1, self.conv2 = EqualConv2d(fan_in, fan_in, 3), EqualConv2d(fan_in, fan_out, 3)
        self.plain = EqualConv2d(fan_in, fan_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:                                 # (N, C, H, W) to (N, C', H/2, W/2)
        y = F.avg_pool2d(leaky(self.conv2(leaky(self.conv1(x)))), 2)
        return (y + self.plain(F.avg_pool2d(x, 2))) / math.sqrt(2.0)


class ImageDiscriminator(nn.Module):
    """Each frame by itself."""

    def __init__(self, channels: int, side: int, dim: int, max_dim: int):
        super().__init__()
        self.net = Discriminator(channels, side, dim, max_dim)

    def forward(self, pair: Tensor, gap: Tensor) -> Tensor:
        """pair: (B, C, 2, H, W).   gap: not read.   Returns (B, 2), a logit for each frame."""
        logits: Tensor = self.net(fold_frames(pair))
        return logits.unflatten(0, (-1, 2))


class MotionDiscriminator(nn.Module):
    """Two frames one behind the other in the channels, and the time between them as a seventh channel (arXiv:2202.10571)."""

    def __init__(self, channels: int, side: int, dim: int, max_dim: int):
        super().__init__()
        self.net = Discriminator(2 * channels + 1, side, dim, max_dim)

    def forward(self, pair: Tensor, gap: Tensor) -> Tensor:
        """pair: (B, C, 2, H, W), the earlier frame first.   gap: (B,), in units of t.   Returns (B, 1)."""
        b, c, _, h, w = pair.shape
        gaps = gap.to(pair)[:, None, None, None].expand(b, 1, h, w)
        logits: Tensor = self.net(torch.cat([fold_frames(pair).reshape(b, 2 * c, h, w), gaps], dim=1))
        return logits[:, None]
