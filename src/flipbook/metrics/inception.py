"""The Inception-v3 of FID: the network of TensorFlow's 2015 graph, with that graph's own habits (arXiv:1512.00567, arXiv:1706.08500).

Keys are those of the public PyTorch conversions. It departs from the textbook network in three places that all move FID: average pools
do not count their padding, the last block pools by maximum, and the classifier has 1008 classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv(nn.Module):
    def __init__(self, width_in: int, width: int, kernel: int | tuple[int, int] = 1, stride: int = 1, padding: int | str = 0):
        super().__init__()
        self.conv = nn.Conv2d(width_in, width, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Branches(nn.Module):
    """Layers by name, and paths through them that lie side by side, the pooled one last."""

    paths: tuple[tuple[str, ...], ...] = ()
    branch_pool: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        out = []
        for path in self.paths:
            h = x
            for name in path:
                h = getattr(self, name)(h)
            out.append(h)
        return torch.cat([*out, self.pooled(x)], 1)

    def pooled(self, x: Tensor) -> Tensor:
        return self.branch_pool(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))


class Halving(Branches):
    def pooled(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2)


class BlockA(Branches):
    paths = (("branch1x1",), ("branch5x5_1", "branch5x5_2"), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"))

    def __init__(self, width: int, pooled: int):
        super().__init__()
        self.branch1x1 = Conv(width, 64)
        self.branch5x5_1, self.branch5x5_2 = Conv(width, 48), Conv(48, 64, 5, padding=2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(width, 64), Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, padding=1)
        self.branch_pool = Conv(width, pooled)


class BlockB(Halving):
    paths = (("branch3x3",), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"))

    def __init__(self, width: int):
        super().__init__()
        self.branch3x3 = Conv(width, 384, 3, 2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(width, 64), Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, 2)


class BlockC(Branches):
    paths = (
        ("branch1x1",), ("branch7x7_1", "branch7x7_2", "branch7x7_3"),
        ("branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5"),
    )  # fmt: skip

    def __init__(self, width: int, inner: int):
        super().__init__()
        row, column = {"kernel": (1, 7), "padding": "same"}, {"kernel": (7, 1), "padding": "same"}
        self.branch1x1 = Conv(width, 192)
        self.branch7x7_1, self.branch7x7_2 = Conv(width, inner), Conv(inner, inner, **row)           # type: ignore[arg-type]
        self.branch7x7_3 = Conv(inner, 192, **column)                                                # type: ignore[arg-type]
        self.branch7x7dbl_1, self.branch7x7dbl_2 = Conv(width, inner), Conv(inner, inner, **column)  # type: ignore[arg-type]
        self.branch7x7dbl_3, self.branch7x7dbl_4 = Conv(inner, inner, **row), Conv(inner, inner, **column)  # type: ignore[arg-type]
        self.branch7x7dbl_5 = Conv(inner, 192, **row)                                                # type: ignore[arg-type]
        self.branch_pool = Conv(width, 192)


class BlockD(Halving):
    paths = (("branch3x3_1", "branch3x3_2"), ("branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"))

    def __init__(self, width: int):
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = Conv(width, 192), Conv(192, 320, 3, 2)
        self.branch7x7x3_1, self.branch7x7x3_2 = Conv(width, 192), Conv(192, 192, (1, 7), padding="same")
        self.branch7x7x3_3, self.branch7x7x3_4 = Conv(192, 192, (7, 1), padding="same"), Conv(192, 192, 3, 2)


class BlockE(Branches):
    """Two of its branches fork at their end into a row and a column."""

    def __init__(self, width: int, pools_by_maximum: bool):
        super().__init__()
        self.pools_by_maximum = pools_by_maximum
        self.branch1x1 = Conv(width, 320)
        self.branch3x3_1 = Conv(width, 384)
        self.branch3x3_2a, self.branch3x3_2b = Conv(384, 384, (1, 3), padding="same"), Conv(384, 384, (3, 1), padding="same")
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(width, 448), Conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = Conv(384, 384, (1, 3), padding="same"), Conv(384, 384, (3, 1), padding="same")
        self.branch_pool = Conv(width, 192)

    def forward(self, x: Tensor) -> Tensor:
        h, hh = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        forks = [self.branch3x3_2a(h), self.branch3x3_2b(h), self.branch3x3dbl_3a(hh), self.branch3x3dbl_3b(hh)]
        return torch.cat([self.branch1x1(x), *forks, self.pooled(x)], 1)

    def pooled(self, x: Tensor) -> Tensor:
        return self.branch_pool(F.max_pool2d(x, 3, 1, 1)) if self.pools_by_maximum else super().pooled(x)


class FidInception(nn.Module):
    """Frames (B, 3, 299, 299) in [-1, 1] to the pooled features (B, 2048). The classifier is kept so that files load whole."""

    def __init__(self, num_classes: int = 1008):
        super().__init__()
        self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = Conv(3, 32, 3, 2), Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1, self.Conv2d_4a_3x3 = Conv(64, 80), Conv(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = BlockA(192, 32), BlockA(256, 64), BlockA(288, 64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = BlockC(768, 128), BlockC(768, 160), BlockC(768, 160), BlockC(768, 192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b, self.Mixed_7c = BlockE(1280, False), BlockE(2048, True)
        self.fc = nn.Linear(2048, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1:] != (3, 299, 299):
            raise ValueError(f"frames of shape {tuple(x.shape)}: this network looks at (B, 3, 299, 299). Resize by the protocol's rule.")
        for name, layer in self.named_children():
            if name != "fc":
                x = layer(x)
                if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
                    x = F.max_pool2d(x, 3, 2)
        return x.mean((2, 3))
