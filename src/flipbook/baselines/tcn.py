"""The next frame by causal dilated convolutions over the features of each frame (TCN, arXiv:1803.01271, section 3).

The frames of a clip are seen by a small 2D network, their features go along time through blocks whose reach doubles, and a second 2D network
turns what comes out into what is added to the frame before. Training answers all frames at once; afterwards the convolutions keep the last
features they saw, so that a step costs one frame and memory does not grow.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from flipbook.baselines.predictor import Memory, Predictor
from flipbook.nn.causal import CausalConv3d, FeatureCache
from flipbook.shapes import fold_frames, unfold_frames


@dataclass(frozen=True, kw_only=True)
class TCNConfig:
    """dim: of the features.   kernel: frames that a convolution sees.   depth: blocks; block l skips 2^l - 1 frames between two it sees."""

    in_channels: int = 48
    dim: int = 128
    kernel: int = 3
    depth: int = 3
    dropout: float = 0.0
    motion: bool = False

    @property
    def reach(self) -> int:
        """Frames that a prediction can depend on."""
        return 1 + 2 * (self.kernel - 1) * (2**self.depth - 1)


class TCN(Predictor):
    """Remembers the last features of every convolution."""

    def __init__(self, config: TCNConfig):
        super().__init__()
        self.config = c = config
        seen = c.in_channels + (2 if c.motion else 0)
        self.encoder = nn.Sequential(nn.Conv2d(seen, c.dim, 3, padding=1), nn.ReLU(), nn.Conv2d(c.dim, c.dim, 3, padding=1))
        self.blocks = nn.ModuleList(CausalBlock(c.dim, c.kernel, 2**level, c.dropout) for level in range(c.depth))
        self.decoder = nn.Sequential(nn.Conv2d(c.dim, c.dim, 3, padding=1), nn.ReLU(), nn.Conv2d(c.dim, c.in_channels, 3, padding=1))
        for weight in self.decoder[2].parameters():
            nn.init.zeros_(weight)

    def at_once(self, frames: Tensor, motion: Tensor | None) -> Tensor:
        """What is said of the frame behind each, all of them shown as they are."""
        return self(frames, motion)

    def forward(self, frames: Tensor, motion: Tensor | None = None, cache: FeatureCache | None = None) -> Tensor:
        """Frames 1 to T of frames 0 to T - 1, (B, C, T, H, W). motion: (B, 2, T, H, W), x_1 to x_T."""
        b = len(frames)
        x = unfold_frames(self.encoder(self.seen(fold_frames(frames), None if motion is None else fold_frames(motion))), b)
        for block in self.blocks:
            x = block(x, cache)
        return frames + unfold_frames(self.decoder(fold_frames(x)), b)

    def step(self, frame: Tensor, motion: Tensor | None, memory: Memory) -> tuple[Tensor, Memory]:
        cache = FeatureCache() if memory is None else memory
        return self(frame[:, :, None], None if motion is None else motion[:, :, None], cache)[:, :, 0], cache


class CausalBlock(nn.Module):
    """relu(x + twice: weight-normed causal convolution over time, ReLU, dropout of whole channels)."""

    def __init__(self, dim: int, kernel: int, dilation: int, dropout: float):
        super().__init__()
        self.conv1, self.conv2 = (weight_norm(CausalConv3d(dim, dim, (kernel, 1, 1), dilation=dilation)) for _ in range(2))
        self.drop = nn.Dropout3d(dropout)

    def forward(self, x: Tensor, cache: FeatureCache | None) -> Tensor:     # (B, D, T, H, W)
        h = self.drop(torch.relu(self.conv1(x, cache)))
        return torch.relu(x + self.drop(torch.relu(self.conv2(h, cache))))
