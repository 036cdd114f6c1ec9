"""Alpha mixer: how much of a layer's output is the image's and how much the clip's."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Form = Literal["clamp", "sigmoid"]


class AlphaMixer(nn.Module):
    """alpha * image + (1 - alpha) * clip with one learned number per layer.

    "clamp":   alpha = p limited to [0, 1], born at 1: exactly the image model (VideoLDM, arXiv:2304.08818, eq. 4). The gradient
               passes the limit unchanged; with the limit's own gradient a p that once left [0, 1] would never return.
    "sigmoid": alpha = sigmoid(p), born at p = 0.5 (Stable Video Diffusion, arXiv:2311.15127).
    """

    def __init__(self, form: Form):
        super().__init__()
        self.form = form
        self.p = nn.Parameter(torch.tensor([1.0 if form == "clamp" else 0.5]))

    @property
    def alpha(self) -> Tensor:
        """The weight of the image branch, (1,)."""
        if self.form == "sigmoid":
            return torch.sigmoid(self.p)
        return self.p + (self.p.clamp(0.0, 1.0) - self.p).detach()

    def forward(self, image: Tensor, clip: Tensor) -> Tensor:
        alpha = self.alpha.to(image.dtype)
        return alpha * image + (1 - alpha) * clip
