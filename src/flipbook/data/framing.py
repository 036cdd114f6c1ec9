"""Which frames of a clip a sample shows, and where they stand in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flipbook.data.batch import INDEX_FPS


@dataclass(frozen=True, kw_only=True)
class Framing:
    """The shape of each sample of a run: `num_frames` at `frame_stride` of a clip of `clip_frames`, `height` x `width`.

    random_start: take the frames anywhere in the clip, not from its first frame on; None: only for stills, where
    num_frames = 1.
    """

    num_frames: int = 16
    frame_stride: int = 1
    clip_frames: int = 16
    random_start: bool | None = None
    height: int = 64
    width: int = 64

    @property
    def span(self) -> int:
        """Frames from the first one taken to the last one taken, both counted."""
        return (self.num_frames - 1) * self.frame_stride + 1

    def frames(self, clip_frames: int, chance: np.random.Generator) -> np.ndarray:
        """Frame numbers within a clip of `clip_frames`: int64 (num_frames,)."""
        anywhere = self.num_frames == 1 if self.random_start is None else self.random_start
        start = int(chance.integers(clip_frames - self.span + 1)) if anywhere else 0
        return start + self.frame_stride * np.arange(self.num_frames)


def frame_index(frames: np.ndarray, fps: float) -> np.ndarray:
    """Frame numbers at `fps` to positions in eighths of a second: float32 (T,)."""
    return (frames * (INDEX_FPS / fps)).astype(np.float32)
