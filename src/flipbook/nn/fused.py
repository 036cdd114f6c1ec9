"""A linear layer and what is done with its answer in one pass over memory, where torch has a kernel for that: on CPUs, without gradients.

The mode alone decides, not whose weights are frozen: a frozen model and a learning one answer with the same bits.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.blocks import BlockedLinear, may_use_kernels

_OPS: Any = torch.ops.mkldnn


def linear_gelu(layer: nn.Linear, x: Tensor) -> Tensor:
    """gelu(layer(x)) in its tanh form: (..., D) to (..., D')."""
    if isinstance(layer, BlockedLinear) and may_use_kernels(x, layer.weight):
        return layer.blocked.multiply(x, layer.weight, layer.bias, matrix=layer.weight, then="gelu", form="tanh")
    if _fits(layer, x):
        return _OPS._linear_pointwise(x, layer.weight, layer.bias, "gelu", [], "tanh")
    return F.gelu(layer(x), approximate="tanh")


def linear_geglu(layer: nn.Linear, x: Tensor) -> Tensor:
    """(..., D) to (..., D'), D' half of the layer's width: its first half times the GELU of the second, in the exact form (arXiv:2002.05202)."""
    if _fits(layer, x):
        (w_value, w_gate), (value, gate) = layer.weight.chunk(2), layer.bias.chunk(2)
        return _OPS._linear_pointwise.binary(x, _OPS._linear_pointwise(x, w_gate, gate, "gelu", [], "none"), w_value, value, "mul")
    values, gates = layer(x).chunk(2, dim=-1)
    return values * F.gelu(gates)


def _fits(layer: nn.Linear, x: Tensor) -> bool:
    """Whether the kernel does what the layer does: a layer of a class of its own may add to the product, an adapter for instance."""
    return type(layer) in (nn.Linear, BlockedLinear) and may_use_kernels(x, layer.weight)


class GELULayers(nn.Sequential):
    """Two linear layers with a GELU in its tanh form between, (..., D) to the same: what follows the attention of video transformers."""

    def __init__(self, dim: int, hidden: int):
        super().__init__(nn.Linear(dim, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        first: Any = self[0]
        out: Tensor = self[2](linear_gelu(first, x))
        return out
