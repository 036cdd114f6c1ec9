"""`Video.write`: choose the format by the name, refuse what it cannot hold, and let the file appear whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from flipbook.files.errors import VideoError
from flipbook.files.recipe import MARK, pack, refuse_foreign_sidecar, remove_own_sidecar, write_sidecar
from flipbook.files.temporary import written_whole

if TYPE_CHECKING:
    from flipbook.video import PathLike, Video

Quality = Literal["high", "medium", "small"]
QUALITIES = ("high", "medium", "small")
STILLS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def write_video(
    video: Video,
    path: PathLike,
    *,
    lossless: bool = False,
    quality: Quality = "high",
    odd: Literal["refuse", "pad", "crop"] = "refuse",
    sidecar: bool = True,
) -> Path:
    """See `Video.write`."""
    path = Path(path)
    if quality not in QUALITIES:
        raise VideoError(f"quality={quality!r}: choose one of {', '.join(QUALITIES)}, or lossless=True.")
    write = writer_for(path, len(video))
    comment = pack(video.recipe)
    write_json = sidecar and video.recipe is not None
    if write_json:
        refuse_foreign_sidecar(path)
    if path.suffix.lower() in (".mp4", ".mov", ".mkv") and not lossless:
        video = with_even_size(video, path, odd)
    try:
        with written_whole(path) as temporary:
            write(video, temporary, comment, lossless, quality)
    except OSError as error:
        raise VideoError(f"{path}: it could not be written ({error.strerror or error}). Try another folder, or free space on this disk.") from error
    if write_json and video.recipe is not None:
        write_sidecar(path, video.recipe)
    else:
        remove_own_sidecar(path)  # it would speak of the video that stood here before
    return path


def check_writable(path: Path, num_frames: int) -> None:
    """Refuses, before a video of so many frames is made, what `write_video` would refuse after: its format, or where it is to stand."""
    writer_for(path, num_frames)
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise VideoError(f"{path}: {folder} is a file, so nothing can be written in it. Try another folder.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise VideoError(f"{path}: you may not write in {folder}. Try another folder.")


def writer_for(path: Path, num_frames: int) -> Callable[[Video, Path, str | None, bool, Quality], None]:
    from flipbook.files import animate, encode

    suffix = path.suffix.lower()
    if suffix in encode.FORMATS:
        return encode.write_container
    if suffix == ".gif":
        return animate.write_gif
    if suffix == ".webp":
        return animate.write_webp
    if suffix == "":
        if path.is_dir() and any(path.iterdir()) and not (path / "video.json").is_file():
            raise VideoError(
                f"{path}: this folder holds files that flipbook did not write. Give a new or an empty one."
            )
        return write_folder
    if suffix in STILLS:
        if num_frames == 1:
            return write_still
        raise VideoError(
            f"{path}: a {suffix} file holds one frame, and the video has {num_frames}. Try a folder "
            f"({path.with_suffix('')}), .webp or .gif for all of them, or write_sheet for a contact sheet."
        )
    known = " ".join([*encode.FORMATS, ".gif", ".webp"])
    raise VideoError(f"{path}: no writer for {suffix!r}. Try {known}, or no suffix for a folder of PNG images.")


def with_even_size(video: Video, path: Path, odd: Literal["refuse", "pad", "crop"]) -> Video:
    """H.264 in yuv420p shares a colour sample among 2 x 2 pixels, so it needs even sizes; none is changed unasked."""
    h, w = video.height, video.width
    if not (h % 2 or w % 2):
        return video
    if odd == "pad":
        return replace(video, frames=np.pad(video.frames, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge"))
    smaller, larger = f"{w - w % 2}x{h - h % 2}", f"{w + w % 2}x{h + h % 2}"
    if odd == "crop" and h > 1 and w > 1:
        return replace(video, frames=video.frames[:, : h - h % 2, : w - w % 2])
    if odd not in ("refuse", "crop"):
        raise VideoError(f"odd={odd!r}: choose 'refuse', 'pad' or 'crop'.")
    raise VideoError(
        f"{path}: {w}x{h} pixels, and H.264 files that every player shows need even sizes. Try odd='pad' ({larger}, "
        f"edges repeated), odd='crop' ({smaller}), lossless=True, or a .webm or .webp file, which keep the size."
    )


def write_folder(video: Video, folder: Path, comment: str | None, lossless: bool, quality: Quality) -> None:
    """00000.png, 00001.png, ... and video.json with what images cannot say: rate, times, recipe."""
    from PIL import Image

    folder.mkdir()
    for i, frame in enumerate(video.frames):
        Image.fromarray(frame).save(folder / f"{i:05d}.png")
    about = {"fps": video.fps, "times": None if video.times is None else video.times.tolist()}
    if video.recipe is not None:
        about[MARK] = video.recipe
    (folder / "video.json").write_text(json.dumps(about, indent=2) + "\n")


def write_still(video: Video, path: Path, comment: str | None, lossless: bool, quality: Quality) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    image = Image.fromarray(video.frames[0])
    if path.suffix.lower() == ".png":
        notes = PngInfo()
        if comment:
            notes.add_text("Comment", comment)
        image.save(path, pnginfo=notes)
    elif path.suffix.lower() in (".jpg", ".jpeg"):
        image.save(path, quality={"high": 95, "medium": 85, "small": 70}[quality], subsampling=0, comment=comment or "")
    else:
        image.save(path)
