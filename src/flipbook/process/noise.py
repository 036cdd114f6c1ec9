"""Noise that belongs to a sample: drawn on the CPU in float32 from the sample's own seed.

A video then does not depend on its neighbours in the batch, on its place among them, or on the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def initial_noise(shape: Sequence[int], seeds: Sequence[int]) -> Tensor:
    """Standard normal noise (B, *shape), float32 on the CPU; sample b depends on seeds[b] alone."""
    return NoiseSource(shape, seeds)()


class NoiseSource:
    """Fresh noise at every call, (B, *shape) float32 on the CPU, each sample from its own generator.

    One source serves a whole run: its first draw is `initial_noise(shape, seeds)`, which starts the trajectory, and
    the later ones feed the stochastic steps (hand the source to a sampler as `noise`).

    shared: every frame of a sample has the same noise, shape (C, T, h, w): a network that sees each frame by itself then
            makes a still clip of a still clip (Make-A-Video, arXiv:2209.14792, section 3.2). Chunks or pairs of frames share
            their noise by sharing their seed (Show-1, arXiv:2309.15818).
    """

    def __init__(self, shape: Sequence[int], seeds: Sequence[int], *, shared: bool = False) -> None:
        self.shape, self.shared = tuple(shape), shared
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self) -> Tensor:
        drawn = (self.shape[0], 1, *self.shape[2:]) if self.shared else self.shape
        noise = torch.stack([torch.randn(drawn, generator=generator) for generator in self.generators])
        return noise.expand(-1, *self.shape)
