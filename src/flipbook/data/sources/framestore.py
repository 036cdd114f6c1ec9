"""Decoded frames of a source's files: kept in memory while they fit a budget, decoded window by window beyond it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from flipbook.data.clips import Media
from flipbook.data.media import OpenMedia
from flipbook.data.window import Window


class FrameStore:
    """Frames of windows, at no more than the size that crops of (height, width) need.

    A file whose used part fits what is left of `memory_mb` is decoded once, when it is first asked for, and kept.
    """

    def __init__(
        self, windows: Sequence[Window], height: int, width: int, *, min_scale: float, memory_mb: float
    ) -> None:
        self._height, self._width, self._min_scale = height, width, min_scale
        self._room = memory_mb * 2**20
        self._kept: dict[Media, np.ndarray] = {}
        self._open = OpenMedia()
        self._spans: dict[Media, tuple[int, int]] = {}  # the part of each file that is used: first frame, end
        for window in windows:
            low, high = self._spans.get(window.media, (window.start, 0))
            self._spans[window.media] = (min(low, window.start), max(high, window.start + window.num_frames))

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width to decode to: just enough for the smallest crop, and never more than the file has."""
        scale = min(1.0, max(self._height / height, self._width / width) / self._min_scale)
        return math.ceil(height * scale - 1e-6), math.ceil(width * scale - 1e-6)

    def frames(self, window: Window, numbers: np.ndarray) -> np.ndarray:
        """Frames of the window by number, non-decreasing: uint8 (T, h, w, 3). Raises VideoError."""
        numbers, media, size = numbers + window.start, window.media, self.size(window.height, window.width)
        low, high = self._spans[media]
        if media not in self._kept and (high - low) * size[0] * size[1] * 3 <= self._room:
            self._kept[media] = self._open.read(media, np.arange(low, high), *size)
            self._room -= self._kept[media].nbytes
        if media in self._kept:
            return self._kept[media][numbers - low]
        return self._open.read(media, numbers, *size)

    def picture(self, media: Media, size: tuple[int, int]) -> np.ndarray:
        """The first frame of a media whose picture has this size: uint8 (1, h, w, 3)."""
        return self._open.read(media, np.zeros(1, np.int64), *self.size(*size))
