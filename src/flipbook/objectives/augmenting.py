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
    """Clips (B, C, T, H, W) in other light, colour and contrast, and moved over mid-gray ground, as each one's seed says: all its frames alike."""
    chance = torch.stack([torch.rand(5, generator=torch.Generator().manual_seed(seed)) for seed in seeds]).to(x)
    light, colour, contrast = (u.view(-1, 1, 1, 1, 1) for u in chance[:, :3].unbind(1))
    x = x + (light - 0.5)
    gray = x.mean(1, keepdim=True)
    x = gray + 2.0 * colour * (x - gray)
    middle = x.mean((1, 2, 3, 4), keepdim=True)
    x = middle + (0.5 + contrast) * (x - middle)
    return _moved(_moved(x, 3, chance[:, 3]), 4, chance[:, 4])


def _moved(x: Tensor, axis: int, u: Tensor) -> Tensor:
    """Each clip moved along one axis of its pictures by a whole number of cells, as even draws u (B,) in [0, 1) say; what comes in is 0."""
    side = x.shape[axis]
    most = int(SHIFT * side + 0.5)
    start = (u.double() * (2 * most + 1)).long().clamp(max=2 * most)
    shape = [len(x), 1, 1, 1, 1]
    shape[axis] = side
    index = (start[:, None] + torch.arange(side, device=x.device)).view(shape)
    ends = (0, 0, most, most) if axis == 3 else (most, most)
    return F.pad(x, ends).gather(axis, index.expand(x.shape))
