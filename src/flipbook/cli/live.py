"""`flipbook generate --stream`: the frames as they come, in a file that grows, until they are all there or Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from flipbook.streaming import Stream

SHEET = 32      # frames of the contact sheet, at most


def write_stream(stream: Stream, path: Path, *, title: str | None, show: bool) -> dict[str, Any]:
    """Write a stream's frames to `path` as they come, and a contact sheet of frames spread over all of it. Returns what was written.

    Ctrl-C, or SIGTERM, ends the video behind the chunk that is being made. Raises ValueError for files that cannot grow.
    """
    from flipbook.cli.output import sheet_path
    from flipbook.files.growing import check_growing, write_growing
    from flipbook.sampling import recipe
    from flipbook.video import Video

    settings, spread, began = stream.settings, Spread(), time.perf_counter()
    check_growing(path, settings.height, settings.width)
    path.parent.mkdir(parents=True, exist_ok=True)
    with stops() as asked, frame_bar(settings.num_frames, show) as told:

        def chunks() -> Iterator[np.ndarray]:
            for chunk in stream:
                spread.add(chunk)
                told(stream.made)
                yield chunk
                if asked():
                    return

        begun = recipe(stream.ready, stream.request, settings, stream.seed)
        count = write_growing(
            path, chunks(), fps=settings.fps, height=settings.height, width=settings.width, begun=begun, done=lambda: stream.recipe,
        )
        interrupted = asked()
    seconds = time.perf_counter() - began
    sheet = Video(np.stack(spread.frames), fps=settings.fps / spread.every).write_sheet(sheet_path(path), title=title)
    return {
        "path": str(path), "sheet": str(sheet), "seed": stream.seed, "frames": count, "seconds": round(seconds, 3),
        "frames_per_second": round(count / seconds, 2), "interrupted": interrupted and count < settings.num_frames,
    }  # fmt: skip


@dataclass
class Spread:
    """Every n-th frame of a video whose length nobody knows: n doubles whenever there are more than `SHEET` of them."""

    frames: list[np.ndarray] = field(default_factory=list)
    every: int = 1
    seen: int = 0

    def add(self, chunk: np.ndarray) -> None:
        for frame in chunk:
            if self.seen % self.every == 0:
                self.frames.append(frame)
            self.seen += 1
            if len(self.frames) > SHEET:
                self.frames, self.every = self.frames[::2], 2 * self.every


@contextmanager
def stops() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed or SIGTERM came since; pressed twice, it interrupts as ever."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def frame_bar(total: int, show: bool) -> Iterator[Callable[[int], None]]:
    """A bar on the error stream of frames made, with how many a second; nothing where nobody is looking."""
    if not show or not sys.stderr.isatty():
        yield lambda made: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("streaming, Ctrl-C ends the video here"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f} frames/s"), TimeRemainingColumn(),
    )  # fmt: skip
    began = time.perf_counter()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total, rate=0.0)
        yield lambda made: progress.update(task, completed=made, rate=made / (time.perf_counter() - began))
