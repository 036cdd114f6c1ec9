"""Learn which code comes next: the prior of a clip that was packed into codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.data.batch import Batch
from flipbook.data.seeds import derive_seed
from flipbook.long.codes import roll_codes
from flipbook.nn.doors import Doors
from flipbook.objectives.base import Losses
from flipbook.objectives.groups import Train, learn
from flipbook.systems.base import System


@dataclass(frozen=True, kw_only=True)
class CodesOptions:
    """train: parts that learn (`objectives/groups.py`).   drop_text: share of samples whose sentence becomes empty (arXiv:2207.12598)."""

    train: Train = ("denoiser", "text_encoder")
    drop_text: float = 0.1


class Codes:
    """-log p(code n | the codes before it, the sentence), mean over a clip's codes (arXiv:2104.10157, eq. 2). In nats; ln(num_codes) knows nothing."""

    def __init__(self, system: System, options: CodesOptions):
        if not hasattr(system.autoencoder, "codebook"):
            raise ValueError(f"the autoencoder of {system.name}, {type(system.autoencoder).__name__}, makes no codes. Try objective=denoising.")
        self.system, self.options = system, options
        self._trainable = learn(system.parts, options.train)

    def trainable(self) -> nn.Module:
        return self._trainable

    def loss(self, batch: Batch, seeds: Sequence[int], *, t: Tensor | None = None) -> Losses:
        with torch.no_grad():
            codes = self.system.autoencoder.codes(batch.video)              # (B, t, h, w)
            z = self.system.autoencoder.codebook.vectors_of(codes)
        chance = [torch.rand((), generator=torch.Generator().manual_seed(derive_seed(seed, "conditions"))).item() for seed in seeds]
        captions = ["" if u < self.options.drop_text else caption for u, caption in zip(chance, batch.captions, strict=True)]
        logits = self.system.denoiser(z, self._doors(captions)).float()    # (B, N, K)
        each = F.cross_entropy(logits.transpose(1, 2), codes.flatten(1), reduction="none")
        hit = (logits.argmax(-1) == codes.flatten(1)).float()
        return Losses(loss=each.mean(1), parts={"hit": hit.mean(1).detach()})

    def _doors(self, captions: Sequence[str]) -> Doors:
        if self.system.text_encoder is None:
            return Doors()
        tokens, mask = self.system.text_encoder.encode(list(captions))
        return Doors(tokens=tokens, token_mask=mask)

    @torch.no_grad()
    def samples(self, batch: Batch, prompts: Sequence[str], seed: int) -> Tensor | None:
        """A clip for each prompt in the shape of the validation clips."""
        system = self.system
        grid = tuple(system.autoencoder.codes(batch.video[:1]).shape[1:])
        book = system.autoencoder.codebook
        doors = system.denoiser.prepare(self._doors(prompts))
        codes = roll_codes(system.denoiser, book.vectors, grid, [derive_seed(seed, i) for i in range(len(prompts))], [(doors, 1.0)])
        return system.autoencoder.decode(book.vectors_of(codes)).float()

    def save(self, folder: Path) -> None:
        from flipbook.interop.folder import save_pretrained

        save_pretrained(self.system, folder)


def build(system: System, options: Mapping[str, Any]) -> Codes:
    """The objective over a system. Raises ValueError for an unknown option or part, or an autoencoder without codes."""
    known = {f.name for f in fields(CodesOptions)}
    if unknown := set(options) - known:
        raise ValueError(f"codes has no option {sorted(unknown)}. Try some of {', '.join(sorted(known))}.")
    return Codes(system, CodesOptions(**options))
