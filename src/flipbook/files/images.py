"""Still and animated pictures and folders of them, through Pillow."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flipbook.files.errors import DamagedVideo, EmptyVideo, VideoError
from flipbook.files.resize import ToRGB
from flipbook.files.select import Clock, clock_of

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".ppm", ".pgm", ".jp2"}
FOLDER_FPS = 8.0  # the rate of a folder of images that does not state one
FOLDER_CLOCK = "video.json"  # what a folder that we wrote says about rate, times and recipe
ORIENTATION_TAG = 0x0112
GIF_TICK = 0.01  # gif counts in hundredths of a second


def open_image(path: Path) -> Image.Image:
    """Raises DamagedVideo if Pillow cannot make sense of it."""
    import warnings

    from PIL import Image

    with decoding(path, "the picture"), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # read.py judges size
        return Image.open(path)


@contextmanager
def decoding(path: Path, what: str) -> Iterator[None]:
    """Pillow's many ways to say that a picture is broken, as one."""
    from PIL import Image

    try:
        yield
    except (OSError, EOFError, SyntaxError, struct.error, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, VideoError):
            raise
        raise DamagedVideo(f"{path}: {what} cannot be decoded ({error}). Make or copy it again.") from error


def pixels(image: Image.Image, to_rgb: ToRGB) -> np.ndarray:
    """A Pillow image to uint8 (H, W, 3): 16-bit and palettes reduced, transparency blended, EXIF rotation obeyed."""
    import av
    from PIL import ImageOps

    if image.mode.startswith("I"):  # 16-bit grey
        deep = np.asarray(image).astype(np.uint32)
        image_rgb = np.repeat(((deep * 255 + 32767) // 65535).clip(0, 255).astype(np.uint8)[..., None], 3, -1)
        return to_rgb(av.VideoFrame.from_ndarray(image_rgb, "rgb24"))
    image = ImageOps.exif_transpose(image)
    name = "RGBA" if image.has_transparency_data else "RGB"
    array = np.ascontiguousarray(np.asarray(image.convert(name)))
    return to_rgb(av.VideoFrame.from_ndarray(array, name.lower() + ("24" if name == "RGB" else "")))


def shown_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) after the EXIF orientation; 5 to 8 are the quarter turns."""
    sides = (image.height, image.width)
    return sides if image.getexif().get(ORIENTATION_TAG, 1) < 5 else sides[::-1]


class Animation:
    """A gif, webp, png (animated or not), jpeg, ...: one file, one or more frames."""

    def __init__(self, path: Path) -> None:
        self.path = path
        image = open_image(path)
        self.first = 1 if image.info.get("default_image") else 0  # a poster for viewers that know no animation
        self.count = getattr(image, "n_frames", 1) - self.first
        self.height, self.width = shown_size(image)
        self.codec = (image.format or "").lower()
        self.pixel_format = image.mode
        self.image = image

    def clock(self) -> Clock:
        """Frame lengths as browsers show them: 0 and 10 ms mean 100 ms. A still picture stays for one second."""
        lengths = []
        for i in range(self.count):
            self.show(i)
            stated = float(self.image.info.get("duration", 0) or 0)
            lengths.append(0.1 if stated <= 10 else stated / 1000)
        if self.count == 1:
            return clock_of(np.zeros(1), lengths[0] if "duration" in self.image.info else 1.0, GIF_TICK, ())
        times = np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
        return clock_of(times, lengths[-1], GIF_TICK if self.codec == "gif" else 0.001, ())

    def close(self) -> None:
        self.image.close()

    def show(self, index: int) -> None:
        """Make `image` the frame of this index, and its `info` that frame's."""
        with decoding(self.path, f"frame {index} of {self.count}"):
            self.image.seek(self.first + index)
            if self.codec == "webp":
                self.image.load()  # Pillow knows the length of a webp frame only then

    def frames(self, indices: np.ndarray, to_rgb: ToRGB) -> Iterator[np.ndarray]:
        for index in indices:
            self.show(int(index))
            with decoding(self.path, f"frame {index} of {self.count}"):
                rgb = pixels(self.image, to_rgb)
            yield rgb


class Folder:
    """Images of one folder in the order a person would count them (frame2 before frame10)."""

    def __init__(self, path: Path) -> None:
        names = [p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
        if not names:
            raise EmptyVideo(f"{path}: no images in this folder. Frames are files such as 0001.png or frame_1.jpg.")
        self.path = path
        self.names = sorted(names, key=lambda p: natural(p.name))
        self.count = len(names)
        with open_image(self.names[0]) as first:
            self.height, self.width = shown_size(first)
            self.codec = (first.format or "").lower()
            self.pixel_format = first.mode
        clock = path / FOLDER_CLOCK
        self.stated = read_folder_clock(clock) if clock.is_file() else {}

    def clock(self, fps: float | None = None) -> Clock:
        if self.stated.get("times"):
            times = np.asarray(self.stated["times"], np.float64)
            if len(times) == self.count:
                return clock_of(times, self.count / self.stated["fps"] - times[-1], 1e-6, ())
        rate = float(self.stated.get("fps") or fps or FOLDER_FPS)
        return Clock(np.arange(self.count) / rate, self.count / rate, rate, True)

    def close(self) -> None:
        """Nothing is held open between images."""

    def frames(self, indices: np.ndarray, to_rgb: ToRGB) -> Iterator[np.ndarray]:
        size = None
        for index in indices:
            name = self.names[int(index)]
            with open_image(name) as image, decoding(name, "the picture"):
                frame = pixels(image, to_rgb)
            if size not in (None, frame.shape):
                raise VideoError(
                    f"{name}: {frame.shape[1]}x{frame.shape[0]} pixels, but the images before it have "
                    f"{size[1]}x{size[0]}. Frames of a video share one size: try height=..., width=..."
                )
            size = frame.shape
            yield frame


def read_folder_clock(path: Path) -> dict[str, Any]:
    try:
        stated = json.loads(path.read_text())
    except ValueError as error:
        raise DamagedVideo(f"{path}: this is not JSON ({error}). Remove it, and say the rate with fps=...") from None
    return stated if isinstance(stated, dict) else {}


def natural(name: str) -> list[Any]:
    """'frame10.png' to ['frame', 10, '.png']: numbers compare as numbers."""
    return [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", name)]
