"""What a training run tells: JSON lines in `log.jsonl`, TensorBoard scalars, sample sheets, a progress bar."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

from flipbook.shapes import tensor_to_pixels

_SECONDS_BETWEEN_LINES = 30.0  # where there is no terminal to draw a bar on


class TrainLog:
    """Use as a context.

    steps_done: on resume, lines of the old log beyond this step are dropped, since they will be lived again.
    In processes other than the leading one (`speaks=False`) every method is silent.
    """

    def __init__(
        self, folder: Path, steps: int, steps_done: int = 0, *, tensorboard: bool = True, speaks: bool = True
    ) -> None:
        self._speaks, self._steps, self._last_line = speaks, steps, 0.0
        self._bar: Progress | None = None
        self._board: Any = None
        self._console = Console(stderr=True, soft_wrap=True)
        if not speaks:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        _keep_lines_until(folder / "log.jsonl", steps_done)
        self._file = (folder / "log.jsonl").open("a", encoding="utf-8")
        if tensorboard:
            self._board = _open_tensorboard(folder / "tensorboard", steps_done)
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[facts]}"),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("training", total=steps, completed=steps_done, facts="")

    def __enter__(self) -> TrainLog:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        if self._speaks:
            self._file.close()
        if self._board:
            self._board.close()

    def record(self, step: int, **facts: Any) -> None:
        """One line of `log.jsonl`; numbers, and lists of numbers by position, go to TensorBoard too."""
        if not self._speaks:
            return
        self._file.write(json.dumps({"step": step, **facts}) + "\n")
        self._file.flush()
        if self._board:
            for name, value in _scalars(facts):
                self._board.add_scalar(name, value, step)

    def progress(self, step: int, loss: float, clips_per_second: float, seconds_left: float) -> None:
        """Move the bar; without a terminal, a line now and then."""
        facts = f"loss {loss:.4f}  {clips_per_second:.1f} clips/s  {_clock(seconds_left)} left"
        if self._bar:
            self._bar.update(self._task, completed=step, facts=facts)
        elif self._speaks and time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.say(f"step {step}/{self._steps}  {facts}")

    def say(self, message: str) -> None:
        """A line for the person at the screen."""
        if self._speaks:
            self._console.print(message, highlight=False, markup=False)

    def write(self, name: str, text: str) -> None:
        """A whole text file in the run's folder."""
        if self._speaks:
            _replace(self._folder / name, text)

    def sheet(self, step: int, videos: Tensor) -> None:
        """`samples/step-000100.png`: one row per video of (N, 3, T, H, W) in [-1, 1], its frames from left to right."""
        if not self._speaks:
            return
        from PIL import Image

        frames = tensor_to_pixels(videos)  # (N, T, H, W, 3)
        n, t, h, w, _ = frames.shape
        picture = frames.transpose(0, 2, 1, 3, 4).reshape(n * h, t * w, 3)
        path = self._folder / "samples" / f"step-{step:06d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path.with_suffix(".tmp"), format="PNG")
        os.replace(path.with_suffix(".tmp"), path)


def _keep_lines_until(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError):
            continue  # the line a kill cut short
    _replace(path, "".join(kept))


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _open_tensorboard(folder: Path, steps_done: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=steps_done + 1 if steps_done else None)


def _scalars(facts: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in facts.items():
        if isinstance(value, dict):
            found += _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, list):
            found += [(f"{prefix}{name}/{i}", v) for i, v in enumerate(value) if isinstance(v, (int, float))]
        elif isinstance(value, (int, float)):
            found.append((f"{prefix}{name}", value))
    return found


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
