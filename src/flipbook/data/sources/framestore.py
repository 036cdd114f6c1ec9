"""Decoded frames of a folder's files: kept in memory while they fit a budget, decoded window by window beyond it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flipbook.data.sources.table import Row


@dataclass(frozen=True)
class Window:
    """One clip of a folder: frames [start, start + num_frames) of a file, and what a row says of them."""

    path: Path
    start: int
    num_frames: int
    fps: float
    captions: tuple[str, ...]
    where: str


def find_windows(folder: Path, rows: Sequence[Row]) -> list[Window]:
    """Look at every file once and settle what its rows leave open: length and rate.

    Raises ValueError, naming the row, for files that are no readable video and windows that reach beyond their end.
    """
    from flipbook.files.read import open_source

    facts: dict[str, tuple[int, float]] = {}
    windows = []
    for row in rows:
        path = folder / row.file_name
        if row.file_name not in facts:
            try:
                with closing(open_source(path)) as source:
                    facts[row.file_name] = (int(source.count), float(source.clock().fps))
            except ValueError as error:
                raise ValueError(f"{row.where}: {error}") from error
        count, fps = facts[row.file_name]
        length = count - row.start_frame if row.num_frames is None else row.num_frames
        if length < 1 or row.start_frame + length > count:
            raise ValueError(
                f"{row.where}: the window of {length} frames from frame {row.start_frame} does not lie within "
                f"{row.file_name}, which has {count}."
            )
        windows.append(Window(path, row.start_frame, length, row.fps or fps, row.captions, row.where))
    return windows


class FrameStore:
    """Frames of windows, at no more than the size that crops of (height, width) need.

    A file whose used part fits what is left of `memory_mb` is decoded once, when it is first asked for, and kept.
    """

    def __init__(
        self, windows: Sequence[Window], height: int, width: int, *, min_scale: float, memory_mb: float
    ) -> None:
        self._height, self._width, self._min_scale = height, width, min_scale
        self._room = memory_mb * 2**20
        self._kept: dict[Path, np.ndarray] = {}
        self._sizes: dict[Path, tuple[int, int]] = {}
        self._spans: dict[Path, tuple[int, int]] = {}  # the part of each file that is used: first frame, end
        for window in windows:
            low, high = self._spans.get(window.path, (window.start, 0))
            self._spans[window.path] = (min(low, window.start), max(high, window.start + window.num_frames))

    def frames(self, window: Window, numbers: np.ndarray) -> np.ndarray:
        """Frames of the window by number, which rise: uint8 (T, h, w, 3)."""
        numbers = numbers + window.start
        low, high = self._spans[window.path]
        if window.path not in self._kept and self._fits(window, high - low):
            self._kept[window.path] = self._read(window, low, high - low)
            self._room -= self._kept[window.path].nbytes
        if window.path in self._kept:
            return self._kept[window.path][numbers - low]
        first = int(numbers[0])
        return self._read(window, first, int(numbers[-1]) + 1 - first)[numbers - first]

    def _fits(self, window: Window, num_frames: int) -> bool:
        height, width = self._size(window)
        return num_frames * height * width * 3 <= self._room

    def _size(self, window: Window) -> tuple[int, int]:
        """Height and width to decode to: just enough for the smallest crop, and never more than the file has."""
        from flipbook.video import Video

        if window.path not in self._sizes:
            first = Video.read(window.path, start_frame=window.start, num_frames=1, audio=False)
            needed = max(self._height / first.height, self._width / first.width) / self._min_scale
            scale = min(1.0, needed)
            self._sizes[window.path] = (
                math.ceil(first.height * scale - 1e-6),
                math.ceil(first.width * scale - 1e-6),
            )
        return self._sizes[window.path]

    def _read(self, window: Window, start_frame: int, num_frames: int) -> np.ndarray:
        from flipbook.video import Video

        height, width = self._size(window)
        video = Video.read(
            window.path, start_frame=start_frame, num_frames=num_frames, height=height, width=width, fit="stretch",
            audio=False,
        )  # fmt: skip
        return video.frames
