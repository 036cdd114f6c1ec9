"""What a data source hands to training: one `Sample` per clip on the worker's side, one `Batch` per network call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

INDEX_FPS = 8.0
"""`frame_index` counts in eighths of a second: at 8 frames per second the frames stand at 0, 1, 2, ..."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One clip of one source, as bytes: small enough to cross a process border cheaply."""

    video: np.ndarray  # uint8 (T, H, W, 3)
    caption: str
    frame_index: np.ndarray  # float32 (T,), seconds * 8
    fps: float  # of the frames handed over, after the stride
    index: int  # the sample's number in the run
    source: str


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Clips for one network call.

    video: float32 (B, 3, T, H, W) in [-1, 1].   frame_index: float32 (B, T), seconds * 8.   fps: float32 (B,).
    captions, index (the samples' numbers in the run) and source: lists of length B.
    """

    video: Tensor
    captions: list[str]
    frame_index: Tensor
    fps: Tensor
    index: list[int]
    source: list[str]

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device`."""
        return replace(
            self, video=self.video.to(device), frame_index=self.frame_index.to(device), fps=self.fps.to(device)
        )


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one shape into a batch. Raises ValueError when their shapes differ."""
    import torch

    from flipbook.shapes import pixels_to_tensor

    shapes = {sample.video.shape for sample in samples}
    if len(shapes) != 1:
        named = ", ".join(f"{s.source} sample {s.index}: {s.video.shape}" for s in samples[:4])
        raise ValueError(
            f"samples of one batch differ in shape ({named}). Every source of a recipe must give "
            "(num_frames, height, width, 3)."
        )
    return Batch(
        video=pixels_to_tensor(np.stack([s.video for s in samples])),
        captions=[s.caption for s in samples],
        frame_index=torch.from_numpy(np.stack([s.frame_index for s in samples]).astype(np.float32)),
        fps=torch.tensor([s.fps for s in samples], dtype=torch.float32),
        index=[s.index for s in samples],
        source=[s.source for s in samples],
    )
