"""How blurred a clip is, without anything to compare it with."""

from __future__ import annotations

import numpy as np

from .base import Footage, Reading
from .blocks import sampled, spread_out

BLURRED = 0.76  # on a scale where 0 is as sharp as pixels can be
REACH = 9       # pixels of the moving average that blurs again


def sharpness(footage: Footage) -> Reading:
    """The blur effect of a clip (Crete et al. 2007): 0 sharp, 1 blurred, the median over the frames.

    A sharp picture loses much of its pixel-to-pixel change when it is blurred once more, a blurred one hardly any. The value depends on
    the picture and on its size, so compare it with footage of the same kind; the threshold is high enough for
    skies and soft backgrounds, so that only a strong blur (some four pixels at 256) is called one.
    """
    values = blur_of_frames(sampled(footage.luma))
    value = float(np.median(values))
    fired = value > BLURRED
    reason = f"blurred: blurring it again removes only {1 - value:.0%} of its detail" if fired else "sharp enough"
    return Reading("sharpness", value, "blur, 0 to 1", BLURRED, fired, reason, spread_out(values, len(footage.frames)), line=BLURRED)


def blur_of_frames(y: np.ndarray) -> np.ndarray:
    """The blur effect of each frame (T, H, W) in [0, 1]: (T,); 0 for a flat frame, which has nothing to blur."""
    return np.array([max(blur_effect(frame), blur_effect(frame.T)) for frame in y])


def blur_effect(frame: np.ndarray) -> float:
    """Along the first axis of (H, W)."""
    if min(frame.shape) < REACH + 2:
        return 0.0
    half = REACH // 2
    padded = np.pad(frame, ((half + 1, half), (0, 0)), mode="symmetric").cumsum(0, dtype=np.float64)
    blurred = (padded[REACH:] - padded[:-REACH]) / REACH
    detail = np.abs(np.diff(frame.astype(np.float64), axis=0))
    lost = np.maximum(detail - np.abs(np.diff(blurred, axis=0)), 0)
    total = detail.sum()
    return float((total - lost.sum()) / total) if total > 1e-3 * frame.size / 255 else 0.0
