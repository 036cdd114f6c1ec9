"""Optical flow without a network: dense inverse search (arXiv:1603.03590) as OpenCV has it (extra `data`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from types import ModuleType
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from flipbook.shapes import tensor_to_pixels

Method = Literal["dis", "farneback"]
"""Dense inverse search, or Farneback's polynomials (2003)."""

NAME = "opencv-dis-medium-finest-0"
"""What stands in a fingerprint: another search or another finest scale gives other numbers."""

SMALLEST = 64  # pixels; below, the search has no pyramid to climb, and the frame is enlarged for it


def opencv(use: str) -> ModuleType:
    """The module cv2. Raises ImportError that says what wants it and how to get it."""
    try:
        import cv2
    except ImportError:
        raise ImportError(f"{use} needs OpenCV, which is not installed. Try: pip install 'flipbook[data]'") from None
    return cv2


def optical_flow(here: np.ndarray, there: np.ndarray) -> Tensor:
    """The field from one frame to another, uint8 (H, W, 3) each: float32 (1, 2, H, W), `warp(there, f) = here`."""
    return search([here, there], [(0, 1)])


def optical_flow_of_clip(clip: Tensor) -> tuple[Tensor, Tensor]:
    """Of a clip (3, T, H, W) in [-1, 1]: fields (T - 1, 2, H, W) in pixels from each frame to the next, and from the next back.

    Raises ImportError without OpenCV, ValueError for a clip of one frame.
    """
    if clip.ndim != 4 or clip.shape[1] < 2:
        raise ValueError(f"a clip of shape {tuple(clip.shape)} has no motion. Try (3, T, H, W) with two frames or more.")
    frames = tensor_to_pixels(clip)                                                  # (T, H, W, 3)
    steps = list(pairwise(range(len(frames))))
    return search(frames, steps), search(frames, [(b, a) for a, b in steps])


def search(frames: Sequence[np.ndarray] | np.ndarray, pairs: Sequence[tuple[int, int]], method: Method = "dis") -> Tensor:
    """Fields (P, 2, H, W) between pairs of uint8 frames (H, W, 3) of one size."""
    cv2 = opencv("optical flow")
    height, width = frames[0].shape[:2]
    factor = max(1, -(-SMALLEST // min(height, width)))
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    if factor > 1:
        grey = [cv2.resize(g, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC) for g in grey]
    field_of = _farneback(cv2) if method == "farneback" else _inverse_search(cv2)
    fields = [field_of(grey[a], grey[b]) / factor for a, b in pairs]
    if factor > 1:
        fields = [cv2.resize(field, (width, height), interpolation=cv2.INTER_AREA) for field in fields]
    return torch.from_numpy(np.stack(fields).astype(np.float32)).movedim(-1, 1)


def _inverse_search(cv2: ModuleType) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    estimator.setFinestScale(0)                                                      # small objects are lost at half size
    return lambda here, there: estimator.calc(here, there, None)


def _farneback(cv2: ModuleType) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda here, there: cv2.calcOpticalFlowFarneback(here, there, None, 0.5, 3, 15, 3, 5, 1.2, 0)
