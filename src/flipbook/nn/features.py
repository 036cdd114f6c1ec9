"""Where a denoiser may be listened to: the named place at which its picture of the clip can be read."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, eq=False)
class Features:
    """What a denoiser offers as its `features`, whatever its architecture.

    layer: is handed the features: tokens (B, T, S, D) in (y x) order, or a map (B, T, H, W, D).
    dim:   D.   cell: latent cells of the side of one place.
    """

    layer: nn.Module
    dim: int
    cell: int
