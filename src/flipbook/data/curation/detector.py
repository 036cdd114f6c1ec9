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
    """Collects the signals frame by frame; holds the last `SPAN` pictures."""

    recent: deque[np.ndarray] = field(default_factory=lambda: deque(maxlen=SPAN))
    breaks: list[float] = field(default_factory=list)
    ramps: list[list[tuple[float, float]]] = field(default_factory=lambda: [[] for _ in STRIDES])

    def add(self, frame: np.ndarray) -> None:
        picture = small_lab(frame)
        self.breaks.append(break_between(self.recent[-1], picture) if self.recent else 0.0)
        loud = min(self.breaks[-2:]) if len(self.breaks) > 2 else 0.0
        if loud > LOUD and break_between(self.recent[-2], picture) < 0.5 * loud:
            self.breaks[-2:] = [0.0, 0.0]                      # a flash: the picture is back as it was
        self.recent.append(picture)
        for row, stride in zip(self.ramps, STRIDES, strict=True):
            if len(self.recent) > STEPS * stride:
                row.append(ramp_over([self.recent[k * stride - 1 - STEPS * stride] for k in range(STEPS + 1)]))

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
    """Mean over blocks of the distance to the most similar block of `before` nearby, 8-bit Lab levels per channel."""
    import cv2

    h, w = after.shape[:2]
    around = cv2.copyMakeBorder(before, REACH, REACH, REACH, REACH, cv2.BORDER_REPLICATE)
    distances = np.stack([
        cv2.absdiff(after, around[dy : dy + h, dx : dx + w])
        for dy in range(2 * REACH + 1) for dx in range(2 * REACH + 1)
    ])  # fmt: skip                                                        # (25, h, w, 3)
    blocks = distances.reshape(len(distances), h // BLOCK, BLOCK, w // BLOCK * BLOCK * 3).sum(2, dtype=np.uint32)
    blocks = blocks.reshape(len(distances), h // BLOCK, w // BLOCK, BLOCK * 3).sum(3)
    return float(blocks.min(0).mean()) / (3 * BLOCK * BLOCK)


def ramp_over(pictures: Sequence[np.ndarray]) -> tuple[float, float]:
    """Share of pixels that go visibly and steadily from the first to the last of six pictures; novelty of the last."""
    stack = np.stack(pictures).astype(np.int16)
    steps = np.diff(stack, axis=0)                             # (5, h, w, 3)
    whole = stack[-1] - stack[0]
    steady = np.where(whole > 0, steps.min(0), -steps.max(0))  # the smallest step in the direction of the whole
    seen = STEPS * np.maximum(steady, 0).sum(-1)               # as much of the change as an even ramp explains
    share = float((seen > VISIBLE).mean())
    if share < FAINT:
        return share, 0.0
    toned = stack[-1] + np.rint(stack[0].mean((0, 1)) - stack[-1].mean((0, 1))).astype(np.int16)
    return share, break_between(pictures[0], np.clip(toned, 0, 255).astype(np.uint8))


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
