"""Small videos drawn for the tests, and files with the faults that real ones have."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from flipbook.video import Audio, Video


def gradients(num_frames: int = 16, height: int = 64, width: int = 64) -> np.ndarray:
    """Smooth saturated colours that drift: uint8 (T, H, W, 3)."""
    t, y, x = np.mgrid[:num_frames, :height, :width]
    u, v = x / max(width - 1, 1), y / max(height - 1, 1)
    colours = np.stack([u, v, (u + v + 0.02 * t) / 3], -1)
    return (255 * colours.clip(0, 1)).round().astype(np.uint8)


def numbered(num_frames: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Every frame shows its own number as eight black or white bars, readable after any lossy codec."""
    bits = (np.arange(num_frames)[:, None] >> np.arange(8)) & 1
    bars = np.repeat(bits * 255, width // 8, axis=1).astype(np.uint8)
    return np.broadcast_to(bars[:, None, :, None], (num_frames, height, width, 3)).copy()


def numbers_of(frames: np.ndarray) -> list[int]:
    """The numbers that `numbered` frames show."""
    width = frames.shape[2]
    bars = frames.reshape(len(frames), -1, 8, width // 8, 3).mean(axis=(1, 3, 4)) > 128
    return (bars << np.arange(8)).sum(axis=1).tolist()


def tone(seconds: float, rate: int = 48_000, channels: int = 1) -> Audio:
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    return Audio(np.repeat(wave[None], channels, 0).astype(np.float32), rate)


def video(num_frames: int = 12, fps: float = 8.0, **fields) -> Video:
    return Video(numbered(num_frames), fps, **fields)


def encode(
    path: Path,
    frames: np.ndarray,
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rate: Fraction | int = 25,
    stamps: list[int] | None = None,
    rotation: int | None = None,
    given: str = "rgb24",
    **options: str,
) -> Path:
    """A file as a camera or another program might write it, straight through libav."""
    import av

    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixel_format
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if stamps is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for i, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, given)
            if stamps is not None:
                frame.pts, frame.time_base = stamps[i], Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def sound_only(path: Path) -> Path:
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(0.2).samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48_000, 0
        for part in av.AudioResampler(format="fltp", layout="mono", rate=48_000, frame_size=1024).resample(frame):
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return path
