"""The frames of one clip, decoded when a stage first asks for them and kept while the stages of one pass look."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from flipbook.video import Video

LOOK_SIDE = 128        # pixels of the short side at which every frame is looked at
MOST_FRAMES = 3000     # of one clip are looked at, evenly spaced; a longer clip should have been cut


class Look:
    """`every`: all frames, small.   `few(n, side)`: some frames, larger.   Both from the window that the row names."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.row = row

    @property
    def start(self) -> int:
        return int(self.row["start_frame"])

    @property
    def count(self) -> int:
        return int(self.row["frames"])

    @cached_property
    def every(self) -> Video:
        """All frames with a short side of at most `LOOK_SIDE`. Raises VideoError."""
        size = self._size(LOOK_SIDE)
        if self.count <= MOST_FRAMES:
            return Video.read(self.row["path"], start_frame=self.start, num_frames=self.count, audio=False, **size)
        whole = Video.read(self.row["path"], start_frame=self.start, num_frames=MOST_FRAMES, audio=False, **size)
        step = math.ceil(self.count / MOST_FRAMES)             # spread over the clip, not its beginning
        pictures = [self._one(self.start + i, size) for i in range(0, self.count, step)]
        return Video(np.stack(pictures), whole.fps / step)

    def few(self, count: int, side: int = 256) -> np.ndarray:
        """`count` frames, evenly spread, first and last among them (the middle one for 1): uint8 (count, h, w, 3)."""
        spots = [0.5] if count == 1 else np.linspace(0, 1, count).tolist()
        size = self._size(side)
        return np.stack([self._one(self.start + round(spot * (self.count - 1)), size) for spot in spots])

    def _one(self, index: int, size: dict[str, Any]) -> np.ndarray:
        return Video.read(self.row["path"], start_frame=index, num_frames=1, audio=False, **size).frames[0]

    def _size(self, side: int) -> dict[str, Any]:
        """What `Video.read` needs to bring the short side down to `side`; nothing is enlarged."""
        height, width = self.row["height"], self.row["width"]
        if min(height, width) <= side:
            return {}
        return {"height": side} if height <= width else {"width": side}


def stream_frames(path: Path, side: int, start: int, count: int) -> Iterator[np.ndarray]:
    """`count` frames of a file from `start` on, one at a time, short side at most `side`: uint8 (h, w, 3).

    Raises VideoError.
    """
    from flipbook.files.container import Container, Unlisted
    from flipbook.files.read import open_source
    from flipbook.files.resize import ToRGB

    with closing(open_source(path)) as source:
        small = min(source.height, source.width) <= side
        height, width = (None, None) if small else (side, None) if source.height <= source.width else (None, side)
        to_rgb = ToRGB(height, width, "crop", (0, 0, 0), source.codec)
        shown = 0
        try:
            for frame in source.frames(np.arange(start, start + count), to_rgb):
                yield frame
                shown += 1
        except Unlisted:                                       # packets promised other frames than the decoder shows
            assert isinstance(source, Container)
            source.stamps, source.last_length = source.list_frames()
            yield from source.frames(np.arange(start + shown, min(start + count, source.count)), to_rgb)


def shrink(frames: np.ndarray, side: int) -> np.ndarray:
    """Frames (T, H, W, 3) with a short side of at most `side`, by averaging areas."""
    import cv2

    height, width = frames.shape[1:3]
    scale = side / min(height, width)
    if scale >= 1:
        return frames
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
