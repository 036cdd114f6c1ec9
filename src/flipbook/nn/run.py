"""How a network runs its blocks: plainly, or through whatever it is handed, such as a step cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

Run = Callable[..., Tensor]


def run_plain(block: Callable[..., Tensor], x: Tensor, *told: Any) -> Tensor:
    """block(x, *told)."""
    return block(x, *told)
