"""More frames: each pixel goes along its motion, and what only one neighbour sees comes from that one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from flipbook.encoders.optical_flow import optical_flow
from flipbook.nn.warp import is_consistent, pixel_grid, warp
from flipbook.shapes import pixels_to_tensor, tensor_to_pixels
from flipbook.video import Video

from .common import box_mean, shots_of

HIDDEN = 0.01  # weight of a pixel that the other frame does not confirm, against 1 for one that it does


def interpolate(video: Video, *, cuts: Sequence[int] | None = None, factor: int = 2) -> Video:
    """`factor` frames for one: (T - 1) * factor + 1 frames at factor times the rate. Sound and recipe stay.

    The frames that were there come back bit for bit. Between two shots the nearer frame is repeated: nothing in between exists.
    Raises ImportError without OpenCV.
    """
    if factor < 1:
        raise ValueError(f"factor={factor}: frames for each one that is there, 1 changes nothing. Try 2.")
    if factor == 1 or len(video) == 1:
        return video
    starts = {shot.start for shot in shots_of(video, cuts)}
    frames = [video.frames[0]]
    for k in range(1, len(video)):
        before, after = video.frames[k - 1], video.frames[k]
        if k in starts:
            frames += [before if 2 * i < factor else after for i in range(1, factor)]
        else:
            fields = optical_flow(before, after), optical_flow(after, before)
            frames += between(before, after, *fields, [i / factor for i in range(1, factor)])
        frames.append(after)
    fps, times = clock(video, factor)
    return replace(video, frames=np.stack(frames), fps=fps, times=times)


def cuts_after(cuts: Sequence[int], factor: int) -> list[int]:
    """Where the cuts of a video stand once it is interpolated."""
    return [(cut - 1) * factor + (factor + 1) // 2 for cut in cuts]


def between(
    before: np.ndarray, after: np.ndarray, forward: Tensor, backward: Tensor, moments: Sequence[float]
) -> list[np.ndarray]:
    """The frames at moments in (0, 1) between two frames, uint8 (H, W, 3) each.

    forward, backward: (1, 2, H, W) from the first to the second frame and from the second to the first.
    """
    seen_before = soft(is_consistent(forward, backward))                             # 1 where frame 1 shows it too
    seen_after = soft(is_consistent(backward, forward))
    x0, x1 = (pixels_to_tensor(frame[None])[:, 0][None] for frame in (before, after))  # (1, 3, H, W)
    frames = []
    for t in moments:
        to_0, hole_0 = project(forward, t, seen_before)                              # fields on the grid of moment t
        to_1, hole_1 = project(backward, 1 - t, seen_after)
        # u + t f is where a pixel of frame 0 passes; there, frame 0 lies at -t f and frame 1 at (1 - t) f.
        from_0, from_1 = warp(x0, -t * to_0), warp(x1, -(1 - t) * to_1)
        weight_0 = (1 - t) * (HIDDEN + (1 - hole_0))
        weight_1 = t * (HIDDEN + (1 - hole_1))
        frame = (weight_0 * from_0 + weight_1 * from_1) / (weight_0 + weight_1)
        frames.append(tensor_to_pixels(frame[0][:, None])[0])
    return frames


def soft(mask: Tensor) -> Tensor:
    return box_mean(mask.float(), 3)


def project(field: Tensor, t: float, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Carry a field (1, 2, H, W) along itself to moment t, each pixel splatted to the four around its place.

    Where several arrive the faster one wins, for what moves against its surroundings is mostly nearer. Places that nothing
    reaches, or only what the other frame does not confirm, are filled from around them and marked.
    Returns the field on the grid of moment t and a mask (1, 1, H, W), 1 where it is filled in.
    """
    _, _, height, width = field.shape
    places = (pixel_grid(field) + t * field)[0].flatten(1)                           # (2, H W)
    relative = field - field.flatten(2).median(2).values[:, :, None, None]           # a pan makes nothing nearer
    priority = torch.exp(relative.norm(dim=1).clamp_max(8.0)).flatten() * (0.05 + seen.flatten())
    corner = places.floor()
    part = places - corner
    total = torch.zeros(3, height * width)
    values = torch.cat([field[0].flatten(1), torch.ones(1, height * width)])         # dx, dy, 1
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = corner[0] + dx, corner[1] + dy
            share = (part[0] if dx else 1 - part[0]) * (part[1] if dy else 1 - part[1])
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long()
            total.index_add_(1, index, values * (share * priority * inside))
    weight = total[2].view(1, 1, height, width)
    carried = total[:2].view(1, 2, height, width)
    hole = (weight < 0.02).float()
    filled, mass = carried, weight
    for _ in range(max(height, width)):                                              # grow inwards, a ring a turn
        if not (mass < 0.02).any():
            break
        grown, grown_mass = 9 * box_mean(filled, 3), 9 * box_mean(mass, 3)
        empty = mass < 0.02
        filled, mass = torch.where(empty, grown, filled), torch.where(empty, grown_mass, mass)
    return filled / mass.clamp_min(1e-6), hole


def clock(video: Video, factor: int) -> tuple[float, np.ndarray | None]:
    """Rate, and times where the rate varies, of the interpolated video."""
    if video.times is None:
        return video.fps * factor, None
    old = np.arange(len(video)) * factor
    times = np.interp(np.arange(old[-1] + 1), old, video.times)
    last = (video.seconds - video.times[-1]) / factor                                # how long the last frame stays
    return len(times) / float(times[-1] + last), times
