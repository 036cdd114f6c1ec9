"""Optical flow of whole clips for the metrics: dense inverse search (arXiv:1603.03590) by OpenCV, both ways, and what stays in sight."""

from __future__ import annotations

import importlib
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flipbook.nn.warp import is_consistent
from flipbook.shapes import tensor_to_pixels

NAME = "opencv-dis-medium-finest-0"


def optical_flow(clip: Tensor) -> tuple[Tensor, Tensor]:
    """Of a clip (3, T, H, W) in [-1, 1]: fields (T - 1, 2, H, W) in pixels from each frame to the next, and from the next back.

    Raises ImportError without OpenCV, ValueError for a clip of one frame.
    """
    try:
        cv2: Any = importlib.import_module("cv2")
    except ImportError:
        raise ImportError("optical flow needs OpenCV, which is not installed. Try: pip install 'flipbook[data]'") from None
    if clip.ndim != 4 or clip.shape[1] < 2:
        raise ValueError(f"a clip of shape {tuple(clip.shape)} has no motion. Try (3, T, H, W) with two frames or more.")
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in tensor_to_pixels(clip)]
    height, width = grey[0].shape
    factor = max(1, -(-64 // min(height, width)))                                # below 64 pixels the search has no pyramid
    if factor > 1:
        grey = [cv2.resize(g, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC) for g in grey]
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)                                                     # at half size small objects are lost

    def field(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        found = search.calc(a, b, None) / factor
        return cv2.resize(found, (width, height), interpolation=cv2.INTER_AREA) if factor > 1 else found

    there = np.stack([field(a, b) for a, b in pairwise(grey)])
    back = np.stack([field(b, a) for a, b in pairwise(grey)])
    return tuple(torch.from_numpy(f.astype(np.float32)).movedim(-1, 1) for f in (there, back))      # type: ignore[return-value]


def visible_in_next(there: Tensor, back: Tensor) -> Tensor:
    """Pixels of each frame that are still seen in the next one: bool (T - 1, 1, H, W), by going there and back within a pixel."""
    return is_consistent(there, back)
