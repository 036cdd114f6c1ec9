"""Rolling a predictor of frames: over frames that are there, over its own, or over both by turns."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from flipbook.baselines.predictor import Memory, Predictor
from flipbook.encoders.optical_flow import search
from flipbook.long.rollout import roll
from flipbook.nn.warp import pixel_grid, warp
from flipbook.shapes import fold_frames, tensor_to_pixels, unfold_frames


def roll_frames(
    net: Predictor, frames: Tensor, count: int, *, motion: Tensor | None = None, own: Tensor | None = None, unroll: int = 1
) -> Tensor:
    """What the predictor says of frames 1 to count - 1: (B, C, count - 1, H, W).

    frames: (B, C, T, H, W), those that are there; frame 0 is shown to begin with.
    motion: (B, 2, count - 1, H, W), the fields x_1, x_2, ...; None: nobody knows them.
    own:    bool (B, count), the frames that are shown as the predictor said them and not as they are; None: all that are not there.
            All False is teacher forcing, a random choice is scheduled sampling (arXiv:1506.03099).
    unroll: a gradient flows back through so many own frames in a row and ends there.
    Raises ValueError for frames that are to be shown and are not there.
    """
    there = frames.shape[2]
    if own is None:
        own = (torch.arange(count, device=frames.device) >= there).expand(len(frames), -1)
    if there < 1 or not bool(own[:, there:count].all()):
        raise ValueError(f"{there} frames are there of {count}, and others are to be shown. Give those too, or let `own` say that they are predicted.")

    at_once = getattr(net, "at_once", None)
    if at_once is not None and there >= count - 1 and not bool(own.any()):
        said: Tensor = at_once(frames[:, :, : count - 1], motion)
        return said

    def step(n: int, before: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        return net.step(before, None if motion is None else motion[:, :, n], memory)

    def choose(n: int, said: Tensor) -> Tensor:
        shown = said.detach() if n % unroll == 0 else said
        if n + 1 >= there:
            return shown
        return torch.where(own[:, n + 1, None, None, None].to(said.device), shown, frames[:, :, n + 1])

    return torch.stack([said for said, _ in roll(step, choose, frames[:, :, 0], None, count - 1)], dim=2)


def carried(field: Tensor, count: int) -> Tensor:
    """The fields of the next `count` frames, (B, 2, count, H, W), if whatever moved goes on moving as in `field` (B, 2, H, W).

    After k frames the pixel at p stands at p - k field(p), its motion with it; where several arrive the fastest is seen, and where none
    does, what comes there by `field` itself.
    """
    fields = [_after(field, k) for k in range(1, count + 1)]
    return torch.stack(fields, dim=2) if fields else field[:, :, None][:, :, :0]


def _after(field: Tensor, k: int) -> Tensor:
    b, _, height, width = field.shape
    place = (pixel_grid(field) - k * field).round().long()                   # (B, 2, H, W): column and row
    inside = ((place >= 0) & (place < place.new_tensor([width, height]).view(1, 2, 1, 1))).all(1).flatten(1)
    target = (place[:, 1] * width + place[:, 0]).flatten(1).clamp(0, height * width - 1)       # (B, H W)
    speed = torch.where(inside, field.square().sum(1).flatten(1), -1.0)
    fastest = torch.full_like(speed, -1.0).scatter_reduce(1, target, speed, "amax")
    wins = inside & (speed == fastest.gather(1, target))
    hits = torch.zeros_like(speed).scatter_add(1, target, wins.to(speed))
    total = torch.zeros(b, 2, height * width).to(field).scatter_add(2, target[:, None].expand(-1, 2, -1), field.flatten(2) * wins[:, None])
    arrived = (total / hits.clamp(min=1.0)[:, None]).view_as(field)
    return torch.where((hits > 0).view(b, 1, height, width), arrived, warp(field, k * field))


def searched(video: Tensor) -> Tensor:
    """The fields from each frame back to the one before, (B, 2, T - 1, H, W) in pixels, of clips (B, 3, T, H, W) in [-1, 1], by a search.

    Raises ImportError without OpenCV.
    """
    back = [(t, t - 1) for t in range(1, video.shape[2])]
    return torch.stack([search(frames, back).movedim(0, 1) for frames in tensor_to_pixels(video)])


def on_grid(field: Tensor, stride: int) -> Tensor:
    """A field (B, 2, T, H, W) in pixels as one in cells of `stride` x `stride` pixels."""
    if stride == 1:
        return field
    return unfold_frames(F.avg_pool2d(fold_frames(field), stride) / stride, len(field))
