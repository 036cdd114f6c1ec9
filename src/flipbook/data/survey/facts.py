"""What a file really is: opened, its frames listed, the first and the last one decoded (or all of them)."""

from __future__ import annotations

import base64
import io
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from flipbook.data.clips import Media
from flipbook.files.errors import (
    DamagedVideo,
    EmptyVideo,
    MissingVideo,
    NotAVideo,
    TooLarge,
    TruncatedVideo,
    VideoError,
)
from flipbook.files.resize import ToRGB

Check = Literal["open", "decode"]
"""How closely files are looked at. open: first and last frame are decoded; decode: every frame is."""

RULES: dict[type[VideoError], str] = {
    MissingVideo: "missing", EmptyVideo: "empty", TruncatedVideo: "truncated", DamagedVideo: "damaged",
    NotAVideo: "no video", TooLarge: "too large",
}  # fmt: skip
THUMBNAIL = 160  # pixels of the longer side


@dataclass(frozen=True)
class Facts:
    """height, width: as shown, so after rotation.   times: seconds of each frame where the rate varies, else None.

    end: seconds at which the last frame disappears.   thumbnail: a JPEG of the middle frame in base64, where it was
    asked for.
    """

    num_frames: int
    fps: float
    height: int
    width: int
    end: float
    times: tuple[float, ...] | None = None
    codec: str = ""
    still: bool = False
    thumbnail: str = ""


@dataclass(frozen=True)
class Broken:
    """A file that cannot be used, by the rule's name, and why."""

    rule: str
    reason: str


def look(media: Media, check: Check = "open", *, thumbnail: bool = False) -> Facts | Broken:
    """Open a media and see what it is. What is wrong with it is an answer, not an error."""
    try:
        return _look(media, check, thumbnail)
    except VideoError as error:
        return Broken(RULES.get(type(error), "damaged"), str(error))
    except (OSError, ValueError, MemoryError) as error:
        return Broken("damaged", f"{media}: {type(error).__name__}: {error}")


def _look(media: Media, check: Check, thumbnail: bool) -> Facts:
    from flipbook.data.media import open_media, read_frames
    from flipbook.files.container import Container
    from flipbook.files.images import Animation, Folder

    with closing(open_media(media)) as source:
        clock, last = source.clock(), source.count - 1
        native = ToRGB(codec=source.codec)
        height, width = read_frames(source, np.array([0]), native).shape[1:3]
        if check == "decode":
            read_all(source)
        elif last:
            read_frames(source, np.array([last]), ToRGB(16, 16, "stretch", codec=source.codec))
        inner = getattr(source, "inner", source)
        return Facts(
            num_frames=source.count, fps=clock.fps, height=height, width=width, end=clock.end,
            times=None if clock.constant else tuple(np.round(clock.times, 6).tolist()), codec=source.codec,
            still=isinstance(inner, (Animation, Folder)) and source.count == 1 and not isinstance(inner, Container),
            thumbnail=draw_thumbnail(source, height, width) if thumbnail else "",
        )  # fmt: skip


def read_all(source: Any) -> None:
    """Decode every frame, a few at a time. Raises VideoError."""
    from flipbook.data.media import read_frames

    small = ToRGB(16, 16, "stretch", codec=source.codec)
    for start in range(0, source.count, 256):
        read_frames(source, np.arange(start, min(start + 256, source.count)), small)


def draw_thumbnail(source: Any, height: int, width: int) -> str:
    from PIL import Image

    from flipbook.data.media import read_frames

    scale = THUMBNAIL / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    frame = read_frames(source, np.array([source.count // 2]), ToRGB(*size, "stretch", codec=source.codec))[0]
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=70)
    return base64.b64encode(buffer.getvalue()).decode()
