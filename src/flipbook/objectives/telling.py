"""A second task beside denoising: tell from a denoiser's features what is true of each place.

Representation alignment (arXiv:2410.06940) asks a denoiser's features for the features of a pretrained network; the world says what is
there itself, so no other network is needed. What a word such as "star" or "left" saves in the denoising loss is a hundredth of it; here it is
nearly everything, so words find their objects many times sooner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.data.labels import LABELS


class Teller(nn.Module):
    """Reads what a denoiser offers as its `features` and tells each map of `LABELS`, `side` x `side` labels to a place.

    It is no part of the system and is left behind after training.
    """

    def __init__(self, denoiser: Any, side: int):
        super().__init__()
        self.side = side
        dim = denoiser.features.dim
        self.heads = nn.ModuleDict({
            name: nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, side * side * classes)) for name, classes in LABELS.items()
        })
        denoiser.features.layer.register_forward_pre_hook(self._read)

    def _read(self, layer: nn.Module, inputs: tuple[Tensor]) -> None:
        self._tokens = inputs[0].flatten(2, -2)                                        # (B, T, S, D)

    def loss(self, maps: Sequence[Mapping[str, np.ndarray]]) -> Tensor:
        """Cross-entropy (B,) against maps (T, H/4, W/4), summed over those a sample has; 0 for a sample without any."""
        total = self._tokens.new_zeros(len(maps), dtype=torch.float32)
        for name in LABELS:
            known = [b for b, one in enumerate(maps) if name in one]
            if known:
                truth = torch.from_numpy(np.stack([maps[b][name] for b in known])).long().to(total.device)
                total = total.index_add(0, torch.tensor(known, device=total.device), self._error(name, self._tokens[known], truth))
        return total

    def _error(self, name: str, tokens: Tensor, truth: Tensor) -> Tensor:
        s, (frames, height, width) = self.side, truth.shape[1:]
        logits = self.heads[name](tokens).unflatten(-1, (-1, s, s)).float()                            # (K, T, S, classes, s, s)
        logits = logits.unflatten(2, (height // s, width // s)).permute(0, 4, 1, 2, 5, 3, 6)           # (K, classes, T, y, s, x, s)
        logits = logits.reshape(len(tokens), -1, frames, height, width)
        return F.cross_entropy(logits, truth, reduction="none").mean((1, 2, 3))
