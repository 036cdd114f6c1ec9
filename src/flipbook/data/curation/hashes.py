"""Stage `hash`: what near-duplicates are found by: perceptual hashes of three frames, and a vector to confirm them with."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from flipbook.data.curation.cut import need_opencv
from flipbook.data.curation.frames import Look
from flipbook.data.curation.ledger import Row, pack_vector
from flipbook.data.curation.stage import EachClip

SIDE, KEPT = 32, 8     # a hash is the signs of the lowest 8 x 8 coefficients of a 32 x 32 picture
GRID = 12              # cells of the layout vector
MOMENTS, COARSE = 8, 8 # frames and cells of the course


class Hash(EachClip):
    """Hash the first, middle and last frame, plain and mirrored, and describe the clip by its colour layout.

    `embedding` is the layout of light and colour in a coarse grid, at three moments: not a learned one. A stage that comes
    later, such as `clip`, may put a learned vector in its place. `course` is how the picture changes over the clip: two
    clips of one person before one wall look alike in every frame, and differ in it.
    """

    name: ClassVar[str] = "hash"
    needs: ClassVar[tuple[str, ...]] = ("frames",)
    adds: ClassVar[tuple[str, ...]] = ("phash", "phash_mirrored", "embedding", "embedding_mirrored", "embedding_by", "course")

    def ready(self) -> None:
        need_opencv()

    def run(self, row: Row, look: Look) -> Row:
        frames = look.every.frames
        three = frames[[0, (len(frames) - 1) // 2, len(frames) - 1]]
        columns: Row = {"embedding_by": "layout", "course": pack_vector(course_of(frames).ravel())}
        for ending, pictures in (("", three), ("_mirrored", three[:, :, ::-1])):
            columns[f"phash{ending}"] = [f"{perceptual_hash(picture):016x}" for picture in pictures]
            columns[f"embedding{ending}"] = pack_vector(layout_vector(pictures))
        return columns


def perceptual_hash(picture: np.ndarray) -> int:
    """64 bits of uint8 (h, w, 3): signs of low frequencies of its luma about their median (pHash, Zauner 2010)."""
    import cv2

    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:KEPT, :KEPT].ravel()
    bits = low > np.median(low[1:])                            # the mean light, low[0], is no pattern
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def layout_vector(pictures: np.ndarray) -> np.ndarray:
    """Unit vector of uint8 (3, h, w, 3): Lab in a coarse grid, less the mean of each picture."""
    import cv2

    vector = np.concatenate([coarse(picture, cv2.COLOR_RGB2LAB, GRID).ravel() for picture in pictures])
    return vector / max(float(np.linalg.norm(vector)), 1e-6)


def course_of(frames: np.ndarray) -> np.ndarray:
    """How uint8 frames (T, h, w, 3) change: grey levels in a coarse grid at even moments, each less its mean over the picture
    and over the moments. float32 (moments, cells, cells)."""
    import cv2

    chosen = frames[np.linspace(0, len(frames) - 1, MOMENTS).round().astype(int)]
    course = np.stack([coarse(picture, cv2.COLOR_RGB2GRAY, COARSE) for picture in chosen])
    return course - course.mean(0)


def coarse(picture: np.ndarray, colours: int, cells: int) -> np.ndarray:
    """A picture in a grid of `cells` x `cells`, in other colours, less its mean: float32."""
    import cv2

    other = cv2.cvtColor(np.ascontiguousarray(picture), colours).astype(np.float32)
    blurred = cv2.GaussianBlur(other, (0, 0), min(other.shape[:2]) / 32)
    small = cv2.resize(blurred, (cells, cells), interpolation=cv2.INTER_AREA)
    return small - small.mean((0, 1))
