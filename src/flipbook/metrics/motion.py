"""How much moves, and whether it moves as it should: motion, dynamic degree, warping error. Each takes its optical flow as given."""

from __future__ import annotations

import torch
from torch import Tensor

from flipbook.nn.warp import warp


def motion_per_second(there: Tensor, fps: float) -> float:
    """Mean length of the optical flow, in short sides per second: a clip that is resized or slowed keeps its meaning.

    there: fields (T - 1, 2, H, W). Lengths are averaged and not components, so that motion to and fro does not cancel.
    """
    return float(there.norm(dim=1).mean() / min(there.shape[-2:]) * fps)


def dynamic_degree(there: Tensor) -> bool:
    """Whether a clip moves, as VBench decides (arXiv:2311.17982): in at least a quarter of its pairs of frames, taken at 8 fps, the
    fastest twentieth of the pixels moves more than 6 pixels at a short side of 256.
    """
    pairs, _, height, width = there.shape
    lengths = there.norm(dim=1).flatten(1)                                       # (pairs, H W)
    fast = lengths.topk(max(1, int(0.05 * lengths.shape[1])), dim=1).values.mean(1)
    moving = int((fast > 6 * min(height, width) / 256).sum())
    return moving >= max(1, round(4 * pairs / 16))


def warping_error(output: Tensor, there: Tensor, visible: Tensor) -> float:
    """Mean squared change along the motion, on values in [0, 1] (Lai et al., arXiv:1808.00449): 0 for a clip that only moves.

    output: clip (C, T, H, W) in [-1, 1].   there, visible: optical flow (T - 1, 2, H, W) of the *source* clip, from each frame to the
    next, and bool (T - 1, 1, H, W), the pixels that stay in sight. Flow of the output itself would reward blur.
    Blur and freeze lower this number: never report it without sharpness and motion.
    Raises ValueError if nothing stays in sight, or shapes do not belong together.
    """
    frames = (output.movedim(1, 0) + 1) / 2                                      # (T, C, H, W)
    if there.shape != (len(frames) - 1, 2, *frames.shape[2:]) or visible.shape != (len(frames) - 1, 1, *frames.shape[2:]):
        raise ValueError(
            f"a clip {tuple(output.shape)} with fields {tuple(there.shape)} and masks {tuple(visible.shape)}: fields and masks have one "
            "frame less than the clip, and its size."
        )
    if not visible.flatten(1).any(1).all():
        raise ValueError("no pixel stays in sight between two frames, perhaps at a cut. Measure each shot by itself.")
    change = (warp(frames[1:], there) - frames[:-1]).square().mean(1, keepdim=True)      # (T - 1, 1, H, W)
    errors = (change * visible).sum((1, 2, 3)) / visible.sum((1, 2, 3))
    return float(torch.mean(errors))


def sharpness(clip: Tensor) -> float:
    """Mean squared Laplacian of the brightness in [0, 1]: what blur takes away and noise adds. Clip (3, T, H, W) in [-1, 1]."""
    grey = (clip.mean(0) + 1) / 2                                                # (T, H, W)
    inner = grey[:, 1:-1, 1:-1]
    laplacian = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:] - 4 * inner
    return float(laplacian.square().mean())
