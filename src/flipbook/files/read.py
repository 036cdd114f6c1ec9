"""`Video.read`: look at the file, list its frames, choose, decode the chosen ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import numpy as np

from flipbook.files.check import kind_of
from flipbook.files.container import Container, Unlisted
from flipbook.files.errors import TooLarge, VideoError
from flipbook.files.images import Animation, Folder
from flipbook.files.resize import ToRGB, plan_resize
from flipbook.files.select import Selection, select
from flipbook.video import PathLike, Video

LARGEST_READ = 16 << 30  # bytes of RGB: more than this is a mistake or a trap, not a clip


def open_source(path: PathLike) -> Container | Animation | Folder:
    """The file behind a path, looked at and opened. Raises VideoError."""
    kind, path = kind_of(path), Path(path)
    if kind == "folder":
        return Folder(path)
    return Animation(path) if kind == "image" else Container(path)


def read_video(
    path: PathLike,
    *,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
    start_frame: int | None = None,
    num_frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    fit: Literal["crop", "pad", "stretch"] = "crop",
    background: tuple[int, int, int] = (0, 0, 0),
    audio: bool = True,
) -> Video:
    """See `Video.read`."""
    from flipbook.files.audio import read_audio
    from flipbook.files.recipe import read_recipe

    with closing(open_source(path)) as source:
        clock = source.clock(fps) if isinstance(source, Folder) else source.clock()
        try:
            chosen = select(clock, fps=fps, start=start, end=end, start_frame=start_frame, num_frames=num_frames)
        except VideoError as error:
            raise VideoError(f"{path}: {error}") from None
        to_rgb = ToRGB(height, width, fit, background, source.codec)
        frames = gather(source, chosen, to_rgb)
        sound = read_audio(Path(path), chosen.start, chosen.end) if audio and isinstance(source, Container) else None
    return Video(frames, chosen.fps, sound, read_recipe(path), chosen.times)


def gather(source: Container | Animation | Folder, chosen: Selection, to_rgb: ToRGB) -> np.ndarray:
    """The chosen frames as one array (T, H, W, 3)."""
    refuse_absurd(source, len(chosen.indices), to_rgb)
    try:
        return stack(source.frames(chosen.indices, to_rgb), len(chosen.indices), source.path)
    except Unlisted:
        assert isinstance(source, Container)
        source.stamps, source.last_length = source.list_frames()
        if chosen.indices[-1] >= source.count:
            raise VideoError(
                f"{source.path}: only {source.count} frames can be decoded, frame {chosen.indices[-1]} was asked for. "
                f"The file is damaged; try num_frames={source.count}."
            ) from None
        return stack(source.frames(chosen.indices, to_rgb), len(chosen.indices), source.path)


def stack(frames: Iterator[np.ndarray], count: int, path: Path) -> np.ndarray:
    out: np.ndarray | None = None
    for i, frame in enumerate(frames):
        if out is None:
            out = np.empty((count, *frame.shape), np.uint8)
        if frame.shape != out.shape[1:]:
            raise VideoError(
                f"{path}: frame {i} has {frame.shape[1]}x{frame.shape[0]} pixels, the ones before "
                f"{out.shape[2]}x{out.shape[1]}. Try height=..., width=..., which bring all frames to one size."
            )
        out[i] = frame
    assert out is not None
    return out


def refuse_absurd(source: Container | Animation | Folder, count: int, to_rgb: ToRGB) -> None:
    plan = plan_resize(max(source.height, 1), max(source.width, 1), *to_rgb.want)
    needed = 3 * max(count * plan.out_height * plan.out_width, source.height * source.width)
    if needed > LARGEST_READ:
        raise TooLarge(
            f"{source.path}: {count} frames of {plan.out_width}x{plan.out_height} need {needed / 2**30:.1f} GiB. "
            "Try a window (start, num_frames), fewer frames (fps) or a smaller size (height, width)."
        )
