"""A clip of the world: its frames, its sentence, the scene behind them, and every truth, computed when first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Clip:
    """frames: uint8 (T, H, W, 3).   fps: frames per second.   scene: everything that was decided, ready for JSON.

    frame_index: which frames of the clip's whole timeline of `num_frames` these are.
    """

    frames: np.ndarray
    caption: str
    fps: float
    scene: Mapping[str, Any]
    num_frames: int
    frame_index: tuple[int, ...]

    @property
    def video(self) -> np.ndarray:
        """The frames, uint8 (T, H, W, 3)."""
        return self.frames

    def compute_truth(self) -> None:
        """Compute every truth this clip has now."""
