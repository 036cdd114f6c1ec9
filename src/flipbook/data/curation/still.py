"""Stages `still` and `slideshow`: stretches in which the picture stands, and shots that are only pictures in a row."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from flipbook.data.curation.cut import need_opencv
from flipbook.data.curation.frames import Look
from flipbook.data.curation.ledger import Row
from flipbook.data.curation.stage import AllClips, EachClip

GRID = 16              # blocks along the short side; averages within them hide grain
CHANGED = 2.5          # 8-bit levels by which a block that stands may differ
GRAIN = 3.5            # times the usual change of a block from frame to frame, on top
STANDS = 0.75          # of a slide's frames: writing that appears on it may hide where a stretch begins


class Still(EachClip):
    """Find the stretches in which nothing moves: no block of the picture leaves the value it had at their beginning.

    min_seconds: shorter stretches do not count. A slow drift leaves its beginning sooner or later, grain does not.
    """

    name: ClassVar[str] = "still"
    needs: ClassVar[tuple[str, ...]] = ("frames",)
    adds: ClassVar[tuple[str, ...]] = ("still_share", "still_ranges")

    min_seconds: float = Field(0.6, gt=0)

    def ready(self) -> None:
        need_opencv()

    def run(self, row: Row, look: Look) -> Row:
        clip = look.every
        ranges = still_ranges(clip.frames, max(2, round(self.min_seconds * clip.fps)))
        share = sum(end - start for start, end in ranges) / len(clip)
        return {"still_share": share, "still_ranges": [list(span) for span in ranges]}


def still_ranges(frames: np.ndarray, shortest: int) -> list[tuple[int, int]]:
    """Stretches [start, end) of at least `shortest` frames of uint8 (T, H, W, 3) in which the picture stands."""
    blocks = block_means(frames)                               # (T, n, 3)
    steps = np.abs(np.diff(blocks, axis=0)).max(-1)            # (T - 1, n)
    allowed = CHANGED + GRAIN * (float(np.median(steps)) if len(steps) else 0.0)
    ranges, start = [], 0
    for i in range(1, len(blocks) + 1):
        if i < len(blocks) and np.abs(blocks[i] - blocks[start]).max() <= allowed:
            continue
        if i - start >= shortest:
            ranges.append((start, i))
        start = i
    return ranges


def block_means(frames: np.ndarray) -> np.ndarray:
    """Mean colours of about `GRID` blocks along the short side: float32 (T, blocks, 3)."""
    import cv2

    height, width = frames.shape[1:3]
    scale = GRID / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = [cv2.resize(frame.astype(np.float32), size, interpolation=cv2.INTER_AREA) for frame in frames]
    return np.stack(small).reshape(len(frames), -1, 3)


class Slideshow(AllClips):
    """Mark pictures shown one after the other: shots that stand, joined by cuts, at an even pace.

    min_slides: fewer in a row are no slideshow.   pace: the longest may be so many times the shortest.
    """

    name: ClassVar[str] = "slideshow"
    needs: ClassVar[tuple[str, ...]] = ("still_share", "cut_before", "start_frame")
    adds: ClassVar[tuple[str, ...]] = ("slideshow",)

    min_slides: int = Field(2, ge=2)
    pace: float = Field(1.25, ge=1)

    def run(self, rows: list[Row], output: Path) -> list[Row]:
        slides: set[int] = set()
        for run in self._runs(rows):
            if len(run) >= self.min_slides:
                slides |= set(run)
        return [{**row, "slideshow": i in slides} if "still_share" in row else row for i, row in enumerate(rows)]

    def _runs(self, rows: list[Row]) -> list[list[int]]:
        """Numbers of rows that follow each other as slides do."""
        standing = [i for i, row in enumerate(rows) if (row.get("still_share") or 0) >= STANDS]
        runs: list[list[int]] = []
        for i in sorted(standing, key=lambda i: (rows[i]["path"], rows[i]["start_frame"])):
            if runs and self._follows(rows, runs[-1], i):
                runs[-1].append(i)
            else:
                runs.append([i])
        return runs

    def _follows(self, rows: list[Row], run: list[int], i: int) -> bool:
        last, row = rows[run[-1]], rows[i]
        whole = [k for k in (*run, i) if rows[k]["cut_before"] != "dissolve"]        # a dissolve eats of the first slide
        lengths = [rows[k]["frames"] for k in whole]
        joined = last["path"] == row["path"] and last["start_frame"] + last["frames"] == row["start_frame"]
        return joined and row["cut_before"] == "cut" and max(lengths) <= self.pace * min(lengths)
