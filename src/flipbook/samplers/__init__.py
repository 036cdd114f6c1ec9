"""Samplers: pure functions (denoise, x, path, matrix) -> x0, one per file. `SAMPLERS` maps their names to them."""

from collections.abc import Callable

from torch import Tensor

from flipbook.samplers.euler import sample_euler

SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "euler": sample_euler,
}

__all__ = ["SAMPLERS", "sample_euler"]
