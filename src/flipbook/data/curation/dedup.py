"""Stage `dedup`: of clips that show the same, one stays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from flipbook.data.curation.hashes import COARSE, MOMENTS
from flipbook.data.curation.ledger import Row, drop, is_kept, unpack_vector
from flipbook.data.curation.stage import AllClips

GRAIN = 1.5            # grey levels by which the course of a noisy copy differs


class Dedup(AllClips):
    """Find near-duplicates by hash, confirm them by embedding and course, keep the largest and sharpest of each group.

    distance: bits in which at least two of three hashes may differ.   cosine: of the embeddings, at least.
    course: how far the ways in which two clips change may be apart, as a share of the larger change.
    duration: lengths may differ by this share.   mirrored: a mirror image is a duplicate too.
    drop: drop the copies, or only name them in `dup_of`.
    """

    name: ClassVar[str] = "dedup"
    needs: ClassVar[tuple[str, ...]] = ("phash", "embedding", "course", "frames", "fps")
    adds: ClassVar[tuple[str, ...]] = ("dup_of",)

    distance: int = Field(16, ge=0, le=32)
    cosine: float = Field(0.9, ge=-1, le=1)
    course: float = Field(0.4, ge=0)
    duration: float = Field(0.1, ge=0)
    mirrored: bool = False
    drop: bool = True

    def run(self, rows: list[Row], output: Path) -> list[Row]:
        here = [row for row in rows if is_kept(row) and row.get("phash")]
        copies = copies_of(self.pairs(here), here)
        return [{**row, **self._columns(row, copies)} for row in rows]

    def pairs(self, rows: list[Row]) -> list[tuple[int, int]]:
        """Numbers of rows that show the same."""
        hashes = {ending: _hashes(rows, f"phash{ending}") for ending in self._endings}
        vectors = {ending: np.stack([unpack_vector(row[f"embedding{ending}"]) for row in rows] or [np.zeros(1)])
                   for ending in self._endings}  # fmt: skip
        courses = {"": np.stack([unpack_vector(row["course"]).reshape(MOMENTS, COARSE, COARSE) for row in rows] or [np.zeros((1, 1, 1))])}
        courses["_mirrored"] = courses[""][..., ::-1]
        seconds = np.array([row["frames"] / row["fps"] for row in rows])
        found = []
        for ending in self._endings:
            for i, others in candidates(hashes[""], hashes[ending], self.distance):
                others = others[np.abs(seconds[others] - seconds[i]) <= self.duration * seconds[i] + 1e-6]
                near = vectors[""][others] @ vectors[ending][i] >= self.cosine
                others = others[near]
                others = others[apart(courses[""][others], courses[ending][i]) <= self.course]
                found += [(min(i, int(j)), max(i, int(j))) for j in others if j != i]
        return sorted(set(found))

    @property
    def _endings(self) -> tuple[str, ...]:
        return ("", "_mirrored") if self.mirrored else ("",)

    def _columns(self, row: Row, copies: dict[str, Row]) -> Row:
        original = copies.get(row["clip_id"])
        if original is None:
            return {"dup_of": None} if is_kept(row) else {}
        found: Row = {"dup_of": original["clip_id"]}
        if self.drop:
            sizes = f"{row['width']}x{row['height']} and {original['width']}x{original['height']}"
            found |= drop(self.name, "near-duplicate", f"shows the same as {original['clip_id']} ({sizes})")
        return found


def candidates(hashes: np.ndarray, probes: np.ndarray, distance: int) -> Iterator[tuple[int, np.ndarray]]:
    """(i, numbers of rows within `distance` bits of probe i in two of three hashes), all against all in blocks.

    hashes, probes: uint64 (N, 3). A byte-wise popcount compares some hundred million pairs a second.
    """
    for i, probe in enumerate(probes):
        bits = np.bitwise_count(hashes ^ probe)                # (N, 3)
        yield i, np.flatnonzero((bits <= distance).sum(1) >= 2)


def apart(courses: np.ndarray, course: np.ndarray) -> np.ndarray:
    """Distances (N,) of courses (N, ...) from one, beyond what grain makes, as shares of the larger change; 0 is the same."""
    size = lambda change: np.sqrt(np.square(change).mean((-3, -2, -1)))
    distance = np.maximum(size(courses - course) - GRAIN, 0)
    return distance / np.maximum(np.maximum(size(courses), size(course)), 1e-6)


def copies_of(pairs: list[tuple[int, int]], rows: list[Row]) -> dict[str, Row]:
    """clip_id of each copy -> the row that stays: of a group of tied clips the one of most pixels times sharpness."""
    tied: dict[int, set[int]] = defaultdict(set)
    for i, j in pairs:
        tied[i].add(j)
        tied[j].add(i)
    best_first = sorted(tied, key=lambda i: (-_worth(rows[i]), rows[i]["clip_id"]))
    copies: dict[str, Row] = {}
    staying: set[int] = set()
    for i in best_first:                                       # a clip goes if one that stays shows the same
        original = next((j for j in best_first if j in tied[i] and j in staying), None)
        if original is None:
            staying.add(i)
        else:
            copies[rows[i]["clip_id"]] = rows[original]
    return copies


def _worth(row: Row) -> float:
    return row["height"] * row["width"] * (row.get("sharpness") or 1.0)


def _hashes(rows: list[Row], column: str) -> np.ndarray:
    return np.array([[int(text, 16) for text in row[column]] for row in rows], np.uint64).reshape(-1, 3)
