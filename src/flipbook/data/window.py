"""The part of a file that a clip is, at the rate that a run wants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flipbook.data.clips import Clip, Media
from flipbook.files.select import frames_on_screen


@dataclass(frozen=True, slots=True)
class Window:
    """Frames [start, start + num_frames) of a media, shown at `rate` and then every `stride`-th.

    fps: of the file, or what its row says.   rate: frames per second to show, by time; None: all frames as they are.
    times: seconds of the window's frames where their lengths differ, from the first one on; end: when the last goes.
    height, width: of the picture as shown.   rival_size: of the other picture of a pair.
    """

    media: Media
    clip: Clip
    start: int
    num_frames: int
    fps: float
    height: int
    width: int
    end: float
    rate: float | None = None
    stride: int = 1
    times: tuple[float, ...] | None = None
    rival_size: tuple[int, int] | None = None

    @property
    def captions(self) -> tuple[str, ...]:
        return self.clip.captions

    @property
    def where(self) -> str:
        return self.clip.where

    @property
    def retimed(self) -> bool:
        """True if frames are repeated or left out to reach `rate`."""
        return self.rate is not None and (self.times is not None or abs(self.rate - self.fps) > 1e-6 * self.fps)

    def shown(self) -> np.ndarray:
        """Numbers, within the window, of the file's frames that are shown: int64 (n,), non-decreasing."""
        if self.rate is None or not self.retimed:
            return np.arange(0, self.num_frames, self.stride)
        times = np.arange(self.num_frames) / self.fps if self.times is None else np.asarray(self.times)
        return frames_on_screen(times, self.end, self.rate)[:: self.stride]

    def length(self) -> int:
        """How many frames are shown."""
        if self.retimed and self.rate is not None:
            return (max(1, round(self.end * self.rate)) - 1) // self.stride + 1
        return (self.num_frames - 1) // self.stride + 1

    def shown_fps(self) -> float:
        """Frames per second of what is shown; the mean, where lengths differ."""
        return (self.rate if self.rate is not None and self.retimed else self.fps) / self.stride

    def seconds(self, numbers: np.ndarray) -> np.ndarray:
        """When the shown frames of these numbers appear: float64 (T,), from the window's first one on."""
        if self.times is not None and not self.retimed:
            return np.asarray(self.times)[numbers * self.stride]
        return numbers / self.shown_fps()
