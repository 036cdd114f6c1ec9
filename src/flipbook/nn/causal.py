"""Convolutions that look back in time alone, and the cache that lets a clip pass through them in pieces.

A clip of any length streams through a stack of such layers in constant memory: each keeps the last frames it saw, and the pieces'
outputs are those of the whole clip. A frame that has no past sees zeros there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FeatureCache:
    """The last frames that each causal layer saw of one clip (or one batch of clips). A new clip begins with a new cache."""

    def __init__(self) -> None:
        self._frames: dict[nn.Module, Tensor] = {}

    def past(self, layer: nn.Module) -> Tensor | None:
        """What `layer` kept, (B, C, n, H, W); None before its first frame."""
        return self._frames.get(layer)

    def keep(self, layer: nn.Module, frames: Tensor) -> None:
        """Remember these frames for `layer`, and nothing else of the tensor that they are part of."""
        self._frames[layer] = frames.clone()

    @property
    def numel(self) -> int:
        """Numbers that are kept, over all layers: it does not grow with the clip."""
        return sum(frames.numel() for frames in self._frames.values())


class CausalConv3d(nn.Conv3d):
    """3D convolution of (B, C, T, H, W) that keeps T, H and W: output frame t sees frames t - k_t + 1 to t.

    kernel: (k_t, k_h, k_w), the last two odd.   dilation: from each frame that is seen to the next; with d, those from t - d (k_t - 1) on.
    """

    def __init__(self, dim_in: int, dim: int, kernel: tuple[int, int, int] = (3, 3, 3), *, dilation: int = 1):
        super().__init__(dim_in, dim, kernel, padding=(0, kernel[1] // 2, kernel[2] // 2), dilation=(dilation, 1, 1))

    def forward(self, x: Tensor, cache: FeatureCache | None = None) -> Tensor:
        return super().forward(with_past(self, x, self.dilation[0] * (self.kernel_size[0] - 1), cache))


def with_past(layer: nn.Module, x: Tensor, frames: int, cache: FeatureCache | None) -> Tensor:
    """x behind the `frames` frames before it: those that the cache kept for `layer`, or zeros. The cache keeps the last ones of both."""
    if not frames:
        return x
    past = None if cache is None else cache.past(layer)
    x = F.pad(x, (0, 0, 0, 0, frames, 0)) if past is None else torch.cat([past, x], dim=2)
    if cache is not None:
        cache.keep(layer, x[:, :, -frames:])
    return x


def latent_ends(num_frames: int, time_stride: int) -> tuple[int, ...]:
    """The last frame that each latent frame packs: 0, time_stride, 2 time_stride, ... Raises ValueError as `latent_frames` does."""
    return tuple(range(0, latent_frames(num_frames, time_stride) * time_stride, time_stride))


def latent_mask(frames: Tensor, ends: Sequence[int]) -> Tensor:
    """Which latent frames are packed of marked frames alone: bool (B, T) to (B, T'), with the last frame of each latent one."""
    starts = [0, *(end + 1 for end in ends[:-1])]
    return torch.stack([frames[:, start : end + 1].all(1) for start, end in zip(starts, ends, strict=True)], dim=1)


def latent_frames(num_frames: int, time_stride: int) -> int:
    """Latent frames of a clip whose first frame is packed alone and then `time_stride` frames together: n + 1 for 1 + n time_stride.

    Raises ValueError for other lengths, with the two nearest legal ones.
    """
    if num_frames >= 1 and (num_frames - 1) % time_stride == 0:
        return (num_frames - 1) // time_stride + 1
    low = max(0, num_frames - 1) // time_stride * time_stride + 1
    raise ValueError(
        f"num_frames={num_frames}: this autoencoder packs {time_stride} frames in a latent one, after the first, which stands alone. "
        f"Try num_frames={low} or {low + time_stride}."
    )
