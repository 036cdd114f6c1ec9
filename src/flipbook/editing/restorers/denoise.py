"""Noise out: over time along the motion, and in space by patches that resemble each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from flipbook.encoders.optical_flow import opencv, optical_flow
from flipbook.footage import noise_level
from flipbook.nn.warp import warp
from flipbook.video import Video

from .common import box_mean, shots_of, unit_frames, with_unit_frames

SMALLEST_NOISE = 0.5 / 255  # what 8 bits cannot hold is not removed
GATE = 0.05                 # a patch that differs by this after warping is another thing, in units of [0, 1]
PATCH = 5                   # pixels; the signed mean over it lets motion through and noise cancel
TRUST = 4.0                 # a correction by more standard deviations than this is not noise


def denoise(video: Video, *, cuts: Sequence[int] | None = None, strength: float = 0.7, noise: float | None = None) -> Video:
    """Average along the motion, forwards and backwards from frame to frame; a cut ends the average.

    y_t = x_t + strength * M * (warp(y_{t-1}) - x_t), with M = exp(-(d / 0.05)^2) and d the signed difference averaged over
    5 x 5 pixels and the colours, so that noise does not close the gate and motion does. What it changes is bounded by four
    standard deviations of the noise, so a clean clip stays as it is and a fine texture that flow missed is not smeared.

    strength: 0 changes nothing, towards 1 more frames are averaged.   noise: standard deviation in units of [0, 1]; None: measured.
    Raises ImportError without OpenCV.
    """
    if not 0 <= strength < 1:
        raise ValueError(f"strength={strength}: the share of the past in an average is in [0, 1). Try 0.7.")
    noise = noise_level(video.frames) if noise is None else noise
    if noise < SMALLEST_NOISE or strength == 0:
        return video
    x, parts = unit_frames(video), []
    for shot in shots_of(video, cuts):
        there = recursive_average(x[shot], video.frames[shot], strength, noise)
        back = recursive_average(x[shot].flip(0), video.frames[shot][::-1], strength, noise).flip(0)
        parts.append((there + back) / 2)
    return with_unit_frames(video, torch.cat(parts))


def recursive_average(x: Tensor, frames: np.ndarray, strength: float, noise: float) -> Tensor:
    """One direction. x: (T, 3, H, W) in [0, 1].   frames: the same as uint8 (T, H, W, 3), on which motion is found."""
    y = x.clone()
    for t in range(1, len(x)):
        came_from = optical_flow(smooth(frames[t], noise), smooth(frames[t - 1], noise))
        difference = warp(y[t - 1 : t], came_from) - x[t : t + 1]
        distance = box_mean(difference.mean(1, keepdim=True), PATCH)
        gate = torch.exp(-((distance / GATE) ** 2))
        y[t] = x[t] + strength * (gate * difference).clamp(-TRUST * noise, TRUST * noise)[0]
    return y


def smooth(frame: np.ndarray, noise: float) -> np.ndarray:
    """A frame on which flow follows things and not grain."""
    return opencv("denoise").GaussianBlur(frame, (0, 0), 0.5 + min(noise * 25, 1.5))


def denoise_spatial(video: Video, *, cuts: Sequence[int] | None = None, noise: float | None = None) -> Video:
    """Non-local means in every frame by itself (Buades et al. 2005, in OpenCV): where motion is too wild for `denoise`.

    noise: standard deviation in units of [0, 1]; None: measured. Cuts do not matter here. Raises ImportError without OpenCV.
    """
    cv2 = opencv("denoise-spatial")
    noise = noise_level(video.frames) if noise is None else noise
    if noise < SMALLEST_NOISE:
        return video
    width = 255 * noise
    frames = [cv2.fastNlMeansDenoisingColored(frame, None, width, width, 5, 13) for frame in video.frames]
    return replace(video, frames=np.stack(frames))
