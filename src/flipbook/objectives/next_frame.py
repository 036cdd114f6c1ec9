"""Learn to predict the next frame: from true frames, and more and more from the predictor's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flipbook.data.batch import Batch
from flipbook.data.seeds import derive_seed
from flipbook.long.frames import on_grid, roll_frames, searched
from flipbook.objectives.base import Losses
from flipbook.systems.base import System


@dataclass(frozen=True, kw_only=True)
class NextFrameOptions:
    """given:  frames at the beginning of a clip that are always shown as they are; the loss counts what is said of those behind them.

    own:    chance that a later frame is shown as the predictor said it; 0 is teacher forcing, more is scheduled sampling (arXiv:1506.03099).
    ramp:   samples over which that chance grows from 0.
    unroll: own frames in a row that a gradient flows back through.
    noise:  frames are shown with noise of a level drawn from 0 to this, of the latents' own units, against drift.
    edges:  weight of the error of differences between neighbours.
    """

    given: int = 1
    own: float = 0.0
    ramp: int = 0
    unroll: int = 1
    noise: float = 0.0
    edges: float = 0.0

    def __post_init__(self) -> None:
        if self.given < 1 or not 0 <= self.own <= 1 or self.unroll < 1:
            raise ValueError(f"given={self.given}, own={self.own}, unroll={self.unroll}: one frame at least, a chance, one frame at least. Try 1, 0.5, 1.")


class NextFrame:
    """The squared error of what a predictor says of frames `given` to T - 1, |y_t - f(y_{t-1}, ..., x_t)|^2. Logged: that of the frame before, `copied`.

    x_t is the true field where the data have it (`{world: ..., fields: true}`), else a search's.
    """

    def __init__(self, system: System, options: NextFrameOptions):
        if not hasattr(system.denoiser, "step") or not hasattr(system.denoiser.config, "motion"):
            raise ValueError(f"{type(system.denoiser).__name__} of {system.name} predicts no frames. Try system=next-frame, convlstm or tcn.")
        self.system, self.options = system, options
        for name, part in system.parts.items():
            part.requires_grad_(name == "denoiser")
        self._trainable = nn.ModuleDict({"denoiser": system.denoiser})

    def trainable(self) -> nn.Module:
        return self._trainable

    def loss(self, batch: Batch, seeds: Sequence[int], *, t: Tensor | None = None) -> Losses:
        options, net = self.options, self.system.denoiser
        with torch.no_grad():
            z = self.system.autoencoder.encode(batch.video).float()        # (B, C, T, h, w)
        count = z.shape[2]
        if count <= options.given:
            raise ValueError(f"clips of {count} frames, of which {options.given} are given: nothing is left to predict. Try num_frames={options.given + 1}.")
        motion = on_grid(fields_of(batch).to(z), self.system.autoencoder.stride) if net.config.motion else None
        said = roll_frames(net, self._shown(z, seeds), count, motion=motion, own=self._own(batch.index, seeds, count).to(z.device), unroll=options.unroll)
        said, truth = said.float()[:, :, options.given - 1 :], z[:, :, options.given :]
        loss = (said - truth).square().mean((1, 2, 3, 4))
        copied = (z[:, :, options.given - 1 : -1] - truth).square().mean((1, 2, 3, 4))
        if options.edges:
            loss = loss + options.edges * sum((said.diff(dim=d) - truth.diff(dim=d)).square().mean((1, 2, 3, 4)) for d in (3, 4))
        return Losses(loss=loss, parts={"copied": copied})

    def _own(self, index: Sequence[int], seeds: Sequence[int], count: int) -> Tensor:
        """(B, T) bool: which frames are shown as they were said. In validation as often as at the end of the ramp."""
        options, rows = self.options, []
        for k, seed in zip(index, seeds, strict=True):
            grown = min(1.0, k / options.ramp) if options.ramp and torch.is_grad_enabled() else 1.0
            u = torch.rand(count, generator=torch.Generator().manual_seed(derive_seed(seed, "own frames")))
            rows.append(u < options.own * grown)
        own = torch.stack(rows)
        own[:, : options.given] = False
        return own

    def _shown(self, z: Tensor, seeds: Sequence[int]) -> Tensor:
        if not self.options.noise or not torch.is_grad_enabled():
            return z
        generators = [torch.Generator().manual_seed(derive_seed(seed, "noise")) for seed in seeds]
        levels = torch.stack([torch.rand((), generator=g) for g in generators]).to(z) * self.options.noise
        eps = torch.stack([torch.randn(z.shape[1:], generator=g) for g in generators]).to(z)
        return z + levels.view(-1, 1, 1, 1, 1) * eps

    @torch.no_grad()
    def samples(self, batch: Batch, prompts: Sequence[str], seed: int) -> Tensor | None:
        """The validation clips and, after them, what is predicted behind their given frames, by their own fields."""
        video, net = batch.video[:4], self.system.denoiser
        z = self.system.autoencoder.encode(video)
        motion = on_grid(fields_of(batch).to(z)[:4], self.system.autoencoder.stride) if net.config.motion else None
        given = self.options.given
        said = roll_frames(net, z[:, :, :given], z.shape[2], motion=motion).to(z)
        return torch.cat([video, self.system.autoencoder.decode(torch.cat([z[:, :, :given], said[:, :, given - 1 :]], dim=2)).float()])

    def save(self, folder: Path) -> None:
        from flipbook.interop.folder import save_pretrained

        save_pretrained(self.system, folder)


def fields_of(batch: Batch) -> Tensor:
    """x_1 to x_{T-1} of a batch, (B, 2, T - 1, H, W) in pixels: from each frame back to the one before, true or searched."""
    true = [extra["backward_flow"] for extra in batch.extra if "backward_flow" in extra]
    if true and len(true) == len(batch):
        return torch.from_numpy(np.stack(true)).movedim(-1, 1)              # files' layout, (T - 1, H, W, 2)
    return searched(batch.video)


def build(system: System, options: Mapping[str, Any]) -> NextFrame:
    """The objective over a system. Raises ValueError for an unknown option, or a network that predicts no frames."""
    known = {f.name for f in fields(NextFrameOptions)}
    if unknown := set(options) - known:
        raise ValueError(f"next_frame has no option {sorted(unknown)}. Try some of {', '.join(sorted(known))}.")
    return NextFrame(system, NextFrameOptions(**options))
