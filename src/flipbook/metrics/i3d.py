"""I3D (arXiv:1705.07750), Inception-v1 inflated to three dimensions: the network whose logits FVD looks at.

Keys are those of the public PyTorch port, so a state dict of it loads as it is. Padding follows TensorFlow's SAME: computed from the input,
the odd pixel behind. The output is the mean of the logits over time, without a softmax.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MIXED: dict[str, tuple[int, tuple[int, int, int, int, int, int]]] = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)), "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)), "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)), "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)), "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}  # fmt: skip
"""Channels that come in, and of the branches 1x1 | 1x1, 3x3 | 1x1, 3x3 | pooled 1x1."""

POOLS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "Conv3d_1a_7x7": ((1, 3, 3), (1, 2, 2)), "Conv3d_2c_3x3": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3c": ((3, 3, 3), (2, 2, 2)), "Mixed_4f": ((2, 2, 2), (2, 2, 2)),
}  # fmt: skip
"""Maximum pooling (kernel, stride) behind the layers named."""

MIN_FRAMES, SIZE = 9, 224


def same_padding(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Zeros around (B, C, T, H, W) so that a layer gives ceil(length / stride) along each axis."""
    pads: list[int] = []
    for length, k, s in zip(x.shape[:1:-1], reversed(kernel), reversed(stride), strict=True):    # F.pad starts with the last axis
        total = max((-(-length // s) - 1) * s + k - length, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


class Unit(nn.Module):
    """Convolution with SAME padding, batch norm, ReLU; `plain` is the classifier, which has a bias and neither of the two."""

    def __init__(self, width_in: int, width: int, kernel: int = 1, stride: int = 1, plain: bool = False):
        super().__init__()
        self.conv3d = nn.Conv3d(width_in, width, kernel, stride, bias=plain)
        self.bn = None if plain else nn.BatchNorm3d(width, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:                                      # (B, C, T, H, W)
        x = self.conv3d(same_padding(x, self.conv3d.kernel_size, self.conv3d.stride))
        return x if self.bn is None else F.relu(self.bn(x))


class Mixed(nn.Module):
    """Four branches side by side."""

    def __init__(self, width_in: int, widths: tuple[int, int, int, int, int, int]):
        super().__init__()
        self.b0 = Unit(width_in, widths[0])
        self.b1a, self.b1b = Unit(width_in, widths[1]), Unit(widths[1], widths[2], 3)
        self.b2a, self.b2b = Unit(width_in, widths[3]), Unit(widths[3], widths[4], 3)
        self.b3b = Unit(width_in, widths[5])

    def forward(self, x: Tensor) -> Tensor:
        pooled = max_pool(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1)


def max_pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Padded with zeros and not with -inf, as the network was trained: everything before it is >= 0."""
    return F.max_pool3d(same_padding(x, kernel, stride), kernel, stride)


class I3D(nn.Module):
    """Clips (B, 3, T, 224, 224) in [-1, 1], T >= 9, to logits (B, num_classes)."""

    def __init__(self, num_classes: int = 400):
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = Unit(64, 64)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3)
        for name, (width_in, widths) in MIXED.items():
            self.add_module(name, Mixed(width_in, widths))
        self.logits = Unit(1024, num_classes, plain=True)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 5 or x.shape[1] != 3 or x.shape[2] < MIN_FRAMES or x.shape[3:] != (SIZE, SIZE):
            raise ValueError(
                f"clips of shape {tuple(x.shape)}: I3D looks at (B, 3, T, {SIZE}, {SIZE}) with T >= {MIN_FRAMES}. "
                "Try 16 frames, and resize them by the rule of a protocol."
            )
        for name, layer in self.named_children():
            if name != "logits":
                x = layer(x)
                if name in POOLS:
                    x = max_pool(x, *POOLS[name])
        x = F.avg_pool3d(x, (2, 7, 7), 1)                                        # (B, 1024, T', 1, 1)
        return self.logits(x).mean((2, 3, 4))                                    # (B, num_classes)
