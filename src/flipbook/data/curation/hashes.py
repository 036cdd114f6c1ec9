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


class Hash(EachClip):
    """Hash the first, middle and last frame, plain and mirrored, and describe the clip by its colour layout.

    `embedding` is the layout of light and colour in a coarse grid, at three moments: not a learned one. A stage that comes
    later, such as `clip`, may put a learned vector in its place.
    """

    name: ClassVar[str] = "hash"
    needs: ClassVar[tuple[str, ...]] = ("frames",)
    adds: ClassVar[tuple[str, ...]] = ("phash", "phash_mirrored", "embedding", "embedding_mirrored", "embedding_by")

    def ready(self) -> None:
        need_opencv()

    def run(self, row: Row, look: Look) -> Row:
        frames = look.every.frames
        three = frames[[0, (len(frames) - 1) // 2, len(frames) - 1]]
        columns: Row = {"embedding_by": "layout"}
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

    parts = []
    for picture in pictures:
        lab = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2LAB).astype(np.float32)
        cells = cv2.resize(cv2.GaussianBlur(lab, (0, 0), min(lab.shape[:2]) / 32), (GRID, GRID), interpolation=cv2.INTER_AREA)
        parts.append((cells - cells.mean((0, 1))).ravel())
    vector = np.concatenate(parts)
    return vector / max(float(np.linalg.norm(vector)), 1e-6)
