"""Damage of known kind and strength: what a metric must notice, if it claims to see that kind of damage.

Every kind is a function of (clips, strength, seed) with clips (B, C, T, H, W) in [-1, 1] and strength in [0, 1]; strength 0
changes nothing. Damage is nested: with the same seed, what a weak strength touches a stronger one touches too.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from flipbook.data.seeds import permutation
from flipbook.shapes import fold_frames, unfold_frames

LEVELS = (0.2, 0.4, 0.6, 0.8, 1.0)
"""The five strengths at which a metric has to rise strictly."""


def blur(x: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Gaussian blur; at full strength its sigma is a twentieth of the short side."""
    sigma = strength * min(x.shape[-2:]) / 20
    if sigma == 0:
        return x
    reach = min(int(3 * sigma + 1), min(x.shape[-2:]) - 1)
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=x.dtype) / sigma) ** 2)
    taps = (taps / taps.sum()).expand(x.shape[1], 1, 1, -1)                      # (C, 1, 1, K)
    frames = F.pad(fold_frames(x), (reach,) * 4, mode="reflect")
    frames = F.conv2d(frames, taps, groups=x.shape[1])
    frames = F.conv2d(frames, taps.transpose(2, 3), groups=x.shape[1])
    return unfold_frames(frames, len(x))


def noise(x: Tensor, strength: float, seed: int = 0) -> Tensor:
    """White noise, new in each frame; at full strength its standard deviation is 0.4."""
    g = torch.Generator().manual_seed(seed)
    return (x + 0.4 * strength * torch.randn(x.shape, generator=g, dtype=x.dtype)).clamp(-1, 1)


def blocks(x: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Mosaic of squares an eighth of the short side wide, mixed in; at full strength nothing else is left."""
    side = max(2, min(x.shape[-2:]) // 8)
    frames = fold_frames(x)
    coarse = F.interpolate(F.avg_pool2d(frames, side, ceil_mode=True), scale_factor=side, mode="nearest")
    return unfold_frames(torch.lerp(frames, coarse[..., : x.shape[-2], : x.shape[-1]], strength), len(x))


def freeze(x: Tensor, strength: float, seed: int = 0) -> Tensor:
    """The clip stops: its last frames repeat the one before them; at full strength all repeat the first."""
    t = x.shape[2]
    moving = max(1, t - round(strength * t))
    return x[:, :, torch.arange(t).clamp(max=moving - 1)]


def shuffle(x: Tensor, strength: float, seed: int = 0) -> Tensor:
    """A share of the frames, chosen at random, goes round in a circle, each one to the place of another."""
    t = x.shape[2]
    order = permutation(t, seed, "shuffle")[: round(strength * t)]
    index = torch.arange(t)
    index[torch.as_tensor(order)] = torch.as_tensor(order).roll(1)
    return x[:, :, index]


def colour(x: Tensor, strength: float, seed: int = 0) -> Tensor:
    """A warm cast: red rises and blue sinks, at full strength by 0.4 each."""
    if x.shape[1] != 3:
        raise ValueError(f"clips have {x.shape[1]} channels: a cast needs red, green and blue. Try RGB clips.")
    return (x + 0.4 * strength * torch.tensor([1.0, 0.0, -1.0], dtype=x.dtype).view(3, 1, 1, 1)).clamp(-1, 1)


def flicker(x: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Brightness jumps from frame to frame; at full strength with a standard deviation of 0.3."""
    g = torch.Generator().manual_seed(seed)
    return (x + 0.3 * strength * torch.randn(len(x), 1, x.shape[2], 1, 1, generator=g, dtype=x.dtype)).clamp(-1, 1)


CORRUPTIONS: dict[str, Callable[[Tensor, float, int], Tensor]] = {
    "blur": blur, "noise": noise, "blocks": blocks, "freeze": freeze, "shuffle": shuffle, "colour": colour, "flicker": flicker,
}  # fmt: skip
SPATIAL = frozenset({"blur", "noise", "blocks", "colour"})
TEMPORAL = frozenset({"freeze", "shuffle", "flicker"})


def corrupt(kind: str, x: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Clips (B, C, T, H, W) in [-1, 1], damaged. Raises ValueError for an unknown kind or a strength outside [0, 1]."""
    if kind not in CORRUPTIONS:
        raise ValueError(f"corruption {kind!r} is not known. Try one of {', '.join(CORRUPTIONS)}.")
    if not 0 <= strength <= 1:
        raise ValueError(f"strength={strength}: 0 changes nothing and 1 is the most. Try one of {LEVELS}.")
    return CORRUPTIONS[kind](x, strength, seed)
