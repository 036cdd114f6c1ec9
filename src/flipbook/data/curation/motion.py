"""Stage `motion`: how much moves, and whether it is the camera or what stands before it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from flipbook.data.curation.cut import need_opencv
from flipbook.data.curation.frames import Look, shrink
from flipbook.data.curation.ledger import Row
from flipbook.data.curation.stage import EachClip
from flipbook.encoders.optical_flow import Method, search

MOVING = 0.02          # short sides a second: a pixel slower than this stands


class Motion(EachClip):
    """Measure speed by dense optical flow, in short sides per second, so that size and rate of a file do not matter.

    The length of the flow counts, not its signed mean: what goes back and forth moves. The camera's part is the affine
    field that fits the whole picture; the objects' part is what remains.
    fps: pairs of frames are so far apart, or one frame of a slower clip.   side: pixels of the short side.
    method: "dis" (Kroeger et al., arXiv:1603.03590) or "farneback" (2003), which Stable Video Diffusion used.
    """

    name: ClassVar[str] = "motion"
    needs: ClassVar[tuple[str, ...]] = ("frames",)
    adds: ClassVar[tuple[str, ...]] = (
        "motion_p50", "motion_mean", "motion_camera", "motion_object", "motion_global_share", "motion_static_share",
    )  # fmt: skip

    fps: float = Field(8.0, gt=0)
    side: int = Field(64, ge=16)
    most_pairs: int = Field(48, ge=1)
    method: Method = "dis"

    def ready(self) -> None:
        need_opencv()

    def run(self, row: Row, look: Look) -> Row:
        clip = look.every
        times = np.arange(len(clip)) / clip.fps if clip.times is None else clip.times
        firsts, seconds = pairs_of(times, self.fps, self.most_pairs)
        if not len(firsts):
            return dict.fromkeys(self.adds)                    # one frame: nothing can be said
        speeds = np.array([
            speed_of(shrink(clip.frames[[a, b]], self.side), seconds[k], self.method) for k, (a, b) in enumerate(firsts)
        ])  # fmt: skip                                        # (pairs, 4)
        mean, camera, thing, still = speeds.mean(0)
        return {
            "motion_p50": float(np.median(speeds[:, 0])), "motion_mean": mean, "motion_camera": camera,
            "motion_object": thing, "motion_static_share": still,
            "motion_global_share": camera / (camera + thing) if camera + thing else 0.0,
        }  # fmt: skip


def pairs_of(times: np.ndarray, fps: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of frames about 1 / fps apart, from all over the clip: indices (P, 2), P <= most, and their seconds (P,)."""
    ends = np.searchsorted(times, times + 1.0 / fps - 1e-6)
    firsts = np.flatnonzero(ends < len(times))
    step = max(1, round(len(times) / max(times[-1] * fps, 1.0))) if len(times) > 1 else 1
    firsts = firsts[::step]
    if len(firsts) > most:
        firsts = firsts[np.linspace(0, len(firsts) - 1, most).round().astype(int)]
    pairs = np.stack([firsts, ends[firsts]], 1)
    return pairs, times[pairs[:, 1]] - times[pairs[:, 0]]


def speed_of(pair: np.ndarray, seconds: float, method: Method) -> np.ndarray:
    """Two frames (2, h, w, 3) to [mean speed, camera's part, objects' part] in short sides a second, share that stands."""
    field = search(pair, [(0, 1)], method)[0].numpy().transpose(1, 2, 0) / (seconds * min(pair.shape[1:3]))  # (h, w, 2)
    camera = affine_part(field)
    speed = np.linalg.norm(field, axis=-1)
    parts = (np.linalg.norm(part, axis=-1).mean() for part in (camera, field - camera))
    return np.array([speed.mean(), *parts, (speed < MOVING).mean()])


def affine_part(field: np.ndarray, rounds: int = 4) -> np.ndarray:
    """The affine field nearest to most of a flow field (h, w, 2): least squares, again without what fits it worst."""
    h, w = field.shape[:2]
    y, x = np.mgrid[:h, :w]
    places = np.stack([np.ones(h * w), x.ravel() / w - 0.5, y.ravel() / h - 0.5], 1)     # (hw, 3)
    values = field.reshape(-1, 2).astype(np.float64)
    chosen = np.ones(len(values), bool)
    fit = np.zeros_like(values)
    for _ in range(rounds):
        solution = np.linalg.lstsq(places[chosen], values[chosen], rcond=None)[0]
        fit = places @ solution
        error = np.linalg.norm(values - fit, axis=1)
        chosen = error <= max(2.0 * float(np.median(error)), 1e-9)
    return fit.reshape(h, w, 2).astype(np.float32)
