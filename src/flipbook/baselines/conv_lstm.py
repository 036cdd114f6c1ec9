"""The next frame by a recurrent network whose products are convolutions (ConvLSTM, arXiv:1506.04214, eq. 3).

One stack of cells reads the given frames and goes on from its own, where the paper copies the states into a second stack that forecasts.
What it says is added to the frame before.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.baselines.predictor import Memory, Predictor
from flipbook.nn.embed import zero_

State = tuple[Tensor, Tensor]       # h and c, (B, D, H, W) each


@dataclass(frozen=True, kw_only=True)
class ConvLSTMConfig:
    """dims: of the cells.   kernel: odd.   peepholes: gates look at the cell.   motion: the optical flow is read.   border: what stands beyond it."""

    in_channels: int = 3
    dims: tuple[int, ...] = (64, 64, 64)
    kernel: int = 5
    peepholes: bool = False
    motion: bool = False
    border: Literal["zeros", "circular", "replicate"] = "zeros"

    def __post_init__(self) -> None:
        object.__setattr__(self, "dims", tuple(self.dims))
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel={self.kernel}: a convolution that keeps the frame's size has an odd one. Try {self.kernel + 1}.")


class ConvLSTM(Predictor):
    """Remembers h and c of each cell; the frame is said by a 1 x 1 convolution of all h."""

    def __init__(self, config: ConvLSTMConfig):
        super().__init__()
        self.config = c = config
        widths = (c.in_channels + (2 if c.motion else 0), *c.dims)
        self.cells = nn.ModuleList(ConvLSTMCell(a, b, c.kernel, peepholes=c.peepholes, border=c.border) for a, b in pairwise(widths))
        self.head = zero_(nn.Conv2d(sum(c.dims), c.in_channels, 1))

    def step(self, frame: Tensor, motion: Tensor | None, memory: Memory) -> tuple[Tensor, Memory]:
        x, states = self.seen(frame, motion), []
        for i, cell in enumerate(self.cells):
            states.append(cell(x, None if memory is None else memory[i]))
            x = states[-1][0]
        return frame + self.head(torch.cat([h for h, _ in states], dim=1)), states


class ConvLSTMCell(nn.Module):
    """i, f, o = sigmoid(.), g = tanh(.) of Conv([x, h]);  c' = f c + i g;  h' = o tanh(c')."""

    def __init__(self, dim_in: int, dim: int, kernel: int, *, peepholes: bool = False, border: str = "zeros"):
        super().__init__()
        self.dim, self.border = dim, border
        self.conv = nn.Conv2d(dim_in + dim, 4 * dim, kernel)                # gates in the order i, f, o, g
        self.peep = nn.Parameter(torch.zeros(3, dim, 1, 1)) if peepholes else None
        assert self.conv.bias is not None
        with torch.no_grad():
            self.conv.bias[dim : 2 * dim] = 1.0                             # remember, until told to forget

    def forward(self, x: Tensor, state: State | None) -> State:
        """x: (B, D_in, H, W).   state: None before the first frame: zeros."""
        if state is None:
            zeros = x.new_zeros(x.shape[0], self.dim, *x.shape[2:])
            state = zeros, zeros
        h, c = state
        seen, side = torch.cat([x, h], dim=1), self.conv.kernel_size[0] // 2
        padded = F.pad(seen, (side,) * 4, mode="constant" if self.border == "zeros" else self.border) if side else seen
        i, f, o, g = self.conv(padded).chunk(4, dim=1)
        if self.peep is not None:
            i, f = i + self.peep[0] * c, f + self.peep[1] * c
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        if self.peep is not None:
            o = o + self.peep[2] * c
        return torch.sigmoid(o) * torch.tanh(c), c
