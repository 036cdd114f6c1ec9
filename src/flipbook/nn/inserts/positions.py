"""How temporal attention learns the order of frames: sinusoids, rotations, distance buckets, distance tables.

All read the clip's real-valued frame index (1 or B, T), so a frame may stand anywhere in time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

Distances = Tensor  # (1 or B, T, T) int64: j - i in frames, rounded


def distances(index: Tensor) -> Distances:
    """How many frames later frame j stands than frame i: (1 or B, T) to (1 or B, T, T)."""
    return (index[:, None, :] - index[:, :, None]).round().long()


def interleaved_sinusoid(index: Tensor, dim: int) -> Tensor:
    """(1 or B, T) to (1 or B, T, dim): sines on even channels, cosines on odd ones (arXiv:1706.03762, 3.5)."""
    freqs = torch.exp(torch.arange(0, dim, 2, device=index.device) * (-math.log(10_000.0) / dim))
    angles = index.float()[..., None] * freqs
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def frame_rotation(index: Tensor, head_dim: int, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary angles of each frame, (1 or B, T, head_dim / 2), for `nn.rope.rotate`."""
    freqs = base ** (-torch.arange(0, head_dim, 2, device=index.device) / head_dim)
    angles = index.float()[..., None] * freqs
    return angles.cos(), angles.sin()


class BucketBias(nn.Module):
    """A learned number per head and distance bucket, added to the logits (T5, arXiv:1910.10683, 2.1).

    Half of the buckets for each direction of time; half of those hold one distance each, the rest widen logarithmically up
    to max_distance, beyond which all is one bucket.
    """

    def __init__(self, heads: int, num_buckets: int = 32, max_distance: int = 32):
        super().__init__()
        self.num_buckets, self.max_distance = num_buckets, max_distance
        self.table = nn.Embedding(num_buckets, heads)

    def forward(self, index: Tensor) -> Tensor:
        """(1 or B, T) to (1 or B, heads, T, T)."""
        return self.table(self.buckets(distances(index))).permute(0, 3, 1, 2)

    def buckets(self, distance: Distances) -> Tensor:
        """The bucket of each signed distance, same shape."""
        side = self.num_buckets // 2
        exact = side // 2
        far = distance.abs()
        wide = exact + (torch.log(far.clamp(min=1) / exact) / math.log(self.max_distance / exact) * (side - exact)).long()
        return torch.where(far < exact, far, wide.clamp(max=side - 1)) + side * (distance > 0)


class DistanceTables(nn.Module):
    """A learned key and a learned value for every distance up to `reach` frames; farther ones share the last
    (Shaw, arXiv:1803.02155, eq. 3 and 4)."""

    def __init__(self, head_dim: int, reach: int):
        super().__init__()
        self.reach = reach
        self.keys = nn.Parameter(torch.empty(2 * reach + 1, head_dim))
        self.values = nn.Parameter(torch.empty(2 * reach + 1, head_dim))
        nn.init.xavier_uniform_(self.keys)
        nn.init.xavier_uniform_(self.values)

    def forward(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(1 or B, T) to two tables (1 or B, T, T, head_dim)."""
        place = distances(index).clamp(-self.reach, self.reach) + self.reach
        return self.keys[place], self.values[place]
