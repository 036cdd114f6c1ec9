"""Stage `picture`: what can be said of the pictures themselves in closed form: light, contrast, colour, sharpness."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from flipbook.data.curation.cut import need_opencv
from flipbook.data.curation.frames import Look
from flipbook.data.curation.ledger import Row
from flipbook.data.curation.stage import EachClip

LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)          # BT.709


class Picture(EachClip):
    """Measure light, contrast, colourfulness, sharpness and flicker, and how blocky the coding is.

    samples: frames that are looked at for everything but flicker, evenly spread.
    """

    name: ClassVar[str] = "picture"
    needs: ClassVar[tuple[str, ...]] = ("frames",)
    adds: ClassVar[tuple[str, ...]] = ("luma", "contrast", "colourfulness", "sharpness", "flicker", "blockiness")

    samples: int = Field(3, ge=1)
    side: int = Field(256, ge=32)

    def ready(self) -> None:
        need_opencv()

    def run(self, row: Row, look: Look) -> Row:
        frames = look.few(min(self.samples, row["frames"]), self.side)
        values = np.array([measure(frame) for frame in frames]).mean(0)
        light = (look.every.frames.astype(np.float32).mean((1, 2)) @ LUMA) / 255.0         # (T,)
        columns = dict(zip(("luma", "contrast", "colourfulness", "sharpness", "blockiness"), values.tolist(), strict=True))
        return columns | {"flicker": flicker(light)}


def measure(frame: np.ndarray) -> list[float]:
    """[luma, contrast, colourfulness, sharpness, blockiness] of uint8 (H, W, 3); luma in [0, 1].

    contrast: standard deviation of luma.   colourfulness: Hasler and Suesstrunk 2003, of values in [0, 1].
    sharpness: standard deviation of the Laplacian of luma over its contrast: what a blur lowers and light does not.
    blockiness: steps of luma across the borders of 8 x 8 blocks over those elsewhere; 1 where there are no blocks.
    """
    import cv2

    rgb = frame.astype(np.float32) / 255.0
    luma = rgb @ LUMA
    contrast = float(luma.std())
    red_green, yellow_blue = rgb[..., 0] - rgb[..., 1], 0.5 * (rgb[..., 0] + rgb[..., 1]) - rgb[..., 2]
    colourfulness = float(np.hypot(red_green.std(), yellow_blue.std()))
    colourfulness += 0.3 * float(np.hypot(red_green.mean(), yellow_blue.mean()))
    sharpness = float(cv2.Laplacian(luma, cv2.CV_32F).std()) / max(contrast, 1 / 255)
    steps = np.abs(np.diff(luma, axis=1)).mean(0)
    border = np.arange(1, luma.shape[1]) % 8 == 0
    blockiness = float(steps[border].mean() / max(steps[~border].mean(), 1e-4)) if border.any() else 1.0
    return [float(luma.mean()), contrast, colourfulness, sharpness, blockiness]


def flicker(light: np.ndarray) -> float:
    """How far the mean light of a frame lies from the middle of its neighbours', on average: (T,) in [0, 1]."""
    if len(light) < 3:
        return 0.0
    return float(np.abs(light[1:-1] - 0.5 * (light[:-2] + light[2:])).mean())
