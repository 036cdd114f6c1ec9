"""A clip as a function of place and time: (x, y, t) -> colour, its weights drawn anew for each clip (DIGAN, arXiv:2202.10571).

Two vectors are drawn: the content says what is seen, by the weights of every layer and the waves of the coordinates; the motion only says how the
phases of those waves move as t grows. No frame needs another: any set of moments is computed at once, between those of training and behind them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.data.seeds import derive_seed
from flipbook.nn.doors import Doors
from flipbook.nn.equal import EqualLinear, leaky
from flipbook.shapes import unfold_frames


@dataclass(frozen=True, kw_only=True)
class ImplicitVideoConfig:
    """The sizes of arXiv:2202.10571 for 128 x 128 pixels.

    content, motion: numbers in the two vectors.   dim: of w, the content as the layers read it.   mapping: layers from content to w.
    frequencies: waves on each grid.   space_bandwidth, time_bandwidth: how fast their phases turn along the picture, and in time.
    base: side of the coarsest grid.   widths, layers: of each grid, the next one twice as fine.   rank: of a layer's modulation.
    seconds: how long t runs from 0 to 1.
    """

    in_channels: int = 3
    content: int = 512
    motion: int = 512
    dim: int = 512
    mapping: int = 2
    frequencies: int = 128
    space_bandwidth: float = math.sqrt(10.0)
    time_bandwidth: float = 0.25
    base: int = 32
    widths: tuple[int, ...] = (512, 512, 256)
    layers: tuple[int, ...] = (7, 2, 3)
    rank: int = 10
    seconds: float = 2.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "layers", tuple(self.layers))
        if not self.widths or len(self.widths) != len(self.layers) or min(self.layers) < 1:
            raise ValueError(f"widths={self.widths}, layers={self.layers}: each grid has a width and one layer at least. Make them equally long.")
        if not self.seconds > 0:
            raise ValueError(f"seconds={self.seconds}: time runs forward. Try 2.0.")

    @property
    def cell(self) -> int:
        """What heights and widths are multiples of."""
        return int(2 ** (len(self.widths) - 1))

    @property
    def side(self) -> int:
        """The side of the pictures that it is made for."""
        return self.base * self.cell


class ImplicitVideo(nn.Module):
    """Content (B, D) and motion (B, D') to frames at any moments."""

    def __init__(self, config: ImplicitVideoConfig):
        super().__init__()
        self.config = c = config
        sizes = [c.content, *[c.dim] * c.mapping]
        self.mapping = nn.ModuleList(EqualLinear(a, b, rate=0.01) for a, b in pairwise(sizes))
        before = (0, *c.widths)
        self.grids = nn.ModuleList(Grid(c, width_in, width, depth) for width_in, width, depth in zip(before, c.widths, c.layers, strict=False))

    def prepare(self, doors: Doors) -> Doors:
        """Nothing enters by a door."""
        return doors

    def forward(self, content: Tensor, motion: Tensor, t: Tensor, height: int | None = None, width: int | None = None) -> Tensor:
        """Frames (B, C, T, H, W) at moments t, (B, T) or (T,), 1 = `seconds` after the clip's beginning; any real number is a moment.

        A frame's bits depend on its own moment, not on what others are asked for. height, width: multiples of `cell`; None: `side`.
        Other sides than `side` sample the same picture more finely or coarsely.
        """
        height, width = height or self.config.side, width or self.config.side
        if height % self.config.cell or width % self.config.cell:
            raise ValueError(f"height={height}, width={width}: the grids double {len(self.grids) - 1} times. Try multiples of {self.config.cell}.")
        w = self.style(content)                                             # (B, D)
        t = t.float().expand(len(w), -1)                                    # (B, T)
        x, colour = None, None
        for (h, v), grid in zip(self._sizes(height, width), self.grids, strict=True):
            x, colour = grid(x, colour, w, motion.float(), t, h, v)
        assert colour is not None
        return unfold_frames(colour.flatten(0, 1).unflatten(2, (height, width)), len(w))

    def style(self, content: Tensor) -> Tensor:
        """w: the content at length sqrt(D), through the mapping layers."""
        w = content.float() * torch.rsqrt(content.float().square().mean(1, keepdim=True) + 1e-8)
        for layer in self.mapping:
            w = leaky(layer(w))
        return w

    def _sizes(self, height: int, width: int) -> Iterator[tuple[int, int]]:
        for level in reversed(range(len(self.grids))):
            yield height >> level, width >> level


class Grid(nn.Module):
    """One resolution: what the coarser one said, repeated, and the waves of this one, through modulated layers; colours add up."""

    def __init__(self, config: ImplicitVideoConfig, width_in: int, width: int, depth: int):
        super().__init__()
        self.waves = Waves(config)
        widths = [width_in + 2 * config.frequencies, *[width] * depth]
        self.layers = nn.ModuleList(Modulated(config.dim, a, b, config.rank) for a, b in pairwise(widths))
        self.colour = Colour(config.dim, width, config.in_channels)

    def forward(
        self, x: Tensor | None, colour: Tensor | None, w: Tensor, motion: Tensor, t: Tensor, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """x: (B, T, C, h v) features and colour: (B, T, 3, h v), on a grid of half the sides, or None on the first."""
        waves = self.waves(w, motion, t, height, width)                     # (B, T, 2 F, h v)
        x = waves if x is None else torch.cat([repeated(x, height, width), waves.to(x.dtype)], dim=2)
        for layer in self.layers:
            x = leaky(layer(x, w))
        own = self.colour(x, w).float()
        return x, own if colour is None else repeated(colour, height, width) + own


class Waves(nn.Module):
    """sin and cos of W(w) (x, y) + b(w) + m(t): waves over the picture whose phases are all that time moves (arXiv:2202.10571).

    m(t) = MLP(leaky(time_bandwidth t A(w, motion))). As t multiplies what the motion vector says, the picture at t = 0 is the content's alone.
    """

    def __init__(self, config: ImplicitVideoConfig):
        super().__init__()
        f = config.frequencies
        self.space_bandwidth, self.time_bandwidth, self.frequencies = config.space_bandwidth, config.time_bandwidth, f
        self.space = EqualLinear(config.dim, 3 * f)
        self.path = EqualLinear(config.dim + config.motion, f)
        self.turn1, self.turn2 = EqualLinear(f, f), EqualLinear(f, f)

    def forward(self, w: Tensor, motion: Tensor, t: Tensor, height: int, width: int) -> Tensor:
        """(B, T, 2 F, height width). float32 throughout: a phase that is a little off is another place."""
        along_x, along_y, phase = self.space(w).split(self.frequencies, dim=1)                  # (B, F) each
        phase = phase[:, None] + self.moved(w, motion, t)                                       # (B, T, F)
        y, x = (centres(n).to(t.device) for n in (height, width))
        still = along_y[:, :, None, None] * y[:, None] + along_x[:, :, None, None] * x          # (B, F, height, width)
        angle = self.space_bandwidth * still.flatten(2)[:, None] + phase[..., None]             # (B, T, F, height width)
        return torch.cat([angle.sin(), angle.cos()], dim=2)

    def moved(self, w: Tensor, motion: Tensor, t: Tensor) -> Tensor:
        """m(t): how far each wave's phase has moved at moments t (B, T), (B, T, F)."""
        path = self.path(torch.cat([w, motion], dim=1))                     # (B, F)
        at_t = F.leaky_relu(self.time_bandwidth * t[..., None] * path[:, None], 0.01)           # (B, T, F)
        return self.turn2.row_by_row(leaky(self.turn1.row_by_row(at_t)))


class Modulated(nn.Module):
    """A linear layer of each place, its weights the clip's own: rows of W (1 + a(w) b(w) / sqrt(rank)), brought to length 1.

    Factorised multiplicative modulation (arXiv:2011.12026), with rows normalised as in arXiv:2202.10571.
    """

    def __init__(self, dim: int, fan_in: int, fan_out: int, rank: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in))
        self.bias = nn.Parameter(torch.zeros(fan_out))
        self.factors = EqualLinear(dim, rank * (fan_in + fan_out))
        self.rank = rank

    def weights(self, w: Tensor) -> Tensor:
        """(B, D) to (B, out, in), float32."""
        out, into = self.weight.shape
        a, b = self.factors(w).split([self.rank * out, self.rank * into], dim=1)
        with torch.autocast(w.device.type, enabled=False):
            modulation = a.unflatten(1, (out, self.rank)) @ b.unflatten(1, (self.rank, into)) / math.sqrt(self.rank)
            return F.normalize(self.weight.float() * (1.0 + modulation), dim=2, eps=1e-8)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:                      # (B, T, C, h v), (B, D)
        weights = self.weights(w).to(self.weight.dtype)
        return weights[:, None] @ x.to(weights.dtype) + self.bias[:, None]


class Colour(nn.Module):
    """Features to colours, each feature weighed as w says."""

    def __init__(self, dim: int, fan_in: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, fan_in))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.scale = EqualLinear(dim, fan_in, bias=1.0)
        self.gain = 1.0 / math.sqrt(fan_in)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:                      # (B, T, C, h v), (B, D)
        weights = self.weight * (self.gain * self.scale(w)[:, None]).to(self.weight.dtype)      # (B, 3, C)
        return weights[:, None] @ x.to(weights.dtype) + self.bias[:, None]


def centres(count: int) -> Tensor:
    """(count,) where the middles of `count` cells lie in [-1, 1]."""
    return (2.0 * torch.arange(count) + 1.0) / count - 1.0


def repeated(x: Tensor, height: int, width: int) -> Tensor:
    """(B, T, C, h v) on a grid of half the sides, each place twice in both directions."""
    coarse = x.unflatten(3, (height // 2, width // 2))
    return coarse.repeat_interleave(2, 3).repeat_interleave(2, 4).flatten(3)


def vectors(seeds: Sequence[int], what: str, size: int) -> Tensor:
    """Normal draws (B, size), each row from its own seed and what it is drawn for."""
    return torch.stack([torch.randn(size, generator=torch.Generator().manual_seed(derive_seed(seed, what))) for seed in seeds])
