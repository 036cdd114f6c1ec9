"""Stage `cut`: a source falls into its shots."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from flipbook.data.curation.detector import Border, find_borders, read_signals
from flipbook.data.curation.frames import Look, stream_frames
from flipbook.data.curation.gather import clip_id
from flipbook.data.curation.ledger import Row, drop
from flipbook.data.curation.stage import EachClip

DECODE_SIDE = 64


class Cut(EachClip):
    """Find cuts and dissolves and go on with the shots between them; what both shots share is left out.

    detector:     "flipbook" (our own: hard cuts, dissolves, fades), or PySceneDetect's "content" or "adaptive".
    min_frames:   shorter shots are dropped.   max_seconds: longer ones are divided evenly.
    margin:       frames left out at both ends of every shot that was cut, because encoders smear cuts.
    """

    name: ClassVar[str] = "cut"
    needs: ClassVar[tuple[str, ...]] = ("frames", "fps")
    alone: ClassVar[bool] = True
    adds: ClassVar[tuple[str, ...]] = ("cut_max", "cut_before")

    detector: Literal["flipbook", "content", "adaptive"] = "flipbook"
    threshold: float | None = Field(None, gt=0)
    min_frames: int = Field(8, ge=1)
    max_seconds: float | None = Field(None, gt=0)
    margin: int = Field(0, ge=0)

    def ready(self) -> None:
        need_opencv()
        if self.detector != "flipbook":
            need_scenedetect()

    def run(self, row: Row, look: Look) -> list[Row]:
        count = row["frames"]
        frames = stream_frames(Path(row["path"]), DECODE_SIDE, row["start_frame"], count)
        borders, signals = self.find(frames, row["fps"])
        shots = []
        edges = [(0, 0, None), *((b.start, b.end, b.kind) for b in borders), (count, count, None)]
        for (_, begin, kind), (end, _, following) in pairwise(edges):
            begin += self.margin if kind else 0
            end -= self.margin if following else 0
            shots += [(a, b, kind) for a, b in divide(begin, end, self.max_seconds, row["fps"])]
        return [self._clip(row, a, b, kind, signals) for a, b, kind in shots if b > a]

    def find(self, frames: Iterable[np.ndarray], fps: float) -> tuple[list[Border], np.ndarray]:
        """Borders, and per frame how much of a cut it would be (1: just one)."""
        if self.detector == "flipbook":
            threshold = self.threshold or 4.0
            signals = read_signals(frames)
            return find_borders(signals, threshold=threshold), signals.breaks / threshold
        return scenedetect_borders(frames, fps, self.detector, self.threshold)

    def _clip(self, row: Row, begin: int, end: int, kind: str | None, scores: np.ndarray) -> Row:
        start = row["start_frame"] + begin
        clip: Row = {
            "clip_id": clip_id(row["source"], start), "start_frame": start, "frames": end - begin,
            "start_s": start / row["fps"], "end_s": (start + end - begin) / row["fps"],
            "cut_before": kind, "cut_max": float(scores[begin + 1 : end].max(initial=0.0)),
        }  # fmt: skip
        if end - begin < self.min_frames:
            told = f"the shot has {end - begin} frames, and min_frames is {self.min_frames}"
            clip |= drop(self.name, "shot too short", told)
        return clip


def divide(begin: int, end: int, max_seconds: float | None, fps: float) -> list[tuple[int, int]]:
    """[begin, end) in as few equal parts as keep each within `max_seconds`."""
    parts = math.ceil((end - begin) / fps / max_seconds - 1e-9) if max_seconds and end > begin else 1
    edges = [begin + (end - begin) * k // parts for k in range(parts + 1)]
    return list(pairwise(edges))


def scenedetect_borders(
    frames: Iterable[np.ndarray], fps: float, method: str, threshold: float | None
) -> tuple[list[Border], np.ndarray]:
    """Hard cuts by PySceneDetect's detectors, fed frame by frame at our size."""
    import importlib

    detectors, common = importlib.import_module("scenedetect.detectors"), importlib.import_module("scenedetect.common")
    kind = detectors.ContentDetector if method == "content" else detectors.AdaptiveDetector
    name = "threshold" if method == "content" else "adaptive_threshold"
    detector = kind(**({name: threshold} if threshold else {}))
    found: list[int] = []
    count = 0
    for count, frame in enumerate(frames, start=1):
        moment = common.FrameTimecode(count - 1, fps)
        found += [int(at.frame_num) for at in detector.process_frame(moment, np.ascontiguousarray(frame[..., ::-1]))]
    if count:
        found += [int(at.frame_num) for at in detector.post_process(common.FrameTimecode(count - 1, fps))]
    borders = [Border(i, "cut", i, i, 1.0) for i in sorted(set(found)) if i > 0]
    return borders, np.zeros(count)


def need_opencv() -> None:
    """Raises ImportError that says what to install."""
    _need("cv2", "opencv-python-headless")


def need_scenedetect() -> None:
    """Raises ImportError that says what to install."""
    _need("scenedetect", "scenedetect")


def _need(module: str, package: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise ImportError(f"curation needs {package}. Try pip install 'flipbook[data]'")


