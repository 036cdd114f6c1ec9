"""Learn to pack frames into latents and back: reconstruction plus a small Kullback-Leibler price per latent number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flipbook import parallel
from flipbook.data.batch import Batch
from flipbook.objectives.adversary import AdversaryOptions, adversary_in, adversary_options
from flipbook.objectives.base import Losses
from flipbook.shapes import fold_frames, unfold_frames
from flipbook.systems.base import System


@dataclass(frozen=True, kw_only=True)
class AutoencodingOptions:
    """kl: price in loss units of one nat per latent number.   edges: weight of the error of differences between neighbours.

    only: names of the autoencoder's own parts that learn; (): all of it.
    statistics: how fast the latent normaliser follows the measured mean and standard deviation.
    adversary: what judges decoded clips, a mapping of `AdversaryOptions`; None: nobody.
    """

    kl: float = 3e-4
    edges: float = 0.5
    statistics: float = 0.01
    only: tuple[str, ...] = ()
    adversary: AdversaryOptions | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "only", tuple(self.only))
        object.__setattr__(self, "adversary", adversary_options(self.adversary))


class Statistics(nn.Module):
    """Mean and deviation of each latent channel, (C, 1, 1, 1), as buffers that a checkpoint keeps."""

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("latent_mean", torch.zeros(channels, 1, 1, 1))
        self.register_buffer("latent_std", torch.ones(channels, 1, 1, 1))


class Autoencoding:
    """|x - x^|_1 + edges |grad x - grad x^|_1 + kl KL(q(z|x), N(0, 1)), and an adversary where one is asked for (arXiv:2112.10752).

    Autoencoders that keep frames apart see them one by one, others see clips, as the adversary always does. The latent normaliser follows what is
    measured; where it stands in the autoencoder's config, and not among its weights, the saved config has it.
    """

    def __init__(self, system: System, options: AutoencodingOptions):
        self.system, self.options = system, options
        for name, part in system.parts.items():
            part.requires_grad_(name == "autoencoder")
        if strange := set(options.only) - {name for name, _ in system.autoencoder.named_children()}:
            raise ValueError(f"only={sorted(strange)}: this {type(system.autoencoder).__name__} has no such part.")
        for name, part in system.autoencoder.named_children():
            part.requires_grad_(not options.only or name in options.only)
        self._trainable = nn.ModuleDict({"autoencoder": system.autoencoder})
        self._packs = getattr(system.autoencoder, "time_stride", 1) > 1
        self._measured: Any = system.autoencoder
        if "latent_mean" not in system.autoencoder.state_dict():
            self._measured = self._trainable["statistics"] = Statistics(system.autoencoder.config.latent_channels)
        self.adversary = adversary_in(self._trainable, options.adversary)

    def trainable(self) -> nn.Module:
        return self._trainable

    def begin(self, step: int) -> None:
        """The update that comes, for an adversary."""
        if self.adversary:
            self.adversary.begin(step)

    def loss(self, batch: Batch, seeds: Sequence[int], *, t: Tensor | None = None) -> Losses:
        options, b = self.options, len(batch)
        frames = batch.video if self._packs else fold_frames(batch.video)              # (B, 3, T, H, W), or (B T, 3, H, W)
        turn = self.adversary.turn(batch.video) if self.adversary else "reconstruction"
        if self.adversary and turn == "discriminator":
            with torch.no_grad():
                _, _, out = self._through(frames, seeds)
            return self.adversary.loss(batch.video, out)
        mean, log_var, out = self._through(frames, seeds)
        if torch.is_grad_enabled():
            self._follow(mean)
        pixels = (out - frames).abs().flatten(1).mean(1)
        edges = sum((out.diff(dim=d) - frames.diff(dim=d)).abs().flatten(1).mean(1) for d in (-2, -1))
        kl = 0.5 * (mean.square() + log_var.exp() - 1.0 - log_var).flatten(1).mean(1)
        loss = (pixels + options.edges * edges + options.kl * kl).view(b, -1).mean(1)
        if self.adversary and turn == "decoder":
            loss = loss + self.adversary.pull(out, loss)
        mse = (out - frames).square().flatten(1).mean(1).view(b, -1).mean(1)
        return Losses(loss=loss, parts={"psnr": (10 * torch.log10(4.0 / mse)).detach(), "kl": kl.view(b, -1).mean(1).detach()})

    def _through(self, frames: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and log-variance of the latents, and what is decoded of a draw from them, all float32."""
        mean, log_var = self.system.autoencoder.posterior(frames)
        mean, log_var = mean.float(), log_var.float()
        shape = mean.shape[1:] if self._packs else unfold_frames(mean, len(seeds)).shape[1:]
        eps = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]).to(mean)
        return mean, log_var, self.system.autoencoder.frames(mean + (0.5 * log_var).exp() * (eps if self._packs else fold_frames(eps))).float()

    def _follow(self, mean: Tensor) -> None:
        """Move the latent normaliser towards the statistics of this batch, all processes' shares of it."""
        rows, rate = parallel.of_all(mean).transpose(0, 1).flatten(1), self.options.statistics
        for name, value in (("latent_mean", rows.mean(1)), ("latent_std", rows.std(1))):
            kept: Tensor = getattr(self._measured, name)
            kept.lerp_(value.view_as(kept), rate)

    @torch.no_grad()
    def samples(self, batch: Batch, prompts: Sequence[str], seed: int) -> Tensor | None:
        """The validation clips and, after them, their reconstructions."""
        video = batch.video[:4]
        return torch.cat([video, self.system.autoencoder.decode(self.system.autoencoder.encode(video)).float()])

    def save(self, folder: Path) -> None:
        from flipbook.interop.folder import save_pretrained

        autoencoder = self.system.autoencoder
        if self._measured is not autoencoder:
            numbers = {name: tuple(getattr(self._measured, name).flatten().tolist()) for name in ("latent_mean", "latent_std")}
            autoencoder.config = replace(autoencoder.config, **numbers)
        save_pretrained(self.system, folder)


def build(system: System, options: Mapping[str, Any]) -> Autoencoding:
    """The objective over a system. Raises ValueError for an unknown option, of the adversary too."""
    known = {f.name for f in fields(AutoencodingOptions)}
    if unknown := set(options) - known:
        raise ValueError(f"autoencoding has no option {sorted(unknown)}. Try some of {', '.join(sorted(known))}.")
    return Autoencoding(system, AutoencodingOptions(**options))
