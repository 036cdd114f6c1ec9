"""A small training batch for the tests of objectives."""

import torch

from flipbook.data.batch import Batch


def batch(n=4, frames=3):
    """n clips of uniform noise, 16 x 16 pixels, with captions of different lengths."""
    g = torch.Generator().manual_seed(0)
    return Batch(
        video=torch.rand(n, 3, frames, 16, 16, generator=g) * 2 - 1,
        captions=["a red circle falls", "a blue square", "", "a white star spins"][:n],
        frame_index=torch.arange(float(frames)).expand(n, frames),
        fps=torch.full((n,), 8.0), index=list(range(n)), source=["test"] * n,
    )
