"""What a probe looks at and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from flipbook.footage import cells, find_cuts, find_dissolves, luma, shots
from flipbook.metrics.truth.colour import rgb_to_lab

CELLS = 8  # per side; few enough for a mean to be calm, many enough for a median to ignore what moves


@dataclass(frozen=True, eq=False)
class Footage:
    """Frames uint8 (T, H, W, 3) at `fps`, the first frames of new shots, and what several probes need of them."""

    frames: np.ndarray
    fps: float
    cuts: tuple[int, ...]

    @classmethod
    def of(cls, frames: np.ndarray, fps: float, cuts: list[int] | None = None) -> Footage:
        """cuts: None to find them."""
        return cls(frames, fps, tuple(find_cuts(frames) if cuts is None else cuts))

    @cached_property
    def shots(self) -> list[slice]:
        return shots(len(self.frames), self.cuts)

    @cached_property
    def dissolves(self) -> list[tuple[int, int]]:
        """Stretches [start, end) of frames that are mixed of two shots."""
        return find_dissolves(self.frames)

    @cached_property
    def pure_shots(self) -> list[slice]:
        """The frames of each shot alone: parted at dissolves too, whose own frames are in none."""
        parts = []
        for shot in self.shots:
            begin = shot.start
            for start, end in self.dissolves:
                if start < shot.stop and end > shot.start:
                    parts.append(slice(begin, max(start, begin)))
                    begin = min(end, shot.stop)
            parts.append(slice(begin, shot.stop))
        return [part for part in parts if part.stop > part.start]

    @cached_property
    def luma(self) -> np.ndarray:
        """Brightness as stored, float32 (T, H, W) in [0, 1]."""
        return luma(self.frames)

    @cached_property
    def cell_luma(self) -> np.ndarray:
        """(T, n, n) means of `luma` over 8 x 8 cells."""
        return cells(self.luma, CELLS)

    @cached_property
    def cell_lab(self) -> np.ndarray:
        """(T, n * n, 3): CIELAB of the mean colour of each of 8 x 8 cells."""
        return rgb_to_lab(cells(self.frames, CELLS)).reshape(len(self.frames), -1, 3)

    @cached_property
    def is_new_shot(self) -> np.ndarray:
        """bool (T,): nothing in this frame follows from the one before."""
        new = np.zeros(len(self.frames), bool)
        new[[0, *self.cuts]] = True
        return new


@dataclass(frozen=True, eq=False)
class Reading:
    """What one probe found. More is worse in every probe.

    value: in `unit`.   fired: the fault is there, which for most probes is value > threshold; `reason` says it in words.
    series: (T,) the same quantity frame by frame (0 where it is not defined).   marks: the frames to look at.
    details: further numbers.   line: the threshold in terms of the series, where it has one; for drawings.
    """

    probe: str
    value: float
    unit: str
    threshold: float
    fired: bool
    reason: str
    series: np.ndarray
    marks: tuple[int, ...] = ()
    details: dict[str, float] | None = None
    line: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Numbers and lists for programs."""
        return {
            "probe": self.probe, "value": round(self.value, 4), "unit": self.unit, "threshold": self.threshold,
            "fired": self.fired, "reason": self.reason, "marks": list(self.marks),
            "details": {name: round(value, 4) for name, value in (self.details or {}).items()},
            "series": [round(float(value), 4) for value in self.series],
        }  # fmt: skip
