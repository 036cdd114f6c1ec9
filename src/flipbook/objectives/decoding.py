"""Teach a decoder over frames: the encoder and the image decoder keep their bits, the layers between them learn to stop the flicker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flipbook.data.batch import Batch
from flipbook.objectives.adversary import AdversaryOptions, adversary_in, adversary_options
from flipbook.objectives.base import Losses
from flipbook.objectives.groups import Train, learn
from flipbook.systems.base import System


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """train: groups of the autoencoder that learn.   change: weight of the error of differences between neighbouring frames.

    adversary: what judges decoded clips, a mapping of `AdversaryOptions`; None: nobody.
    """

    train: Train
    change: float = 1.0
    adversary: AdversaryOptions | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "adversary", adversary_options(self.adversary))


class Decoding:
    """|x - x^|_1 + change |dx - dx^|_1 over frames, and an adversary where one is asked for (VideoLDM, arXiv:2304.08818, section 3.1.1)."""

    def __init__(self, system: System, options: DecodingOptions):
        self.system, self.options = system, options
        self._trainable = learn(system.parts, options.train)
        self.adversary = adversary_in(self._trainable, options.adversary)

    def trainable(self) -> nn.Module:
        return self._trainable

    def begin(self, step: int) -> None:
        """The update that comes, for an adversary."""
        if self.adversary:
            self.adversary.begin(step)

    def loss(self, batch: Batch, seeds: Sequence[int], *, t: Tensor | None = None) -> Losses:
        turn = self.adversary.turn(batch.video) if self.adversary else "reconstruction"
        with torch.no_grad():
            z = self.system.autoencoder.encode(batch.video)
        if self.adversary and turn == "discriminator":
            with torch.no_grad():
                out = self.system.autoencoder.decode(z).float()
            return self.adversary.loss(batch.video, out)
        out = self.system.autoencoder.decode(z).float()
        loss = pixels = (out - batch.video).abs().mean((1, 2, 3, 4))
        if batch.video.shape[2] > 1:
            loss = pixels + self.options.change * (out.diff(dim=2) - batch.video.diff(dim=2)).abs().mean((1, 2, 3, 4))
        if self.adversary and turn == "decoder":
            loss = loss + self.adversary.pull(out, loss)
        return Losses(loss=loss, parts={"pixels": pixels.detach()})

    @torch.no_grad()
    def samples(self, batch: Batch, prompts: Sequence[str], seed: int) -> Tensor | None:
        """The validation clips and, after them, their reconstructions."""
        video = batch.video[:4]
        return torch.cat([video, self.system.autoencoder.decode(self.system.autoencoder.encode(video)).float()])

    def save(self, folder: Path) -> None:
        from flipbook.interop.folder import save_pretrained

        save_pretrained(self.system, folder)


def build(system: System, options: Mapping[str, Any]) -> Decoding:
    """The objective over a system. Raises ValueError for an unknown option, of the adversary too, or a decoder that sees frames one by one."""
    if unknown := set(options) - {f.name for f in fields(DecodingOptions)}:
        raise ValueError(f"decoding has no option {sorted(unknown)}. Try some of {', '.join(f.name for f in fields(DecodingOptions))}.")
    if not hasattr(system.autoencoder, "temporal_parameters"):
        raise ValueError(f"{type(system.autoencoder).__name__} decodes frames one by one. Try a system with a temporal decoder, such as videoldm.")
    return Decoding(system, DecodingOptions(**{"train": {"autoencoder": "temporal"}, **options}))
