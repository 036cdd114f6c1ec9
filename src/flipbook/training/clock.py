"""Time and interruption: how far a run is, when to save, why to stop."""

from __future__ import annotations

import contextlib
import signal
import time
from types import FrameType, TracebackType

import torch

from flipbook.parallel import Group
from flipbook.training.recipe import Recipe


class Clock:
    """Seconds of a run: of this session, and with those of the sessions `before` it."""

    def __init__(self, before: float = 0.0) -> None:
        self._before, self._start = before, time.monotonic()

    def session(self) -> float:
        return time.monotonic() - self._start

    def seconds(self) -> float:
        return self._before + self.session()


class Signals:
    """Inside this context the first SIGTERM or SIGINT leaves a note and the second one interrupts.

    Outside the main thread, where Python cannot catch signals, they stay as they are.
    """

    received: str | None = None

    def __enter__(self) -> Signals:
        self._before = {}
        with contextlib.suppress(ValueError):
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name


def progress(recipe: Recipe, step: int, seconds: float, group: Group) -> float:
    """The share of the run that is done, by steps or, with `schedule_minutes`, by the leading process's clock where
    that is ahead. In all processes the same."""
    by_steps = step / recipe.steps
    if recipe.schedule_minutes is None:
        return by_steps
    by_clock = group.sum(torch.tensor(seconds / 60 / recipe.schedule_minutes if group.leads else 0.0))
    return max(by_steps, float(by_clock))


def reason_to_stop(recipe: Recipe, group: Group, signals: Signals, clock: Clock) -> str | None:
    """What asks the run to end before its time, in all processes at once; None to go on."""
    if group.any(signals.received is not None):
        return f"stopped by {signals.received or 'a signal'}"
    limit = recipe.time_limit_minutes
    if limit is not None and group.any(clock.session() > limit * 60):
        return f"stopped at the time limit of {limit:g} minutes"
    return None


def save_is_due(recipe: Recipe, step: int, seconds_since_last: float, group: Group) -> bool:
    """Whether a checkpoint should be written after `step` updates."""
    every, minutes = recipe.checkpoint.every, recipe.checkpoint.minutes
    return (every > 0 and step % every == 0) or (minutes > 0 and group.any(seconds_since_last > minutes * 60))
