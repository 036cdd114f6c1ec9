"""Learn to pack frames into latents and back: reconstruction plus a small Kullback-Leibler price per latent number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flipbook.data.batch import Batch
from flipbook.objectives.base import Losses
from flipbook.shapes import fold_frames, unfold_frames
from flipbook.systems.base import System


@dataclass(frozen=True, kw_only=True)
class AutoencodingOptions:
    """kl: price in loss units of one nat per latent number.   edges: weight of the error of differences between neighbours.

    statistics: how fast the latent normaliser follows the measured mean and standard deviation.
    """

    kl: float = 3e-4
    edges: float = 0.5
    statistics: float = 0.01


class Autoencoding:
    """|x - x^|_1 + edges |grad x - grad x^|_1 + kl KL(q(z|x), N(0, 1)), arXiv:2112.10752 without the adversary."""

    def __init__(self, system: System, options: AutoencodingOptions):
        self.system, self.options = system, options
        for name, part in system.parts.items():
            part.requires_grad_(name == "autoencoder")
        self._trainable = nn.ModuleDict({"autoencoder": system.autoencoder})

    def trainable(self) -> nn.Module:
        return self._trainable

    def loss(self, batch: Batch, seeds: Sequence[int], *, t: Tensor | None = None) -> Losses:
        autoencoder, options = self.system.autoencoder, self.options
        b = len(batch)
        frames = fold_frames(batch.video)                                              # (B T, 3, H, W)
        mean, log_var = autoencoder.posterior(frames)
        mean, log_var = mean.float(), log_var.float()
        shape = unfold_frames(mean, b).shape[1:]
        eps = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]).to(mean)
        out = autoencoder.frames(mean + (0.5 * log_var).exp() * fold_frames(eps)).float()
        if torch.is_grad_enabled():
            self._follow(mean)
        pixels = (out - frames).abs().mean((1, 2, 3))
        edges = sum((out.diff(dim=d) - frames.diff(dim=d)).abs().mean((1, 2, 3)) for d in (2, 3))
        kl = 0.5 * (mean.square() + log_var.exp() - 1.0 - log_var).mean((1, 2, 3))
        loss = (pixels + options.edges * edges + options.kl * kl).view(b, -1).mean(1)
        mse = (out - frames).square().mean((1, 2, 3)).view(b, -1).mean(1)
        return Losses(loss=loss, parts={"psnr": (10 * torch.log10(4.0 / mse)).detach(), "kl": kl.view(b, -1).mean(1).detach()})

    def _follow(self, mean: Tensor) -> None:
        """Move the latent normaliser towards this batch's statistics."""
        autoencoder, rate = self.system.autoencoder, self.options.statistics
        with torch.no_grad():
            autoencoder.latent_mean.lerp_(mean.mean((0, 2, 3)), rate)
            autoencoder.latent_std.lerp_(mean.std((0, 2, 3)), rate)

    @torch.no_grad()
    def samples(self, batch: Batch, prompts: Sequence[str], seed: int) -> Tensor | None:
        """The validation clips and, after them, their reconstructions."""
        video = batch.video[:4]
        return torch.cat([video, self.system.autoencoder.decode(self.system.autoencoder.encode(video)).float()])

    def save(self, folder: Path) -> None:
        from flipbook.interop.folder import save_pretrained

        save_pretrained(self.system, folder)


def build(system: System, options: Mapping[str, Any]) -> Autoencoding:
    """The objective over a system. Raises ValueError for an unknown option."""
    known = {f.name for f in fields(AutoencodingOptions)}
    if unknown := set(options) - known:
        raise ValueError(f"autoencoding has no option {sorted(unknown)}. Try some of {', '.join(sorted(known))}.")
    return Autoencoding(system, AutoencodingOptions(**options))
