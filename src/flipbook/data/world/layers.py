"""A picture as a stack of layers, far to near: what painter and truth share.

A layer knows how much of each pixel it covers, its colour, its depth, and where it stands in every frame, so the same
object answers "what is painted here" and "where does this point go next".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Layer:
    """One rigid thing in T frames. `box` = (y0, y1, x0, x1) are the pixels it may touch in any frame.

    coverage: float32 (T, h, w) in [0, 1] inside the box.   colour: (3,), (T, 3) or (3, T, h, w), levels 0 to 255.
    pose: float64 (T, 4), columns x, y, a, b: the local point (p, q) is seen at pixel (x + a p - b q, y + b p + a q).
    depth: larger is farther.   object: index in `scene["objects"]`, or None for scenery.
    """

    coverage: np.ndarray
    colour: np.ndarray
    pose: np.ndarray
    depth: float
    box: tuple[int, int, int, int]
    object: int | None = None


@dataclass(frozen=True)
class Stack:
    """A whole picture in T frames.

    canvas: what lies behind everything, painted, float32 (3, T, H, W).   pose: (T, 4), how it moves.
    layers: what stands before it, far to near.   view: (T, 4), how the camera moves the picture.
    centres: float64 (N, T, 2), the middle of each object in pixels.   keypoints: (N, T, J, 2) of people, else None.
    """

    canvas: np.ndarray
    pose: np.ndarray
    layers: tuple[Layer, ...]
    view: np.ndarray
    centres: np.ndarray
    keypoints: np.ndarray | None = None


def at_rest(num_frames: int) -> np.ndarray:
    """The pose of what never moves, float64 (T, 4)."""
    pose = np.zeros((num_frames, 4))
    pose[:, 2] = 1.0
    return pose


def paint(stack: Stack) -> np.ndarray:
    """All layers over the canvas, as uint8 (T, H, W, 3). The canvas is used up."""
    canvas = stack.canvas
    for layer in stack.layers:
        y0, y1, x0, x1 = layer.box
        colour = np.asarray(layer.colour, np.float32)
        for c in range(3):
            plane = canvas[c, :, y0:y1, x0:x1]
            level = colour[c] if colour.ndim != 2 else colour[:, c, None, None]
            step = np.subtract(level, plane)
            step *= layer.coverage
            plane += step
    frames = np.empty((*canvas.shape[1:], 3), np.uint8)
    canvas += np.float32(0.5)
    for c in range(3):
        frames[..., c] = canvas[c]
    return frames


def pixel_box(
    left: float, top: float, right: float, bottom: float, height: int, width: int
) -> tuple[int, int, int, int]:
    """Whole pixels (y0, y1, x0, x1) around a region, one pixel wider for its soft edge, cut at the picture's border."""
    x0, y0 = min(max(int(np.floor(left)) - 1, 0), width), min(max(int(np.floor(top)) - 1, 0), height)
    x1, y1 = min(max(int(np.ceil(right)) + 1, x0), width), min(max(int(np.ceil(bottom)) + 1, y0), height)
    return y0, y1, x0, x1
