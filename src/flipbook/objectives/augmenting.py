"""Differentiable augmentation: what discriminators are shown of true and of made clips alike (arXiv:2006.10738).

A discriminator that sees few clips learns them by heart. If each is shown in other colours and a little aside, true ones and made ones by the same
law, and if gradient flows through, then the generator still learns the clips themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT = 0.125
"""Of the sides: how far a clip is moved, at most."""


def augmented(x: Tensor, seeds: Sequence[int]) -> Tensor:
    """Clips (B, C, T, H, W) in other light, colour and contrast, and moved over black ground, as each one's seed says: all its frames alike."""
    return torch.stack([_one(clip, torch.Generator().manual_seed(seed)) for clip, seed in zip(x, seeds, strict=True)])


def _one(x: Tensor, generator: torch.Generator) -> Tensor:                  # (C, T, H, W)
    light, colour, contrast = torch.rand(3, generator=generator).tolist()
    x = x + (light - 0.5)
    gray = x.mean(0, keepdim=True)
    x = gray + 2.0 * colour * (x - gray)
    middle = x.mean()
    x = middle + (0.5 + contrast) * (x - middle)
    height, width = x.shape[2:]
    down, right = (int(SHIFT * side + 0.5) for side in (height, width))
    top, left = (int(torch.randint(2 * most + 1, (), generator=generator)) for most in (down, right))
    return F.pad(x, (right, right, down, down))[:, :, top : top + height, left : left + width]
