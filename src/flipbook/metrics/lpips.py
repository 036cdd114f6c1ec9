"""LPIPS (arXiv:1801.03924): distance of deep features of two frames, weighed by what people found different.

Both public packages want torchvision and download its backbone. Here the backbone is a file that the user brings (a torchvision state dict
of AlexNet or VGG-16, keys `features.N.weight`) and the five small heads are another (keys `lin0.model.1.weight` to `lin4...`,
the files that the packages carry). The arithmetic is theirs, to 1e-4 and below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from flipbook.metrics.torchscript import load_state_dict
from flipbook.shapes import fold_frames

Backbone = Literal["alex", "vgg"]
Spec = tuple[int, ...]
TAP: Spec = ()
# Layers of torchvision's `features`: (out, kernel, stride, padding) of a convolution with its ReLU, (kernel, stride) of a pool, a tap.
LAYERS: dict[str, tuple[Spec, ...]] = {
    "alex": (
        (64, 11, 4, 2), TAP, (3, 2), (192, 5, 1, 2), TAP, (3, 2), (384, 3, 1, 1), TAP, (256, 3, 1, 1), TAP, (256, 3, 1, 1), TAP,
    ),
    "vgg": (
        (64, 3, 1, 1), (64, 3, 1, 1), TAP, (2, 2), (128, 3, 1, 1), (128, 3, 1, 1), TAP, (2, 2),
        (256, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1), TAP, (2, 2), (512, 3, 1, 1), (512, 3, 1, 1), (512, 3, 1, 1), TAP, (2, 2),
        (512, 3, 1, 1), (512, 3, 1, 1), (512, 3, 1, 1), TAP,
    ),
}  # fmt: skip
WIDTHS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}


class LPIPS(nn.Module):
    """Frames (N, 3, H, W) in [-1, 1], twice, to distances (N,)."""

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: Backbone = "alex"):
        super().__init__()
        if backbone not in LAYERS:
            raise ValueError(f"backbone {backbone!r} is not known. Try alex or vgg.")
        layers: list[nn.Module] = []
        self.taps: list[int] = []
        width = 3
        for spec in LAYERS[backbone]:
            if spec == TAP:
                self.taps.append(len(layers) - 1)
            elif len(spec) == 2:
                layers.append(nn.MaxPool2d(spec[0], spec[1]))
            else:
                out, kernel, stride, padding = spec
                layers += [nn.Conv2d(width, out, kernel, stride, padding), nn.ReLU()]
                width = out
        self.features = nn.Sequential(*layers)
        self.heads = nn.ParameterList(nn.Parameter(torch.ones(w)) for w in WIDTHS[backbone])
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1), persistent=False)

    @classmethod
    def from_files(cls, backbone: Backbone, weights: str | Path, heads: str | Path) -> LPIPS:
        """Read backbone and heads. Raises ValueError if a key is missing or a file holds more than tensors."""
        net = cls(backbone)
        given = {key.removeprefix("features."): v for key, v in load_state_dict(weights).items() if key.startswith("features.")}
        wanted = net.features.state_dict()
        if missing := [key for key in wanted if key not in given]:
            raise ValueError(f"{weights} lacks features.{missing[0]}: it is no state dict of torchvision's backbone for {backbone}.")
        net.features.load_state_dict({key: given[key] for key in wanted})
        rows = load_state_dict(heads)
        for i, head in enumerate(net.heads):
            key = f"lin{i}.model.1.weight"
            if key not in rows or rows[key].numel() != head.numel():
                raise ValueError(f"{heads} lacks {key} of {head.numel()} values: it holds no heads for {backbone}.")
            head.data.copy_(rows[key].flatten())
        return net.eval().requires_grad_(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:                           # (N, 3, H, W) twice
        total: Tensor | float = 0.0
        for a, b, head in zip(self.look(x), self.look(y), self.heads, strict=True):
            total = total + ((a - b).square() * head.view(-1, 1, 1)).sum(1).mean((1, 2))
        return torch.as_tensor(total)

    def look(self, x: Tensor) -> list[Tensor]:
        """Features at the five taps, of unit length over channels."""
        x = (x - self.shift) / self.scale
        seen = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.taps:
                seen.append(x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt())
        return seen


@torch.inference_mode()
def lpips_per_frame(net: LPIPS, reference: Tensor, output: Tensor) -> Tensor:
    """LPIPS of each frame, (B, T). Clips (B, 3, T, H, W) in [-1, 1]."""
    if reference.shape != output.shape or reference.ndim != 5:
        raise ValueError(f"clips of shapes {tuple(reference.shape)} and {tuple(output.shape)}: both are to be (B, 3, T, H, W), alike.")
    b, _, t, _, _ = reference.shape
    return net(fold_frames(reference), fold_frames(output)).view(b, t)
