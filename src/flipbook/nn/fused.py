"""A linear layer and the activation behind it in one pass over memory, where torch has a kernel for that."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_KERNEL: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


def linear_gelu(layer: nn.Linear, x: Tensor) -> Tensor:
    """gelu(layer(x)) in its tanh form: (..., D) to (..., D'). One kernel on CPUs where no gradient is wanted, else two."""
    plain = _KERNEL is None or x.device.type != "cpu" or x.dtype not in (torch.float32, torch.bfloat16) or torch.compiler.is_compiling()
    plain = plain or type(layer) is not nn.Linear                           # its own forward may add to the product
    if plain or (torch.is_grad_enabled() and (x.requires_grad or layer.weight.requires_grad)) or torch.is_autocast_enabled("cpu"):
        return F.gelu(layer(x), approximate="tanh")
    return _KERNEL(x, layer.weight, layer.bias, "gelu", [], "tanh")


class GELULayers(nn.Sequential):
    """Two linear layers with a GELU in its tanh form between, (..., D) to the same: what follows the attention of video transformers."""

    def __init__(self, dim: int, hidden: int):
        super().__init__(nn.Linear(dim, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        first: Any = self[0]
        out: Tensor = self[2](linear_gelu(first, x))
        return out
