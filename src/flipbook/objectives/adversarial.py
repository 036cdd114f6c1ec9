"""Adversarial training of a generator that makes any two moments of a clip (arXiv:2202.10571).

Discriminators tell true pairs of frames from made ones, and the generator learns to be taken for true: the non-saturating loss (arXiv:1406.2661)
with a price on the discriminators' slope at true pairs, R1 (arXiv:1801.04406). They learn in turns, so that one optimiser serves both: even
updates are the discriminators', odd ones the generator's, and whoever waits keeps its bits.

The discriminators live in the training's checkpoints. A model folder holds the generator alone: a training that starts from one starts with
fresh discriminators.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.baselines.discriminator import ImageDiscriminator, MotionDiscriminator
from flipbook.baselines.implicit import ImplicitVideo, vectors
from flipbook.data.batch import INDEX_FPS, Batch
from flipbook.data.seeds import derive_seed
from flipbook.objectives.augmenting import augmented
from flipbook.objectives.base import Losses
from flipbook.systems.base import System

KINDS: dict[str, Callable[[int, int, int, int], nn.Module]] = {"image": ImageDiscriminator, "motion": MotionDiscriminator}


@dataclass(frozen=True, kw_only=True)
class AdversarialOptions:
    """discriminators: of `KINDS`.   dim, max_dim: their width at full size, and the largest.

    r1: weight gamma of gamma / 2 |dD / dx|^2.   r1_every: of the discriminators' updates, one counts it, so many times as much.
    augment: what they see is moved and coloured anew, see `objectives/augmenting.py`.
    """

    discriminators: tuple[str, ...] = ("image", "motion")
    dim: int = 256
    max_dim: int = 512
    r1: float = 1.0
    r1_every: int = 16
    augment: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "discriminators", tuple(self.discriminators))
        if not self.discriminators or not set(self.discriminators) <= KINDS.keys():
            raise ValueError(f"discriminators={self.discriminators}: there are {', '.join(KINDS)}. Try one of them, or both.")
        if self.r1_every < 1 or self.r1 < 0:
            raise ValueError(f"r1={self.r1}, r1_every={self.r1_every}: a weight is 0 or more, and updates count from 1. Try r1=1.0, r1_every=16.")


class Adversarial:
    """Turns of discriminators and generator over pairs of frames."""

    def __init__(self, system: System, options: AdversarialOptions):
        if not isinstance(system.denoiser, ImplicitVideo):
            raise ValueError(
                f"{system.name} makes its frames by {type(system.denoiser).__name__}, which cannot be asked for two moments alone. Try system: digan."
            )
        self.system, self.options, net = system, options, system.denoiser
        for part in system.parts.values():
            part.requires_grad_(False)
        sizes = net.config.in_channels, net.config.side, options.dim, options.max_dim
        self.discriminators = nn.ModuleDict({kind: KINDS[kind](*sizes) for kind in options.discriminators})
        self._trainable = nn.ModuleDict({"denoiser": net.requires_grad_(True), "discriminators": self.discriminators})
        self._step = 0

    def trainable(self) -> nn.Module:
        return self._trainable

    def begin(self, step: int) -> None:
        """The update that comes: whose turn it is depends on its number alone. Who waits asks for no gradient, so that nothing moves it."""
        self._step = step
        self.system.denoiser.requires_grad_(self.generators_turn)
        self.discriminators.requires_grad_(not self.generators_turn)

    @property
    def generators_turn(self) -> bool:
        return self._step % 2 == 1

    @property
    def counts_r1(self) -> bool:
        return self.options.r1 > 0 and not self.generators_turn and self._step // 2 % self.options.r1_every == 0

    def loss(self, batch: Batch, seeds: Sequence[int], *, t: Tensor | None = None) -> Losses:
        """The loss of whose turn it is. With fixed levels t: the discriminators' loss without R1, which tells who is ahead, not how good a clip is."""
        if self.generators_turn and t is None:
            logits = self._judged(*self._made(batch, seeds), seeds, "made")
            loss = _sum(F.softplus(-each) for each in logits.values())
            return Losses(loss=loss, parts={"generator": loss.detach()})
        with torch.no_grad():
            made, made_gap = self._made(batch, seeds)
        true, gap = self._true(batch, seeds)
        fake, real = self._judged(made, made_gap, seeds, "made"), self._judged(true, gap, seeds, "true")
        loss = _sum(F.softplus(fake[kind]) + F.softplus(-real[kind]) for kind in real)
        parts = {"discriminators": loss.detach()}
        parts |= {f"told/{kind}": 0.5 * ((real[kind] > 0).float().mean(1) + (fake[kind] < 0).float().mean(1)) for kind in real}
        if self.counts_r1 and t is None:
            price = self._r1(true, gap, seeds)
            parts["r1"] = price.detach()
            loss = loss + 0.5 * self.options.r1 * self.options.r1_every * price
        return Losses(loss=loss, parts=parts)

    def _r1(self, true: Tensor, gap: Tensor, seeds: Sequence[int]) -> Tensor:
        """(B,): |dD / dx|^2, mean over a discriminator's logits and summed over discriminators. In float32, autocast or not."""
        with torch.autocast(true.device.type, enabled=False):
            x = true.detach().float().requires_grad_(True)
            logits = self._judged(x, gap, seeds, "true")
            return torch.stack([slope(each.sum(), x) / each.shape[1] for each in logits.values()]).sum(0)

    def _judged(self, pair: Tensor, gap: Tensor, seeds: Sequence[int], which: str) -> dict[str, Tensor]:
        """Logits of each discriminator, float32: (B, 2) for pictures, (B, 1) for pairs."""
        if self.options.augment:
            pair = augmented(pair, [derive_seed(seed, "augment", which) for seed in seeds])
        return {kind: net(pair, gap).float() for kind, net in self.discriminators.items()}

    def _true(self, batch: Batch, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Two frames of each clip, (B, C, 2, H, W), and how far apart they are, (B,) in units of t."""
        side = self.system.denoiser.config.side
        if tuple(batch.video.shape[3:]) != (side, side):
            height, width = batch.video.shape[3:]
            raise ValueError(f"clips of {height} x {width} pixels for a generator of {side} x {side}. Try height={side}, width={side}.")
        frames, t = self._moments(batch, seeds, "true")
        rows = torch.arange(len(batch), device=frames.device)
        pair = torch.stack([batch.video[rows, :, frames[:, k]] for k in range(2)], dim=2)
        return self.system.autoencoder.encode(pair).float(), t[:, 1] - t[:, 0]

    def _made(self, batch: Batch, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Two moments of made clips and the time between, by the law of true ones, so that the time alone tells nothing."""
        _, t = self._moments(batch, seeds, "made")
        return self._clips(seeds, t), t[:, 1] - t[:, 0]

    def _clips(self, seeds: Sequence[int], t: Tensor) -> Tensor:
        net = self.system.denoiser
        content, motion = (vectors(seeds, what, size).to(t.device) for what, size in (("content", net.config.content), ("motion", net.config.motion)))
        clips: Tensor = net(content, motion, t).float()
        return clips

    def _moments(self, batch: Batch, seeds: Sequence[int], which: str) -> tuple[Tensor, Tensor]:
        """Which two frames (B, 2) of clips like these, and the moments t (B, 2) at which they stand."""
        index, seconds = batch.frame_index, self.system.denoiser.config.seconds
        frames = torch.stack([two_frames(index.shape[1], derive_seed(seed, "moments", which)) for seed in seeds]).to(index.device)
        return frames, (index.gather(1, frames) - index[:, :1]) / INDEX_FPS / seconds

    @torch.no_grad()
    def samples(self, batch: Batch, prompts: Sequence[str], seed: int) -> Tensor | None:
        """As many clips as there are prompts, which are not read, at the moments of the validation clips."""
        t = (batch.frame_index[0] - batch.frame_index[0, 0]) / INDEX_FPS / self.system.denoiser.config.seconds
        clips = self._clips([derive_seed(seed, i) for i in range(len(prompts))], t)
        return self.system.autoencoder.decode(clips).float()

    def save(self, folder: Path) -> None:
        from flipbook.interop.folder import save_pretrained

        save_pretrained(self.system, folder)


def two_frames(count: int, seed: int) -> Tensor:
    """Frames i < j of `count`, (2,): the ends of a Beta(2, 1) and a Beta(1, 2) draw on [0, 1], laid over the gaps between frames.

    Such ends are far apart oftener than two even draws (arXiv:2202.10571). Raises ValueError for a clip of one frame.
    """
    if count < 2:
        raise ValueError(f"num_frames={count}: a pair needs two frames. Try num_frames=8.")
    u = torch.rand(2, generator=torch.Generator().manual_seed(seed)).sqrt()                     # sqrt of an even draw is Beta(2, 1)
    early, late = sorted((float(u[0]), 1.0 - float(u[1])))
    gaps = count - 1
    return torch.tensor([min(int(early * gaps), gaps - 1), 1 + min(int(late * gaps), gaps - 1)])


def slope(value: Tensor, x: Tensor) -> Tensor:
    """|d value / dx|^2 per sample, (B,), itself differentiable."""
    (gradient,) = torch.autograd.grad(value, x, create_graph=True)
    return gradient.square().flatten(1).sum(1)


def _sum(each: Any) -> Tensor:
    """Means over a sample's logits, summed over discriminators, (B,)."""
    return torch.stack([one.mean(1) for one in each]).sum(0)


def build(system: System, options: Mapping[str, Any]) -> Adversarial:
    """The objective over a system. Raises ValueError for an unknown option or discriminator, or a generator of whole clips."""
    known = {f.name for f in fields(AdversarialOptions)}
    if unknown := set(options) - known:
        raise ValueError(f"adversarial has no option {sorted(unknown)}. Try some of {', '.join(sorted(known))}.")
    return Adversarial(system, AdversarialOptions(**options))
