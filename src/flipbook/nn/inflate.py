"""From convolutions of pictures to convolutions of clips: kernels that gain time, and kernels that are split into space and time.

A picture's kernel becomes a clip's in three ways: all of its weight on the middle frame (the network is the picture's, on any clip), or an even
share on every frame (so on clips that stand still; I3D, arXiv:1705.07750, section 2), or all of it on the last frame, for convolutions that look
back (`nn/causal.py`). A split convolution, (2 + 1)D of arXiv:1711.11248, has as many weights as the whole one and one more non-linearity.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Where = Literal["centre", "mean", "last"]
Padding = Literal["zeros", "reflect", "replicate", "circular"]
Box = tuple[int, int, int]


def inflated(kernel: Tensor, frames: int, where: Where = "centre") -> Tensor:
    """A picture's kernel (C_out, C_in, h, w) as a clip's, (C_out, C_in, frames, h, w).

    Raises ValueError for a centre of an even number of frames, and for another place than the three.
    """
    if where == "centre" and frames % 2 == 0:
        raise ValueError(f"frames={frames} have no middle one. Try {frames + 1}, or where='last' for convolutions that look back.")
    shares = torch.zeros(frames, dtype=kernel.dtype, device=kernel.device)
    match where:
        case "centre":
            shares[frames // 2] = 1.0
        case "mean":
            shares += 1.0 / frames
        case "last":
            shares[-1] = 1.0
        case _:
            raise ValueError(f"where={where!r}: a kernel gains time in the centre, mean or last way. Try where='centre'.")
    return kernel[:, :, None] * shares[:, None, None]


def matched_width(dim_in: int, dim: int, kernel: Box) -> int:
    """The width between space and time at which a split convolution has as many weights as a whole one, or just fewer; at least 1."""
    t, h, w = kernel
    return max(1, t * h * w * dim_in * dim // (h * w * dim_in + t * dim))


class SplitConv3d(nn.Sequential):
    """(B, C, T, H, W): a convolution within frames, SiLU, a convolution along time, at strides of both. padding_mode: of `torch.nn.Conv3d`.

    width: between the two; None: `matched_width`.
    """

    def __init__(
        self, dim_in: int, dim: int, kernel: Box, stride: Box = (1, 1, 1), padding: Box = (0, 0, 0), *, padding_mode: Padding = "zeros",
        width: int | None = None,
    ):  # fmt: skip
        width = width or matched_width(dim_in, dim, kernel)
        (kt, kh, kw), (st, sh, sw), (pt, ph, pw) = kernel, stride, padding
        super().__init__(
            nn.Conv3d(dim_in, width, (1, kh, kw), (1, sh, sw), (0, ph, pw), bias=False, padding_mode=padding_mode), nn.SiLU(),
            nn.Conv3d(width, dim, (kt, 1, 1), (st, 1, 1), (pt, 0, 0), padding_mode=padding_mode),
        )  # fmt: skip
