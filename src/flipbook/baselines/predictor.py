"""What predicts the next frame from those before it, and the baseline that any of them should beat.

A predictor takes one step: it is shown frame t - 1, the field x_t that says where the pixels of frame t come from, and what it remembers
of the frames before; it says frame t. `long/frames.py` rolls any of them, in training and after it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flipbook.nn.doors import Doors
from flipbook.nn.warp import warp

Memory = Any


class Predictor(nn.Module):
    """The face of all predictors. `config.motion` says whether the field is read, `config.in_channels` how many channels a frame has."""

    config: Any

    def prepare(self, doors: Doors) -> Doors:
        """Nothing enters by a door."""
        return doors

    def step(self, frame: Tensor, motion: Tensor | None, memory: Memory) -> tuple[Tensor, Memory]:
        """frame: y_{t-1}, (B, C, H, W).   motion: x_t, (B, 2, H, W), in cells of that grid; None: nobody knows.   memory: None before frame 0.

        Returns y_t and what to remember: a fixed amount, however long the clip.
        """
        raise NotImplementedError

    def seen(self, frame: Tensor, motion: Tensor | None) -> Tensor:
        """The frame and, where it is read, the field beside it; zeros where nobody knows it."""
        if not self.config.motion:
            return frame
        return torch.cat([frame, torch.zeros_like(frame[:, :2]) if motion is None else motion.to(frame)], dim=1)


class MotionCompensation(Predictor):
    """The frame before, moved: y_t(u) = y_{t-1}(u + x_t(u)). Without a field it is the frame before as it is."""

    def step(self, frame: Tensor, motion: Tensor | None, memory: Memory) -> tuple[Tensor, Memory]:
        return (frame if motion is None else warp(frame, motion.to(frame))), None
