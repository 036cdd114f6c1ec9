"""Animated gif and webp, frame by frame: writers that merge equal frames would change the count, so ours do not."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flipbook.files.errors import VideoError
from flipbook.files.recipe import DESCRIPTION_TAG

if TYPE_CHECKING:
    from flipbook.files.write import Quality
    from flipbook.video import Video

SHORTEST_GIF_FRAME = 2  # hundredths of a second; viewers slow anything shorter down to ten


def edges(video: Video, per_second: int) -> np.ndarray:
    """(T + 1,) moments at which frames change, in whole ticks: rounding does not add up over the clip."""
    times = np.arange(len(video)) / video.fps if video.times is None else video.times
    return np.round(np.append(times, video.seconds) * per_second).astype(np.int64)


def write_gif(video: Video, path: Path, comment: str | None, lossless: bool, quality: Quality) -> None:
    """GIF89a that loops, a palette of 256 colours per frame; exact where a frame has no more colours than that."""
    delays = np.diff(edges(video, 100))
    if delays.min() < SHORTEST_GIF_FRAME:
        raise VideoError(
            f"a gif at {video.fps:g} fps: viewers show at most 50 frames per second. Try resample(25) or .webp."
        )
    if lossless:
        raise VideoError("a gif has 256 colours per frame and cannot be lossless. Try .webp, .mkv or .mp4.")
    with path.open("wb") as file:
        file.write(b"GIF89a" + struct.pack("<HHBBB", video.width, video.height, 0x70, 0, 0))
        file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")  # loop for ever
        if comment:
            file.write(b"\x21\xfe" + sub_blocks(comment.encode()))
        for frame, delay in zip(video.frames, delays, strict=True):
            file.write(b"\x21\xf9\x04\x04" + struct.pack("<HBB", int(delay), 0, 0) + gif_image(frame))
        file.write(b"\x3b")


def gif_image(frame: np.ndarray) -> bytes:
    """Image descriptor, local palette and LZW data of one frame, as Pillow encodes it."""
    from PIL import Image

    height, width = frame.shape[:2]
    colours, index = np.unique(frame.reshape(-1, 3), axis=0, return_inverse=True)
    if len(colours) <= 256:
        image = Image.fromarray(index.reshape(height, width).astype(np.uint8), "P")
        image.putpalette(np.pad(colours, ((0, 256 - len(colours)), (0, 0))).astype(np.uint8).tobytes())
    else:
        image = Image.fromarray(frame).quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG)
    buffer = io.BytesIO()
    image.save(buffer, "GIF", optimize=False, interlace=0)
    data = buffer.getvalue()
    size = 3 << ((data[10] & 7) + 1)
    palette, at = data[13 : 13 + size], 13 + size
    while data[at] == 0x21:  # Pillow's own extensions: skip their sub-blocks
        at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    return data[at : at + 9] + bytes([0x80 | data[10] & 7]) + palette + data[at + 10 : -1]


def sub_blocks(data: bytes) -> bytes:
    return b"".join(bytes([len(part := data[i : i + 255])]) + part for i in range(0, len(data), 255)) + b"\0"


def write_webp(video: Video, path: Path, comment: str | None, lossless: bool, quality: Quality) -> None:
    """WebP container (RIFF) with one ANMF chunk per frame; the recipe in EXIF."""
    from PIL import Image

    if max(video.height, video.width) > 16383:
        raise VideoError(f"{video.width}x{video.height} pixels: webp ends at 16383. Try .mp4 or .mkv.")
    flags = 0x02 | (0x08 if comment else 0)
    size = struct.pack("<I", video.width - 1)[:3] + struct.pack("<I", video.height - 1)[:3]
    chunks = [riff_chunk(b"VP8X", struct.pack("<I", flags) + size), riff_chunk(b"ANIM", b"\0\0\0\0\0\0")]
    for frame, length in zip(video.frames, np.diff(edges(video, 1000)), strict=True):
        buffer = io.BytesIO()
        strength = 100 if lossless else {"high": 95, "medium": 85, "small": 70}[quality]
        Image.fromarray(frame).save(buffer, "WEBP", lossless=lossless, exact=True, method=4, quality=strength)
        bitstream = buffer.getvalue()[12:]  # after RIFF, size, WEBP
        chunks.append(riff_chunk(b"ANMF", b"\0" * 6 + size + struct.pack("<I", int(length))[:3] + b"\x02" + bitstream))
    if comment:
        exif = Image.Exif()
        exif[DESCRIPTION_TAG] = comment
        chunks.append(riff_chunk(b"EXIF", exif.tobytes()))
    body = b"WEBP" + b"".join(chunks)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


def riff_chunk(name: bytes, payload: bytes) -> bytes:
    return name + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2)
