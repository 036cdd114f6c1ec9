"""Shot borders from small pictures: hard cuts and dissolves, in one pass, in constant memory.

Two signals. *Break*: what of a frame is found nowhere near its place in the frame before; motion has a low break however
fast things slide, a cut a high one. *Ramp*: the share of the picture whose colour goes from one value to another in steps
that all have the same sign; a dissolve moves every pixel so, while a thing that passes changes a pixel at once. Ramps are
read at three frame rates, so that slow dissolves are seen as well (the cascade of Stable Video Diffusion,
arXiv:2311.15127, appendix C, runs a cut detector at several rates for the same reason).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import numpy as np

SIDE = 32                # pixels of the short side that the signals are read from
BLOCK, REACH = 4, 2      # break: blocks of so many pixels look for themselves within so many pixels
STEPS = 5                # ramp: so many steps of one sign
STRIDES = (1, 2, 4)      # of the three frame rates
SPAN = STEPS * STRIDES[-1] + 1
VISIBLE = 22.0           # of 3 x 255 in 8-bit Lab: a change below it is noise
UNMOVED = 0.25           # of the novelty: so much must come from change that no motion explains
FAINT, LOUD = 0.1, 3.0   # a ramp below and a break above are looked at more closely


@dataclass(frozen=True)
class Border:
    """Where one shot ends and the next begins.

    frame: first frame of the new shot, or the middle of a dissolve.   [start, end): the frames that show both shots; empty
    for a cut.   score: break or ramp, as a multiple of its threshold.
    """

    frame: int
    kind: Literal["cut", "dissolve"]
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Signals:
    """Per frame i of N.

    breaks: (N,) against the frame before; 0 for a flash, after which the picture is as it was.
    ramps:  (3, N), one row per stride, of the ramp whose middle is frame i.
    novelty: (3, N) break between the ends of that ramp, brightness and tint aside; 0 where the ramp is too small to ask.
    """

    breaks: np.ndarray
    ramps: np.ndarray
    novelty: np.ndarray


@dataclass
class _Reader:
    """Collects the signals frame by frame; holds the last `SPAN` pictures, and per stride the last `STEPS` steps between them."""

    recent: deque[np.ndarray] = field(default_factory=lambda: deque(maxlen=SPAN))
    steps: list[deque[np.ndarray]] = field(default_factory=lambda: [deque(maxlen=(STEPS - 1) * stride + 1) for stride in STRIDES])
    breaks: list[float] = field(default_factory=list)
    ramps: list[list[tuple[float, float]]] = field(default_factory=lambda: [[] for _ in STRIDES])

    def add(self, frame: np.ndarray) -> None:
        picture = small_lab(frame)
        self.breaks.append(break_between(self.recent[-1], picture) if self.recent else 0.0)
        loud = min(self.breaks[-2:]) if len(self.breaks) > 2 else 0.0
        if loud > LOUD and break_between(self.recent[-2], picture) < 0.5 * loud:
            self.breaks[-2:] = [0.0, 0.0]                      # a flash: the picture is back as it was
        self.recent.append(picture)
        for row, kept, stride in zip(self.ramps, self.steps, STRIDES, strict=True):
            if len(self.recent) > stride:
                kept.append(np.subtract(picture, self.recent[-1 - stride], dtype=np.int16))
            if len(self.recent) > STEPS * stride:
                share = steady_share([kept[k * stride] for k in range(STEPS)])
                row.append((share, novelty_of(self.recent[-1 - STEPS * stride], picture) if share >= FAINT else 0.0))

    def signals(self) -> Signals:
        count = len(self.breaks)
        table = np.zeros((2, len(STRIDES), count))
        for k, (row, stride) in enumerate(zip(self.ramps, STRIDES, strict=True)):
            first = (STEPS * stride + 1) // 2                  # the ramp from frame 0 to 5 strides has its middle here
            for i, values in enumerate(row):
                table[:, k, first + i] = values
        return Signals(np.array(self.breaks), table[0], table[1])


def read_signals(frames: Iterable[np.ndarray]) -> Signals:
    """The signals of frames uint8 (H, W, 3), in order; frames may come from a generator of any length."""
    reader = _Reader()
    for frame in frames:
        reader.add(frame)
    return reader.signals()


def small_lab(frame: np.ndarray) -> np.ndarray:
    """8-bit RGB (H, W, 3) to 8-bit Lab with a short side of `SIDE`, by area: float32 (h, w, 3), sides multiples of 4."""
    import cv2

    height, width = frame.shape[:2]
    scale = SIDE / min(height, width)
    h, w = (max(1, round(side * scale / BLOCK)) * BLOCK for side in (height, width))
    return cv2.cvtColor(cv2.resize(frame, (w, h), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)


def break_between(before: np.ndarray, after: np.ndarray) -> float:
    """Mean over blocks of the distance to the most similar block of `before` nearby, 8-bit Lab levels per channel.

    uint8 (h, w, 3) both, sides multiples of `BLOCK`. Sums of bytes are small whole numbers, so float32 products add them exactly.
    """
    import cv2

    h, w = after.shape[:2]
    around = cv2.copyMakeBorder(before, REACH, REACH, REACH, REACH, cv2.BORDER_REPLICATE)
    shifts, row = 2 * REACH + 1, around.strides[0]
    moved = np.lib.stride_tricks.as_strided(around, (shifts, shifts, h, 3 * w), (row, 3, row, 1))
    picture = after.reshape(h, 3 * w)
    distances = np.maximum(moved, picture, order="C")
    distances -= np.minimum(moved, picture, order="C")     # (5, 5, h, 3 w)
    rows = distances.reshape(-1, BLOCK, 3 * w)                 # (25 h/4, 4, 3 w)
    strips = np.add(rows[:, 0], rows[:, 1], dtype=np.uint16)
    for k in range(2, BLOCK):
        strips += rows[:, k]
    blocks = (strips.astype(np.float32) @ _columns(w)).reshape(shifts**2, -1)
    return float(blocks.min(0).mean(dtype=np.float64)) / (3 * BLOCK * BLOCK)


@cache
def _columns(width: int) -> np.ndarray:
    """(3 width, width / 4): a product with it adds up each block's channels and columns."""
    return np.repeat(np.eye(width // BLOCK, dtype=np.float32), 3 * BLOCK, axis=0)


def steady_share(steps: Sequence[np.ndarray]) -> float:
    """Share of pixels that go visibly and steadily one way over five steps, int16 (h, w, 3) each."""
    lowest, highest = np.minimum(*steps[:2]), np.maximum(*steps[:2])
    for step in steps[2:]:
        np.minimum(lowest, step, out=lowest)
        np.maximum(highest, step, out=highest)
    steady = np.maximum(lowest, np.negative(highest, out=highest), out=lowest)
    np.maximum(steady, 0, out=steady)                          # the smallest step, where all five have one sign
    seen = steady[..., 0] + steady[..., 1] + steady[..., 2]
    return float((STEPS * seen > VISIBLE).mean())              # as much of the change as an even ramp explains


def novelty_of(before: np.ndarray, after: np.ndarray) -> float:
    """The break between two pictures, brightness and tint aside."""
    toned = after + np.rint(_colour(before) - _colour(after)).astype(np.int16)
    return break_between(before, np.clip(toned, 0, 255).astype(np.uint8))


def _colour(picture: np.ndarray) -> np.ndarray:
    """The mean (3,) of a small picture uint8 (h, w, 3); the sums are whole numbers that float32 holds."""
    h, w = picture.shape[:2]
    return picture.reshape(h, 3 * w).sum(0, dtype=np.float32).reshape(w, 3).sum(0) / np.float64(h * w)


def find_borders(
    signals: Signals, *, threshold: float = 4.0, contrast: float = 3.0, share: float = 0.19, novelty: float = 4.0
) -> list[Border]:
    """Borders in order of time.

    threshold, contrast: a cut breaks by so many levels, and by so many times the median of the six frames either side.
    share, novelty: a dissolve moves this share of the picture, and its ends differ by so many levels.
    """
    breaks = signals.breaks
    dissolves: list[Border] = []
    for k, stride in enumerate(STRIDES):                       # the fastest rate that sees a dissolve places it best
        fresh = (signals.novelty[k] > novelty) & (spread_of(breaks, STEPS * stride) > UNMOVED * signals.novelty[k])
        ramps = np.where(fresh, signals.ramps[k], 0.0)
        found = [_dissolve(ramps, run, stride, share) for run in runs_of(ramps > share, gap=2 * stride)]
        dissolves += [border for border in found if not any(_overlap(border, other) for other in dissolves)]
    cuts = []
    for i in map(int, np.flatnonzero(breaks > threshold)):
        around = np.delete(breaks[max(i - 6, 1) : i + 7], i - max(i - 6, 1))
        usual = float(np.median(around)) if len(around) else 0.0
        if breaks[i] < breaks[max(i - 2, 0) : i + 3].max() or breaks[i] < contrast * usual:
            continue
        if not any(border.start - 1 <= i <= border.end for border in dissolves):
            cuts.append(Border(i, "cut", i, i, float(breaks[i] / threshold)))
    return sorted(cuts + dissolves, key=lambda border: border.frame)


def spread_of(breaks: np.ndarray, length: int) -> np.ndarray:
    """Sum of the breaks over `length` steps around each frame: (N,) to (N,). What only moves, as in a pan, adds up to little."""
    return np.convolve(breaks, np.ones(length), mode="same") if len(breaks) >= length else np.zeros(len(breaks))


def runs_of(flags: np.ndarray, gap: int = 0) -> list[tuple[int, int]]:
    """Stretches [start, end) in which flags (N,) hold, joined across up to `gap` frames that do not."""
    runs: list[tuple[int, int]] = []
    for i in np.flatnonzero(flags):
        if runs and i - runs[-1][1] <= gap:
            runs[-1] = (runs[-1][0], int(i) + 1)
        else:
            runs.append((int(i), int(i) + 1))
    return runs


def _dissolve(ramps: np.ndarray, run: tuple[int, int], stride: int, share: float) -> Border:
    """One run of ramps is one dissolve: its middle is that of the plateau, on which all five steps lie inside it."""
    top = ramps[run[0] : run[1]].max()
    plateau = run[0] + np.flatnonzero(ramps[run[0] : run[1]] > 0.6 * top)
    middle = round((plateau[0] + plateau[-1]) / 2)
    half = max(1, round((plateau[-1] - plateau[0] + STEPS * stride) / 2) - stride + 1)
    start, end = max(middle - half, 1), min(middle + half, len(ramps))
    return Border(middle, "dissolve", start, end, float(top / share))


def _overlap(a: Border, b: Border) -> bool:
    return a.start < b.end + 1 and b.start < a.end + 1
