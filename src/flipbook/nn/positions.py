"""How attention learns where frames stand in time: sinusoids, learned places, rotations, distance buckets and tables, slopes.

All read the clip's real-valued frame index (1 or B, T), so a frame may stand anywhere in time. The index may count frames, or seconds
times a constant: then a clip at another frame rate gets the same code at the same moment. Sinusoids and learned places say where a frame
stands; the others speak of distances alone, so that a shift of the whole clip changes nothing. Rotations live in `rope.py` and `xpos.py`.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from flipbook.nn.embed import sinusoid

Distances = Tensor  # int64: j - i in frames

Longer = Literal["as it is", "interpolate", "ntk"]


def real(index: Tensor) -> Tensor:
    """Places as float32, or float64 if they are given so."""
    return index if index.dtype == torch.float64 else index.float()


def excess(index: Tensor, trained: int) -> Tensor:
    """How many times farther apart a clip's ends are than those of the `trained` frames of training, at least 1: (1 or B, T) to (1 or B, 1)."""
    index = real(index)
    span = index.amax(-1, keepdim=True) - index.amin(-1, keepdim=True)
    return (span / max(trained - 1, 1)).clamp(min=1.0)


def interpolated(index: Tensor, trained: int) -> Tensor:
    """Places of a clip that is longer than in training, moved together until its last frame stands where training's last one stood.

    Position interpolation (arXiv:2306.15595, eq. 4) with the ends aligned, so that learned places, which have an end, can be read so too.
    """
    return real(index) / excess(index, trained)


def distances(index: Tensor) -> tuple[Distances, Tensor]:
    """How many frames later frame j stands than frame i, (1 or B, T) to (1 or B, T, T): whole frames below, and the share of the next one."""
    far = real(index)[:, None, :] - real(index)[:, :, None]
    below = far.floor()
    return below.long(), far - below


def interleaved_sinusoid(index: Tensor, dim: int) -> Tensor:
    """(1 or B, T) to (1 or B, T, dim): sines on even channels, cosines on odd ones (arXiv:1706.03762, 3.5)."""
    freqs = torch.exp(torch.arange(0, dim, 2, device=index.device) * (-math.log(10_000.0) / dim))
    angles = real(index)[..., None] * freqs
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def sincos(index: Tensor, dim: int) -> Tensor:
    """(...,) to (..., dim): all sines, then all cosines, as vision transformers have them."""
    return sinusoid(index, dim).roll(dim // 2, -1)


def grid_sincos(rows: int, columns: int, dim: int, places: int, scale: float = 1.0, *, device: torch.device | str = "cpu") -> Tensor:
    """(rows columns, dim): half of the channels say the column, half the row. Both run from 0 to `places` / scale, however many there are."""
    row, column = (torch.arange(n, device=device) * (places / n / scale) for n in (rows, columns))
    parts = [sincos(column, dim // 2)[None].expand(rows, -1, -1), sincos(row, dim // 2)[:, None].expand(-1, columns, -1)]
    return torch.cat(parts, dim=-1).flatten(0, 1)


class LearnedPlaces(nn.Module):
    """A learned vector for each of `frames` places, between them a mix of both neighbours. There is none outside.

    Raises ValueError for a frame before the first place or behind the last.
    """

    ROUNDING = 1e-3     # of places that were moved together until they fit

    def __init__(self, frames: int, dim: int):
        super().__init__()
        self.table = nn.Parameter(torch.randn(frames, dim) * 0.02)

    def forward(self, index: Tensor) -> Tensor:
        """(1 or B, T) to (1 or B, T, dim)."""
        last = len(self.table) - 1
        first, end = float(index.amin()), float(index.amax())
        if first < -self.ROUNDING or end > last + self.ROUNDING:
            raise ValueError(
                f"frames stand at {first:g} to {end:g}, and learned places reach from 0 to {last}. Try a shorter clip, "
                "max_frames of that length before training, or longer='interpolate'."
            )
        index = index.clamp(0, last)
        below = index.floor().clamp(max=max(last - 1, 0)).long()
        share = (index - below)[..., None].to(self.table.dtype)
        return torch.lerp(self.table[below], self.table[(below + 1).clamp(max=last)], share)


def frame_rotation(index: Tensor, head_dim: int, base: float | Tensor = 10_000.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary angles of each frame, (1 or B, T, head_dim / 2), for `nn.rope.rotate`. base: one, or (1 or B, 1)."""
    index = real(index)
    exponent = -torch.arange(0, head_dim, 2, device=index.device).to(index.dtype) / head_dim
    freqs = base ** exponent if isinstance(base, float) else base[..., None].to(index.dtype) ** exponent
    angles = index[..., None] * freqs
    return angles.cos(), angles.sin()


def ntk_base(index: Tensor, trained: int, head_dim: int, base: float = 10_000.0) -> Tensor:
    """The base under which the slowest wave of a longer clip turns as far as it did in training and the fastest ones as fast: (1 or B, 1).

    base * s^(d / (d - 2)) for a clip s times as long ("NTK-aware" scaling, arXiv:2309.00071, section 3.1).
    """
    return base * excess(index, trained) ** (head_dim / (head_dim - 2))


def slopes(heads: int) -> Tensor:
    """How fast each head's attention falls with distance: 2^(-8 h / H) for h = 1 to H (ALiBi, arXiv:2108.12409, section 3)."""
    return 2.0 ** (-8.0 * torch.arange(1, heads + 1) / heads)


def distance_slopes(index: Tensor, heads: int) -> Tensor:
    """What to add to the logits: minus slope times distance, in both directions of time alike. (1 or B, T) to (1 or B, heads, T, T).

    The paper reads one direction alone, where this is the same. Where both are read, a clip and its reverse look alike: see `one_sided_slopes`.
    """
    index = real(index)
    far = (index[:, None, :] - index[:, :, None]).abs()
    return -slopes(heads).to(far)[:, None, None] * far[:, None]


def one_sided_slopes(index: Tensor, heads: int) -> Tensor:
    """Slopes that know before from after: half of the heads read what came before, the others what comes, each half with the paper's slopes.

    (1 or B, T) to (1 or B, heads, T, T), -inf where a head does not read; its own frame each of them does. An odd head reads what came before.
    """
    index = real(index)
    far = index[:, None, :] - index[:, :, None]                             # how much later key j stands than query i
    behind, ahead = (distance_slopes(index, n) for n in ((heads + 1) // 2, heads // 2))
    return torch.cat([behind.masked_fill((far > 0)[:, None], float("-inf")), ahead.masked_fill((far < 0)[:, None], float("-inf"))], dim=1)


class BucketBias(nn.Module):
    """A learned number per head and distance bucket, added to the logits (T5, arXiv:1910.10683, 2.1).

    Half of the buckets for each direction of time; half of those hold one distance each, the rest widen logarithmically up
    to max_distance, beyond which all is one bucket. Between whole distances the number is a mix of both neighbours'.
    """

    def __init__(self, heads: int, num_buckets: int = 32, max_distance: int = 32):
        super().__init__()
        self.num_buckets, self.max_distance = num_buckets, max_distance
        self.table = nn.Embedding(num_buckets, heads)

    def forward(self, index: Tensor) -> Tensor:
        """(1 or B, T) to (1 or B, heads, T, T)."""
        below, share = distances(index)
        here, there = (self.table(self.buckets(far)).permute(0, 3, 1, 2) for far in (below, below + 1))
        return torch.lerp(here, there, share[:, None].to(here))

    def buckets(self, distance: Distances) -> Tensor:
        """The bucket of each signed distance, same shape."""
        side = self.num_buckets // 2
        exact = side // 2
        far = distance.abs()
        widest = max(self.max_distance, exact + 1)                             # short clips: one bucket each, and few wide ones
        wide = exact + (torch.log(far.clamp(min=1) / exact) / math.log(widest / exact) * (side - exact)).long()
        return torch.where(far < exact, far, wide.clamp(max=side - 1)) + side * (distance > 0)


class DistanceTables(nn.Module):
    """A learned key and a learned value for every distance up to `reach` frames; farther ones share the last, and between whole distances
    they are a mix of both neighbours' (Shaw, arXiv:1803.02155, eq. 3 and 4)."""

    def __init__(self, head_dim: int, reach: int):
        super().__init__()
        self.reach = reach
        self.keys = nn.Parameter(torch.empty(2 * reach + 1, head_dim))
        self.values = nn.Parameter(torch.empty(2 * reach + 1, head_dim))
        nn.init.xavier_uniform_(self.keys)
        nn.init.xavier_uniform_(self.values)

    def forward(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(1 or B, T) to two tables (1 or B, T, T, head_dim)."""
        below, share = distances(index)
        here, there = (far.clamp(-self.reach, self.reach) + self.reach for far in (below, below + 1))
        share = share[..., None].to(self.keys)
        return torch.lerp(self.keys[here], self.keys[there], share), torch.lerp(self.values[here], self.values[there], share)
