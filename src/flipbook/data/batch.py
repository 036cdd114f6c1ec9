"""What a data source hands to training: one `Sample` per clip on the worker's side, one `Batch` per network call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

INDEX_FPS = 8.0
"""`frame_index` counts in eighths of a second: at 8 frames per second the frames stand at 0, 1, 2, ..."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One clip of one source, as bytes: small enough to cross a process border cheaply.

    latent, key: what a cache holds of the clip, and under which key; with a latent, `video` is (T, H, W, 0), a shape.
    extra: what only some sets have, e.g. the rival of a pair.
    """

    video: np.ndarray  # uint8 (T, H, W, 3)
    caption: str
    frame_index: np.ndarray  # float32 (T,), seconds * 8
    fps: float  # of the frames handed over, after the stride
    index: int  # the sample's number in the run
    source: str
    is_image: bool = False  # a still: temporal layers leave it alone
    extra: dict[str, Any] = field(default_factory=dict)
    latent: np.ndarray | None = None
    key: str = ""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Clips for one network call.

    video: float32 (B, 3, T, H, W) in [-1, 1].   frame_index: float32 (B, T), seconds * 8.   fps: float32 (B,).
    captions, index (the samples' numbers in the run), source and extra: lists of length B.
    is_image: bool (B,), the image-only switch; None: all are clips.   latents, keys: see `Sample`; empty without a cache.
    """

    video: Tensor
    captions: list[str]
    frame_index: Tensor
    fps: Tensor
    index: list[int]
    source: list[str]
    is_image: Tensor | None = None
    extra: list[dict[str, Any]] = field(default_factory=list)
    latents: list[np.ndarray | None] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device`."""
        return replace(
            self, video=self.video.to(device), frame_index=self.frame_index.to(device), fps=self.fps.to(device),
            is_image=None if self.is_image is None else self.is_image.to(device),
        )  # fmt: skip


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one shape into a batch. Raises ValueError when their shapes differ."""
    import torch

    shapes = {sample.video.shape[:3] for sample in samples}
    if len(shapes) != 1:
        named = ", ".join(f"{s.source} sample {s.index}: {s.video.shape}" for s in samples[:4])
        raise ValueError(
            f"samples of one batch differ in shape ({named}). Every source of a recipe gives "
            "(num_frames, height, width, 3), of its bucket if there are buckets."
        )
    return Batch(
        video=_pixels(samples),
        captions=[s.caption for s in samples],
        frame_index=torch.from_numpy(np.stack([s.frame_index for s in samples]).astype(np.float32)),
        fps=torch.tensor([s.fps for s in samples], dtype=torch.float32),
        index=[s.index for s in samples],
        source=[s.source for s in samples],
        is_image=torch.tensor([s.is_image for s in samples]),
        extra=[s.extra for s in samples],
        latents=[s.latent for s in samples] if any(s.key for s in samples) else [],
        keys=[s.key for s in samples] if any(s.key for s in samples) else [],
    )


def _pixels(samples: Sequence[Sample]) -> Tensor:
    """float32 (B, 3, T, H, W); NaN where a cache had the latents and nobody decoded."""
    import torch

    from flipbook.shapes import pixels_to_tensor

    shape = samples[0].video.shape[:3]
    if all(s.latent is not None for s in samples):
        return torch.full((1, 1, 1, 1, 1), torch.nan).expand(len(samples), 3, *shape)
    blank = np.zeros((*shape, 3), np.uint8)
    video = pixels_to_tensor(np.stack([blank if s.latent is not None else s.video for s in samples]))
    video[[s.latent is not None for s in samples]] = torch.nan  # one layout in memory: convolutions round by it
    return video
