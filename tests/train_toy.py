"""The smallest objective and data source that a training loop can run on: one linear map from a clip's mean colour to its noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from flipbook.data import world
from flipbook.data.batch import Batch
from flipbook.objectives.base import OBJECTIVES, Losses
from flipbook.recipe import Recipe, parse_recipe


class Toy:
    """Guess a sample's noise from noisy pixels; `break_at` makes one sample's loss infinite."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.parts = nn.ModuleDict({"net": nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 12))})
        self.break_at = options.get("break_at")

    def trainable(self) -> nn.Module:
        return self.parts

    def loss(self, batch: Batch, seeds: Sequence[int], *, t: Tensor | None = None) -> Losses:
        chances = [torch.Generator().manual_seed(seed) for seed in seeds]
        t = torch.stack([torch.rand((), generator=g) for g in chances]) if t is None else t
        x0 = batch.video.mean(dim=(2, 3, 4)).repeat(1, 4)  # (B, 12)
        eps = torch.stack([torch.randn(12, generator=g) for g in chances])
        x = (1 - t)[:, None] * x0 + t[:, None] * eps
        loss = (self.parts["net"](x) - (eps - x0)).float().square().mean(dim=1)
        if self.break_at in batch.index:
            loss = loss + torch.where(torch.tensor(batch.index) == self.break_at, torch.inf, 0.0)
        return Losses(loss=loss, t=t, parts={"colour": x0.abs().mean(dim=1)})

    def samples(self, batch: Batch, prompts: Sequence[str], seed: int) -> Tensor:
        return batch.video[:2]

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        save_file(self.parts.state_dict(), folder / "net.safetensors")


def draw(
    domain: str,
    seed: int,
    *,
    num_frames: int = 16,
    height: int = 64,
    width: int = 64,
    fps: float = 8.0,
    held_out: bool | None = None,
    truth: bool = True,
    frames: Sequence[int] | None = None,
) -> SimpleNamespace:
    """A stand-in for the world: noise of one colour, and the frame's number in its first pixel."""
    chance = np.random.default_rng(seed)
    wanted = list(range(num_frames)) if frames is None else list(frames)
    video = np.tile(chance.integers(0, 256, (1, height, width, 3), dtype=np.uint8), (len(wanted), 1, 1, 1))
    video[:, 0, 0, 0] = wanted
    return SimpleNamespace(video=video, caption=f"{domain} {seed}", fps=fps)


def use_toys() -> None:
    OBJECTIVES["toy"] = lambda system, options: Toy(options)
    world.draw = draw


def toy_recipe(output: Path, **changes: Any) -> Recipe:
    tree = {
        "output": str(output),
        "objective": {"name": "toy"},
        "data": [{"world": "shapes"}],
        "num_frames": 2,
        "height": 4,
        "width": 4,
        "num_workers": 0,
        "batch_size": 4,
        "steps": 20,
        "warmup": 4,
        "dtype": "fp32",
        "threads": 1,
        "optimizer": {"lr": 0.01},
        "validation": {"every": 10, "clips": 5},
        "samples": {"every": 0},
        "checkpoint": {"every": 10},
        "log": {"every": 1, "tensorboard": False},
    }
    return parse_recipe({**tree, **changes})
