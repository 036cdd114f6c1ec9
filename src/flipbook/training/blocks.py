"""The blocks of a network: what is repeated, is called as a whole, and holds nearly all of the weights and activations."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


def blocks_of(part: nn.Module) -> list[nn.Module]:
    """The outermost modules that stand in a list or sequence of `part`'s, have layers and weights, and are called.

    What only holds others (its class has no `forward`) is looked into; single layers are no blocks.
    """
    return list(_blocks(part, listed=False))


def _blocks(module: nn.Module, listed: bool) -> Iterator[nn.Module]:
    is_called = type(module).forward is not nn.Module.forward
    if listed and is_called:
        if any(True for _ in module.children()) and any(True for _ in module.parameters()):
            yield module
        return
    is_list = isinstance(module, (nn.ModuleList, nn.Sequential))
    for child in module.children():
        yield from _blocks(child, listed=is_list)


def recompute(part: nn.Module) -> int:
    """Gradient checkpointing (arXiv:1604.06174): a block keeps its input alone, and runs again when gradients reach it.

    Loss and gradients stay as they were, bit for bit; activations are in memory for one block at a time. Returns the number
    of blocks.
    """
    blocks = blocks_of(part)
    for block in blocks:
        plain: Any = block.forward
        block.forward = partial(checkpoint, plain, use_reentrant=False)
    return len(blocks)
