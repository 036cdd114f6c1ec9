"""Learn to pack clips into codes and back: reconstruction, and the price of standing far from one's code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flipbook import parallel
from flipbook.data.batch import Batch
from flipbook.data.seeds import derive_seed
from flipbook.objectives.base import Losses
from flipbook.systems.base import System


@dataclass(frozen=True, kw_only=True)
class QuantisingOptions:
    """commitment: weight of the distance to the nearest code.

    variance: of pixels in [-1, 1], about; reconstruction errors are in its units. The paper's 0.06 is of pixels in [-0.5, 0.5].
    """

    commitment: float = 0.25
    variance: float = 0.24


class Quantising:
    """|x - x^|^2 / variance + commitment |z - sg(e)|^2 with straight-through codes (arXiv:2104.10157, eq. 1; 1711.00937, eq. 3).

    The decoder's gradient at a code goes to what the encoder said as it is. The codebook follows by moving averages, while gradients are
    wanted alone, the same in all processes: each follows what all of them saw. Logged: `perplexity` and the share of codes in `use`, of this
    batch, and `restarts`.
    """

    def __init__(self, system: System, options: QuantisingOptions):
        if not hasattr(system.autoencoder, "codebook"):
            raise ValueError(f"the autoencoder of {system.name}, {type(system.autoencoder).__name__}, has no codebook. Try objective=autoencoding.")
        self.system, self.options = system, options
        for name, part in system.parts.items():
            part.requires_grad_(name == "autoencoder")
        self._trainable = nn.ModuleDict({"autoencoder": system.autoencoder})

    def trainable(self) -> nn.Module:
        return self._trainable

    def loss(self, batch: Batch, seeds: Sequence[int], *, t: Tensor | None = None) -> Losses:
        autoencoder, codebook = self.system.autoencoder, self.system.autoencoder.codebook
        z = autoencoder.features(batch.video).float()                       # (B, D, t, h, w)
        learning = torch.is_grad_enabled()
        of_all = parallel.of_all if learning else lambda rows: rows
        seen, first = of_all(z), int(of_all(torch.tensor(seeds[:1], device=z.device))[0])
        chance = torch.Generator().manual_seed(derive_seed(first, "codebook"))
        if learning:
            codebook.start(seen, chance)
        codes = codebook.nearest(z)
        vectors = codebook.vectors_of(codes)
        out = autoencoder.frames(straight_through(z, vectors)).float()
        mse = (out - batch.video).square().mean((1, 2, 3, 4))
        far = (z - vectors).square().mean((1, 2, 3, 4))
        codes = of_all(codes)
        restarts = codebook.follow(seen, codes, chance) if learning else 0
        health = codebook.health(codes)
        parts = {
            "psnr": (10 * torch.log10(4.0 / mse)).detach(), "commitment": far.detach(), "perplexity": z.new_tensor(health.perplexity),
            "use": z.new_tensor(health.used / health.size), "restarts": z.new_tensor(restarts),
        }  # fmt: skip
        return Losses(loss=mse / self.options.variance + self.options.commitment * far, parts=parts)

    @torch.no_grad()
    def samples(self, batch: Batch, prompts: Sequence[str], seed: int) -> Tensor | None:
        """The validation clips and, after them, their reconstructions."""
        video = batch.video[:4]
        return torch.cat([video, self.system.autoencoder.decode(self.system.autoencoder.encode(video)).float()])

    def save(self, folder: Path) -> None:
        from flipbook.interop.folder import save_pretrained

        save_pretrained(self.system, folder)


def straight_through(z: Tensor, vectors: Tensor) -> Tensor:
    """The vectors, with the gradient of z."""
    return z + (vectors - z).detach()


def build(system: System, options: Mapping[str, Any]) -> Quantising:
    """The objective over a system. Raises ValueError for an unknown option, or an autoencoder without a codebook."""
    known = {f.name for f in fields(QuantisingOptions)}
    if unknown := set(options) - known:
        raise ValueError(f"quantising has no option {sorted(unknown)}. Try some of {', '.join(sorted(known))}.")
    return Quantising(system, QuantisingOptions(**options))
