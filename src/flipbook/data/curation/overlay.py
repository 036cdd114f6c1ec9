"""Stage `text`: how much of the picture is covered by writing, without any weights.

Writing is a row of thin strokes of one height, standing in line, and it stays while the picture moves. So: what a small
morphological opening (or closing) takes away, in the same place for a while, whose connected pieces form a row. A scene
text detector (CRAFT, DBNet) reads more kinds of writing; this one is exact where overlays are plain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from flipbook.data.curation.cut import need_opencv
from flipbook.data.curation.frames import LOOK_SIDE, Look, shrink
from flipbook.data.curation.ledger import Row
from flipbook.data.curation.stage import EachClip

STROKE = 3             # pixels: what is thinner vanishes in an opening of this size
CONTRAST = 35.0        # 8-bit levels of a stroke above its surroundings
SMALLEST = 4           # pixels: height of the smallest letters that are looked for
TALLEST = 0.2          # of the short side
FEWEST = 3             # letters in a row


class Box(NamedTuple):
    """Pixels: [left, right) x [top, bottom)."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def height(self) -> int:
        return self.bottom - self.top


class Text(EachClip):
    """Measure the share of the picture that writing covers, at its largest in the clip.

    every_seconds: a moment is looked at so often.   hold: seconds for which writing must stay in its place.
    sides: pictures are read with these short sides, so that small and large letters are found.
    """

    name: ClassVar[str] = "text"
    needs: ClassVar[tuple[str, ...]] = ("frames",)
    adds: ClassVar[tuple[str, ...]] = ("text_area", "text_boxes")

    every_seconds: float = Field(1.0, gt=0)
    hold: float = Field(0.4, gt=0)
    sides: tuple[int, ...] = (64, LOOK_SIDE)

    def ready(self) -> None:
        need_opencv()

    def run(self, row: Row, look: Look) -> Row:
        clip = look.every
        length = max(1, round(self.hold * clip.fps))
        step = max(1, round(self.every_seconds * clip.fps))
        starts = range(0, max(1, len(clip) - length + 1), step)
        area, boxes = 0.0, []
        for start in starts:
            moment = clip.frames[start : start + length]
            moment = moment[:: max(1, len(moment) // 4)]       # four frames of it are enough
            found = find_text(moment, self.sides)
            share = covered(found)
            if share > area:
                area, boxes = share, found
        return {"text_area": area, "text_boxes": [[round(edge, 4) for edge in box] for box in boxes]}


def find_text(frames: np.ndarray, sides: Sequence[int]) -> list[list[float]]:
    """Lines of writing that stay in place in frames uint8 (T, H, W, 3): boxes [x0, y0, x1, y1] in [0, 1]."""
    lines: list[list[float]] = []
    short = min(frames.shape[1:3])
    for side in sorted({min(side, short) for side in sides}):
        small = shrink(frames, side)
        height, width = small.shape[1:3]
        for strokes in stroke_maps(small):
            for box in text_lines(strokes, TALLEST * side):
                line = [box.left / width, box.top / height, box.right / width, box.bottom / height]
                if not any(_inside(line, other) for other in lines):
                    lines.append(line)
    return lines


def stroke_maps(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bright and dark strokes that are there in all frames (T, h, w, 3): two bool (h, w)."""
    import cv2

    kernel = np.ones((STROKE, STROKE), np.uint8)
    opened = [frame - cv2.morphologyEx(frame, cv2.MORPH_OPEN, kernel) for frame in frames]
    closed = [cv2.morphologyEx(frame, cv2.MORPH_CLOSE, kernel) - frame for frame in frames]
    bright, dark = (np.stack(maps).max(-1).min(0) > CONTRAST for maps in (opened, closed))
    return bright, dark


def text_lines(strokes: np.ndarray, tallest: float) -> list[Box]:
    """Rows of at least `FEWEST` pieces of about one height, side by side, in a bool map (h, w)."""
    import cv2

    _, _, stats, _ = cv2.connectedComponentsWithStats(strokes.astype(np.uint8), connectivity=8)
    pieces = [Box(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:].tolist() if SMALLEST <= h <= tallest and w <= 2 * h]
    lines: list[list[Box]] = []
    for piece in sorted(pieces):
        line = next((line for line in lines if _follows(line[-1], piece)), None)
        if line is None:
            lines.append([piece])
        else:
            line.append(piece)
    whole = [Box(ln[0].left, min(p.top for p in ln), max(p.right for p in ln), max(p.bottom for p in ln)) for ln in lines if len(ln) >= FEWEST]
    return [box for box in whole if box.right - box.left >= 2 * box.height]


def covered(boxes: Sequence[Sequence[float]]) -> float:
    """Share of the picture under boxes [x0, y0, x1, y1], overlaps counted once, to half a per cent."""
    grid = np.zeros((200, 200), bool)
    for x0, y0, x1, y1 in boxes:
        grid[round(200 * y0) : round(200 * y1), round(200 * x0) : round(200 * x1)] = True
    return float(grid.mean())


def _follows(before: Box, after: Box) -> bool:
    """Whether two pieces stand in one line like letters: same height and place, at most a letter's height apart."""
    tall = max(before.height, after.height)
    level = abs(before.top - after.top) <= 0.25 * tall and abs(before.bottom - after.bottom) <= 0.25 * tall
    return level and -1 <= after.left - before.right <= 1.2 * tall


def _inside(line: Sequence[float], other: Sequence[float]) -> bool:
    across = min(line[2], other[2]) - max(line[0], other[0])
    down = min(line[3], other[3]) - max(line[1], other[1])
    return across > 0 and down > 0 and across * down > 0.5 * (line[2] - line[0]) * (line[3] - line[1])
