"""Learn the text prior: from a sentence to the embedding that the system's own image encoder gives one frame of the clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flipbook.data.batch import Batch
from flipbook.data.seeds import derive_seed
from flipbook.objectives.base import Losses
from flipbook.objectives.denoising import even_shares
from flipbook.objectives.groups import learn
from flipbook.systems.base import System


@dataclass(frozen=True, kw_only=True)
class PriorOptions:
    """drop_text: share of samples whose sentence becomes empty."""

    drop_text: float = 0.1


class Prior:
    """E over t and eps of |prior(noisy embedding, t, sentence) - embedding|^2 (DALL-E 2, arXiv:2204.06125, section 2.2)."""

    def __init__(self, system: System, options: PriorOptions):
        self.system, self.options = system, options
        self._trainable = learn(system.parts, ("text_encoder",))

    def trainable(self) -> nn.Module:
        return self._trainable

    def loss(self, batch: Batch, seeds: Sequence[int], *, t: Tensor | None = None) -> Losses:
        chances = [torch.Generator().manual_seed(derive_seed(seed, "conditions")) for seed in seeds]
        frames = [int(torch.randint(batch.video.shape[2], (), generator=chance)) for chance in chances]
        texts = ["" if torch.rand((), generator=chance) < self.options.drop_text else text for chance, text in zip(chances, batch.captions, strict=True)]
        with torch.no_grad():
            pictures = torch.stack([clip[:, frame] for clip, frame in zip(batch.video, frames, strict=True)])
            embedding = self.system.image_encoder.encode(pictures)[:, 0].float()              # (B, D)
        t = even_shares(batch.index, seeds) if t is None else t
        eps = torch.stack([torch.randn(embedding.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]).to(embedding)
        return Losses(loss=self.system.text_encoder.loss(embedding, texts, t.to(embedding), eps), t=t.to(embedding.device))

    def samples(self, batch: Batch, prompts: Sequence[str], seed: int) -> Tensor | None:
        return None

    def save(self, folder: Path) -> None:
        from flipbook.interop.folder import save_pretrained

        save_pretrained(self.system, folder)


def build(system: System, options: Mapping[str, Any]) -> Prior:
    """The objective over a system. Raises ValueError for an unknown option, or a system without a text prior."""
    if unknown := set(options) - {f.name for f in fields(PriorOptions)}:
        raise ValueError(f"prior has no option {sorted(unknown)}. Try drop_text.")
    if "image_encoder" not in system.parts or not hasattr(system.text_encoder, "loss"):
        raise ValueError(f"system {system.name!r} has no text prior and image encoder to learn it from. Try system=make-a-video.")
    return Prior(system, PriorOptions(**options))
