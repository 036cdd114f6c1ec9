"""Kernels of the library of a CPU, and weights in the order in which it multiplies them, beside the plain ones: for inference.

A convolution or a product turns a plain weight into that order at every call. Where pictures are small or rows are few, that takes up to as
long as the sum: `benchmarks/unets.py` shows what it comes to. `flipbook.sampling.inference_copy` gives the layers of a copy their blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

LIMIT = 2**28       # bytes of weights up to which a network may hold them twice

_OPS: Any = torch.ops.mkldnn
HAS_KERNELS = torch.backends.mkldnn.is_available() and all(
    hasattr(_OPS, name) for name in ("_convolution_pointwise", "_linear_pointwise", "_reorder_convolution_weight", "_reorder_linear_weight")
)


class Blocks:
    """What one weight becomes at its first call. A copy and a file begin without it."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[Tensor, int, Tensor]] = {}              # per operation: the weight, its version and its blocks

    def __deepcopy__(self, memo: Any) -> Blocks:
        return Blocks()

    def __reduce__(self) -> tuple[type[Blocks], tuple[()]]:
        return Blocks, ()

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, kernel: Tensor, stride: Sequence[int], padding: Sequence[int]) -> Tensor:
        """conv2d(x, kernel, bias) of pictures (N, C, H, W), channels last. kernel: a view of the layer's weight, (C', C, h, w)."""

        def turned() -> Tensor:
            plain = kernel.contiguous(memory_format=torch.channels_last)
            return _OPS._reorder_convolution_weight(plain, list(padding), list(stride), [1, 1], 1, list(x.shape))

        return _OPS._convolution_pointwise(x, self._kept("convolve", weight, turned), bias, list(padding), list(stride), [1, 1], 1, "none", [], "")

    def multiply(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, matrix: Tensor, then: str = "none", form: str = "") -> Tensor:
        """linear(x, matrix, bias) and what follows. matrix: a view of the layer's weight, (D', D)."""
        rows = x.numel() // max(1, x.shape[-1])
        blocks = self._kept("multiply", weight, lambda: _OPS._reorder_linear_weight(matrix.contiguous(), rows))
        return _OPS._linear_pointwise(x, blocks, bias, then, [], form)

    def _kept(self, name: str, weight: Tensor, turned: Callable[[], Tensor]) -> Tensor:
        version = 0 if weight.is_inference() else weight._version           # a weight that was changed since is turned again
        held = self._made.get(name)
        if held is None or held[0] is not weight or held[1] != version:
            held = self._made[name] = weight, version, turned()
        return held[2]


class BlockedLinear(nn.Linear):
    """A linear layer that may multiply by blocks."""

    def __init__(self, plain: nn.Linear):
        super().__init__(plain.in_features, plain.out_features, plain.bias is not None, device="meta")
        self.weight, self.bias, self.blocked = plain.weight, plain.bias, Blocks()
        self.train(plain.training)

    def forward(self, input: Tensor) -> Tensor:
        if input.shape[:-1].numel() > 1 and may_use_kernels(input, self.weight):
            return self.blocked.multiply(input, self.weight, self.bias, matrix=self.weight)
        return super().forward(input)


def may_use_kernels(x: Tensor, weight: Tensor) -> bool:
    """Whether the library's kernels do what a plain call would: on CPUs, in the weight's own dtype, without gradients."""
    if x.device.type != "cpu" or x.dtype != weight.dtype or x.dtype not in (torch.float32, torch.bfloat16) or not x.numel():
        return False
    return HAS_KERNELS and not (torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"))


def give_blocks(net: nn.Module) -> None:
    """Let the layers of a small network on a CPU keep blocks: its convolutions, and in bf16 its linear layers (in float32 these gain nothing)."""
    weights = list(net.parameters())
    if not HAS_KERNELS or sum(p.numel() * p.element_size() for p in weights) > LIMIT or any(p.device.type != "cpu" for p in weights):
        return
    module: Any
    for module in list(net.modules()):
        if hasattr(module, "blocked"):
            module.blocked = Blocks()
        for name, layer in module.named_children():
            if type(layer) is nn.Linear and layer.weight.dtype == torch.bfloat16 and not layer._forward_hooks and not layer._forward_pre_hooks:
                setattr(module, name, BlockedLinear(layer))
