"""An adversary of reconstructions: a discriminator learns to tell true clips from decoded ones, and the decoder to be taken for true.

Both learn by the hinge loss (arXiv:1705.02894), in turns, so that one optimiser serves both: from update `start` on the first update is the
discriminator's, the next one the decoder's, and so on. Who waits has no gradient in any process, so that neither momentum nor weight decay moves it.

The discriminator lives in the training's checkpoints. A model folder holds the autoencoder alone: a training that starts from one starts with a
fresh discriminator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.patch_discriminator import PatchDiscriminator
from flipbook.objectives.base import Losses
from flipbook.shapes import unfold_frames

Turn = Literal["reconstruction", "discriminator", "decoder"]


@dataclass(frozen=True, kw_only=True)
class AdversaryOptions:
    """weight: how long the adversary's gradient at a decoded clip is, in lengths of the reconstruction's.

    start: so many updates come before it, all of them for reconstruction alone.   dim, levels: of `PatchDiscriminator`.
    """

    weight: float = 0.5
    start: int = 0
    dim: int = 64
    levels: int = 3

    def __post_init__(self) -> None:
        if self.weight <= 0 or self.start < 0:
            raise ValueError(f"adversary.weight={self.weight}, adversary.start={self.start}: try weight=0.5, start=0, or no adversary.")


def adversary_options(asked: Any) -> AdversaryOptions | None:
    """The option `adversary` of a recipe: a mapping, None for none, or what this returned.

    Raises ValueError for anything else, and for keys that are not known.
    """
    if asked is None or isinstance(asked, AdversaryOptions):
        return asked
    known = [f.name for f in fields(AdversaryOptions)]
    if not isinstance(asked, Mapping):
        raise ValueError(f"adversary={asked!r}: its options are a mapping. Try adversary: {{weight: 0.5, start: 1000}}.")
    if unknown := set(asked) - set(known):
        raise ValueError(f"adversary has no option {sorted(unknown)}. Try some of {', '.join(known)}.")
    return AdversaryOptions(**asked)


def adversary_in(trainable: nn.ModuleDict, options: AdversaryOptions | None) -> Adversary | None:
    """A fresh adversary among the parts that learn, if one is asked for."""
    if options is None:
        return None
    trainable["adversary"] = adversary = Adversary(options)
    return adversary


class Adversary(nn.Module):
    """Whose turn it is, the discriminator's loss, and what the decoder learns of it."""

    def __init__(self, options: AdversaryOptions):
        super().__init__()
        self.options = options
        self.discriminator = PatchDiscriminator(options.dim, options.levels)
        self._step = 0

    def begin(self, step: int) -> None:
        """The update that comes: whose turn it is depends on its number alone."""
        self._step = step

    def turn(self, clips: Tensor) -> Turn:
        """Who learns from clips (B, 3, T, H, W); reconstruction alone where no gradient is asked for, as in validation.

        Raises ValueError for clips that the discriminator cannot judge, before its start too.
        """
        self.discriminator.check(*clips.shape[3:])
        after = self._step - self.options.start
        if after < 0 or not torch.is_grad_enabled():
            return "reconstruction"
        return "decoder" if after % 2 else "discriminator"

    def loss(self, clips: Tensor, decoded: Tensor) -> Losses:
        """The discriminator's: max(0, 1 - D(true)) + max(0, 1 + D(decoded)), means over patches, (B,). `told`: the share of patches it is right about.

        decoded: as in `pull`, without gradient.
        """
        both = torch.cat([clips, _as_clips(decoded.detach(), len(clips))])
        true, made = self.discriminator(both).float().flatten(1).chunk(2)                      # (B, patches) each
        loss = F.relu(1 - true).mean(1) + F.relu(1 + made).mean(1)
        told = 0.5 * ((true > 0).float().mean(1) + (made < 0).float().mean(1))
        return Losses(loss=loss, parts={"discriminator": loss.detach(), "told": told})

    def pull(self, decoded: Tensor, reconstruction: Tensor) -> Tensor:
        """The decoder's term, -D(decoded) at its scale: (B,), 0 with a gradient, so that the loss it is added to keeps its value.

        decoded: clips (B, 3, T, H, W), or their frames one behind another, (B T, 3, H, W).   reconstruction: (B,), the loss computed from them.

        At each decoded clip its gradient is `weight` times as long as that of the reconstruction. VQGAN measures both lengths at the decoder's last
        layer, over the batch (arXiv:2012.09841, eq. 7). Here they are measured at what is decoded: no layer there has to learn, as the last one of an
        image decoder does not where only layers over time do, and a clip's scale depends on that clip alone.
        """
        b = len(reconstruction)
        (wanted,) = torch.autograd.grad(reconstruction.sum(), decoded, retain_graph=True)
        shown = decoded.detach().requires_grad_(True)
        logits = self.discriminator(_as_clips(shown, b)).float().flatten(1).mean(1)            # (B,)
        (truer,) = torch.autograd.grad(logits.sum(), shown)                 # none for the discriminator's weights: they wait
        length = self.options.weight * wanted.reshape(b, -1).norm(dim=1, keepdim=True)
        direction = F.normalize(truer.reshape(b, -1), eps=1e-12)
        return -((decoded - decoded.detach()).reshape(b, -1) * length * direction).sum(1)


def _as_clips(decoded: Tensor, b: int) -> Tensor:
    return unfold_frames(decoded, b) if decoded.ndim == 4 else decoded
