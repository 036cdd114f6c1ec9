"""Ways to spoil a clip by a known amount: uint8 frames (T, H, W, 3) in and out."""

from __future__ import annotations

import numpy as np


def stored(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def flicker(frames: np.ndarray, amplitude: float) -> np.ndarray:
    """Every other frame brighter by the share `amplitude`, the others darker by it."""
    sign = np.where(np.arange(len(frames)) % 2, 1.0, -1.0)[:, None, None, None]
    return stored(frames * (1 + amplitude * sign))


def noisy(frames: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    """Gaussian noise of `sigma` grey levels in every value."""
    return stored(frames + np.random.default_rng(seed).normal(0, sigma, frames.shape))


def frozen(frames: np.ndarray, start: int, length: int) -> np.ndarray:
    """The frame before `start` stays for `length` more frames."""
    index = np.arange(len(frames))
    return frames[np.where((index >= start) & (index < start + length), start - 1, index)]


def flashing(frames: np.ndarray, at: list[int], lift: float = 120.0) -> np.ndarray:
    """Single frames brighter by `lift` grey levels."""
    return stored(frames + lift * np.isin(np.arange(len(frames)), at)[:, None, None, None])


def blocky(frames: np.ndarray, share: float, size: int = 8) -> np.ndarray:
    """Mixed with the means of its blocks: share 0 is the clip itself, 1 nothing but blocks."""
    t, h, w, _ = frames.shape
    means = frames.reshape(t, h // size, size, w // size, size, 3).mean((2, 4), keepdims=True)
    blocks = np.broadcast_to(means, (t, h // size, size, w // size, size, 3)).reshape(frames.shape)
    return stored((1 - share) * frames + share * blocks)


def seam_in_space(frames: np.ndarray, column: int, step: float) -> np.ndarray:
    """Everything from `column` on brighter by `step` grey levels, as between two tiles."""
    return stored(frames + step * (np.arange(frames.shape[2]) >= column)[None, None, :, None])


def seam_in_time(frames: np.ndarray, at: int, step: float) -> np.ndarray:
    """From frame `at` on redder and less blue by `step` grey levels, as between two chunks."""
    return stored(frames + step * (np.arange(len(frames)) >= at)[:, None, None, None] * np.array([1.0, 0.0, -1.0]))


def drifting(frames: np.ndarray, total: float) -> np.ndarray:
    """Redder and less blue little by little, by `total` grey levels at the end."""
    share = np.linspace(0, 1, len(frames))[:, None, None, None]
    return stored(frames + total * share * np.array([1.0, 0.0, -1.0]))


def blurred(frames: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur in space."""
    reach = int(np.ceil(3 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps /= taps.sum()
    x = frames.astype(np.float64)
    for axis in (1, 2):
        pad = [(0, 0)] * 4
        pad[axis] = (reach, reach)
        padded = np.pad(x, pad, mode="reflect")
        x = sum(tap * padded.take(range(k, k + x.shape[axis]), axis) for k, tap in enumerate(taps))
    return stored(x)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Decibels between two uint8 clips; infinite when they are equal."""
    error = np.square(a.astype(np.float64) - b).mean()
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))
