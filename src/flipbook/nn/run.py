"""How a network runs its blocks: plainly, compiled, or through whatever it is handed, such as a step cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

Run = Callable[..., Tensor]


def run_plain(block: Callable[..., Tensor], x: Tensor, *told: Any) -> Tensor:
    """block(x, *told)."""
    return block(x, *told)


def compile_each(blocks: Iterable[nn.Module]) -> None:
    """Compile blocks one by one, in place: one compilation serves all of a kind.

    Lengths of text, batches and modes are compiled as they come; torch's own limit of eight would end in eager code.
    """
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, 64)
    for block in blocks:
        block.compile(dynamic=False)
