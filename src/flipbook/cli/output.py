"""Where results go: readable names that never overwrite, and a progress bar on the error stream."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flipbook.video import Video


def slug(text: str, length: int = 60) -> str:
    """A sentence as a file name: lower-case words joined by dashes, cut between words."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()      # letters without their accents
    words = re.findall(r"[a-z0-9]+", plain.lower())
    name = ""
    for word in words:
        if len(name) + len(word) + 1 > length and name:
            break
        name = f"{name}-{word}" if name else word[:length]
    return name or "video"


def sheet_path(video: Path) -> Path:
    """Where the contact sheet of a video stands."""
    return video.with_name(f"{video.stem}-sheet.png")


def free_path(path: Path) -> Path:
    """`path`, or the first of NAME-2, NAME-3, ... of which neither video nor sheet nor recipe exists yet."""
    candidate, number = path, 1
    while any(p.exists() for p in (candidate, sheet_path(candidate), candidate.with_suffix(".json"))):
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


def output_path(output: str | Path | None, name: str, num_videos: int, seed: int) -> Path:
    """A free path for a video. output: a file, a folder that exists or ends in a slash (there `name` is used), or None for `outputs/`."""
    path = Path("outputs" if output is None else output)
    if output is None or path.is_dir() or str(output).endswith(("/", os.sep)):
        return free_path(path / f"{name}-{seed}.mp4")
    return free_path(path if num_videos == 1 else path.with_name(f"{path.stem}-{seed}{path.suffix}"))


def write_video(video: Video, path: Path, title: str | None) -> tuple[dict[str, Any], str]:
    """Write a video and its contact sheet. Returns what was written where, and the same as a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    video.write(path)
    sheet = video.write_sheet(sheet_path(path), title=title)
    line = f"{path}  ({len(video)} frames of {video.height}x{video.width} at {video.fps:g} fps, sheet {sheet.name})"
    return {"path": str(path), "sheet": str(sheet), "seed": (video.recipe or {})["seed"]}, line


@contextmanager
def progress_bar(title: str, show: bool = True) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on the error stream, fed with (done, total); None when it is not to be shown or nobody is looking."""
    if not show or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
