"""Optical flow without a network: dense inverse search (arXiv:1603.03590) as OpenCV has it (extra `data`)."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import torch
from torch import Tensor

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
    cv2 = opencv("optical flow")
    height, width = here.shape[:2]
    factor = max(1, -(-SMALLEST // min(height, width)))
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (here, there)]
    if factor > 1:
        grey = [cv2.resize(g, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC) for g in grey]
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)                                                         # small objects are lost at half size
    field = search.calc(grey[0], grey[1], None) / factor
    if factor > 1:
        field = cv2.resize(field, (width, height), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(np.ascontiguousarray(field, np.float32)).movedim(-1, 0)[None]
