"""Noise-level matrices: rows are sampler steps, columns are frames, values are t.

A matrix is float64 (M + 1, T). Step m moves frame f from row m to row m + 1 and leaves it alone if they are equal.
No column rises; a generated frame ends at 0, and a given frame is 0 in every row. Plain sampling, image-to-video,
prediction, interpolation, autoregressive chunks and pyramids differ in nothing but their matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from flipbook.process.spacing import Spacing, uniform


def noise_levels(
    num_steps: int, num_frames: int, *, spacing: Spacing | Tensor = uniform, given: Iterable[int] = ()
) -> Tensor:
    """All frames together: every generated column walks the same levels, (num_steps + 1, num_frames).

    spacing: a function num_steps -> (num_steps + 1,) falling times that end at 0, or those times.
    given:   indices of the frames that are known; their columns are 0.
    Raises ValueError for an index outside the clip or times that do not fall to 0.
    """
    times = _times(num_steps, spacing)
    return _with_given(times[:, None].repeat(1, num_frames), given)


def pyramid_levels(
    num_steps: int,
    num_frames: int,
    *,
    delay: float,
    chunk: int = 1,
    spacing: Spacing | Tensor = uniform,
    given: Iterable[int] = (),
) -> Tensor:
    """Later frames lag behind earlier ones: the pyramid of Diffusion Forcing, arXiv 2407.01392.

    delay: steps by which each chunk starts after the one before it. 0 denoises all together, num_steps finishes a
           chunk before the next one starts; between them lies the pyramid. May be fractional.
    chunk: number of generated frames that move together.
    given: known frames, 0 in every row; the delay counts generated frames only.

    Returns (num_steps + floor(delay * (num_chunks - 1)) + 1, num_frames). Raises ValueError for delay < 0, for
    delay > num_steps (steps would pass in which nothing moves), for chunk < 1 and as `noise_levels` does.
    """
    if not 0 <= delay <= num_steps:
        raise ValueError(f"delay={delay}: a chunk starts 0 to num_steps={num_steps} steps after the one before it.")
    if chunk < 1:
        raise ValueError(f"chunk={chunk}: at least one frame moves at a time. Try 1.")
    times, given = _times(num_steps, spacing), set(given)
    wanted = [frame for frame in range(num_frames) if frame not in given]
    starts = torch.zeros(num_frames, dtype=torch.long)
    for rank, frame in enumerate(wanted):
        starts[frame] = math.floor(delay * (rank // chunk))
    rows = torch.arange(num_steps + int(starts.max()) + 1)
    done = (rows[:, None] - starts).clamp(0, num_steps)  # (M + 1, T) steps already taken
    return _with_given(times[done], given)


def autoregressive_levels(
    num_steps: int,
    num_frames: int,
    *,
    chunk: int = 1,
    spacing: Spacing | Tensor = uniform,
    given: Iterable[int] = (),
) -> Tensor:
    """A staircase: each chunk of frames runs all its steps before the next; (num_chunks * num_steps + 1, T)."""
    return pyramid_levels(num_steps, num_frames, delay=num_steps, chunk=chunk, spacing=spacing, given=given)


def from_strength(matrix: Tensor, strength: float) -> Tensor:
    """The last int(M * strength) steps of a matrix, for an SDEdit start (arXiv 2108.01073).

    Start from x = alpha x0 + sigma eps at the first row that is left. strength 0 leaves one row: nothing is run;
    strength 1 leaves all. Raises ValueError outside [0, 1].
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength={strength}: 0 keeps the source, 1 ignores it. Try 0.6.")
    num_steps = matrix.shape[0] - 1
    return matrix[num_steps - int(num_steps * strength + 1e-9) :]  # 50 * 0.58 is 28.999...


def _times(num_steps: int, spacing: Spacing | Tensor) -> Tensor:
    times = spacing if isinstance(spacing, Tensor) else spacing(num_steps)
    if times.shape != (num_steps + 1,):
        raise ValueError(f"spacing has shape {tuple(times.shape)}: {num_steps} steps need {num_steps + 1} times.")
    times = times.to(torch.float64)
    if not (times[0] <= 1 and bool((times.diff() < 0).all()) and times[-1] == 0):
        raise ValueError(
            f"spacing runs {times[0]:.4g}, {times[1]:.4g}, ..., {times[-1]:.4g}: times fall strictly, from at most 1 "
            "to exactly 0. Fewer steps help if a table of levels is used up."
        )
    return times


def _with_given(matrix: Tensor, given: Iterable[int]) -> Tensor:
    num_frames = matrix.shape[1]
    for frame in given:
        if not 0 <= frame < num_frames:
            raise ValueError(f"given frame {frame} is outside the clip: its {num_frames} frames count from 0.")
        matrix[:, frame] = 0.0
    return matrix
