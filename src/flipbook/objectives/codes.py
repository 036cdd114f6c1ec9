"""Learn which code comes next: the prior of a clip that was packed into codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.conditions import FIRST_FRAMES, Frames, Request, Size
from flipbook.data.batch import Batch
from flipbook.data.seeds import derive_seed
from flipbook.long.codes import roll_codes
from flipbook.nn.doors import Doors
from flipbook.objectives.base import Losses
from flipbook.objectives.conditioned import SILENCE
from flipbook.objectives.entering import entered, said
from flipbook.objectives.groups import Train, learn
from flipbook.shapes import tensor_to_pixels
from flipbook.systems.base import System


@dataclass(frozen=True, kw_only=True)
class CodesOptions:
    """train: parts that learn (`objectives/groups.py`); None: all but the autoencoder.

    drop_text: share of samples whose sentence becomes empty, or whose class none (arXiv:2207.12598).
    given: first frames that the network is shown, but for a tenth of the samples, which are shown none.
    """

    train: Train | None = None
    drop_text: float = 0.1
    given: int = 0


class Codes:
    """-log p(code n | the codes before it, what the clip is told), mean over a clip's codes (arXiv:2104.10157, eq. 2). In nats; ln(num_codes) knows nothing."""

    def __init__(self, system: System, options: CodesOptions):
        if not hasattr(system.autoencoder, "codebook"):
            raise ValueError(f"the autoencoder of {system.name}, {type(system.autoencoder).__name__}, makes no codes. Try objective=denoising.")
        if options.given and FIRST_FRAMES not in system.conditions:
            raise ValueError(f"given={options.given}: {system.name} reads no first frames. Try given=0, or a system with an encoder for them.")
        self.system, self.options = system, options
        self._trainable = learn(system.parts, options.train or tuple(name for name in system.parts if name != "autoencoder"))

    def trainable(self) -> nn.Module:
        return self._trainable

    def loss(self, batch: Batch, seeds: Sequence[int], *, t: Tensor | None = None) -> Losses:
        with torch.no_grad():
            codes = self.system.autoencoder.codes(batch.video)              # (B, t, h, w)
            z = self.system.autoencoder.codebook.vectors_of(codes)
        chance = [torch.rand(2, generator=torch.Generator().manual_seed(derive_seed(seed, "conditions"))).tolist() for seed in seeds]
        captions = ["" if u < self.options.drop_text else caption for (u, _), caption in zip(chance, batch.captions, strict=True)]
        shown = [bool(self.options.given) and u >= SILENCE for _, u in chance]
        logits = self.system.denoiser(z, self._doors(batch, captions, shown, seeds)).float()        # (B, N, K)
        each = F.cross_entropy(logits.transpose(1, 2), codes.flatten(1), reduction="none")
        hit = (logits.argmax(-1) == codes.flatten(1)).float()
        return Losses(loss=each.mean(1), parts={"hit": hit.mean(1).detach()})

    def _doors(self, batch: Batch, captions: Sequence[str], shown: Sequence[bool], seeds: Sequence[int]) -> Doors:
        """By the system's condition recipe. shown: clips whose first frames are given; as many as captions, if there are fewer clips from the first again."""
        system, count = self.system, len(captions)
        pixels: Any = tensor_to_pixels(batch.video[:, :, : self.options.given]) if any(shown) else ()
        requests: list[Request] = [
            (said(system, caption), *((Frames(dict(enumerate(pixels[n % len(pixels)]))),) if shown[n] else ())) for n, caption in enumerate(captions)
        ]
        _, _, frames, height, width = batch.video.shape
        size, device = Size(num_frames=frames, fps=float(batch.fps[0]), height=height, width=width), batch.video.device
        return entered(system, requests, size, (0, 0, 0, 0), seeds, [size.fps] * count, [False] * count, device).doors

    @torch.no_grad()
    def samples(self, batch: Batch, prompts: Sequence[str], seed: int) -> Tensor | None:
        """A clip for each prompt in the shape of the validation clips, going on from their first frames if they are given."""
        system = self.system
        grid = tuple(system.autoencoder.codes(batch.video[:1]).shape[1:])
        book = system.autoencoder.codebook
        seeds = [derive_seed(seed, i) for i in range(len(prompts))]
        doors = system.denoiser.prepare(self._doors(batch, prompts, [bool(self.options.given)] * len(prompts), seeds))
        codes = roll_codes(system.denoiser, book.vectors, grid, seeds, [(doors, 1.0)])
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
