"""Noise-level matrices: rows are sampler steps, columns are frames, values are t.

A matrix is float64 (M + 1, T): step m moves frame f from row m to row m + 1 and leaves it alone if they are equal. No column
rises; a generated frame ends at 0 and a given frame is 0 in every row. Plain sampling, image-to-video, prediction,
interpolation, autoregressive chunks and pyramids differ in nothing but their matrix.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from flipbook.process.spacing import Spacing, uniform


def noise_levels(
    num_steps: int, num_frames: int, *, spacing: Spacing | Tensor = uniform, given: Iterable[int] = ()
) -> Tensor:
    """All frames together: every column walks the same levels, (num_steps + 1, num_frames).

    spacing: a function num_steps -> (num_steps + 1,) falling times, or those times themselves.
    given:   indices of frames that are known; their columns are 0. Raises ValueError if one lies outside the clip.
    """
    times = spacing if isinstance(spacing, Tensor) else spacing(num_steps)
    if times.shape != (num_steps + 1,):
        raise ValueError(f"spacing has shape {tuple(times.shape)}: {num_steps} steps need {num_steps + 1} times.")
    matrix = times.to(torch.float64)[:, None].repeat(1, num_frames)
    return with_given(matrix, given)


def with_given(matrix: Tensor, given: Iterable[int]) -> Tensor:
    """The matrix with the columns of given frames at 0, (M + 1, T). Raises ValueError for an index outside 0..T-1."""
    matrix, num_frames = matrix.clone(), matrix.shape[1]
    for frame in given:
        if not 0 <= frame < num_frames:
            raise ValueError(f"given frame {frame} is outside a clip of {num_frames} frames, counted from 0 to {num_frames - 1}.")
        matrix[:, frame] = 0.0
    return matrix
