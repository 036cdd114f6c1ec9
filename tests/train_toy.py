"""The smallest objective, world and recipe that a training loop can run on. As a program: train until a wanted kill."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from flipbook.checkpoint import load_checkpoint
from flipbook.data.batch import Batch
from flipbook.objectives.base import Losses
from flipbook.training.recipe import Recipe, parse_recipe


class Block(nn.Module):
    """x + tanh(layer(x)); 7 wide inside, which no two processes share evenly."""

    def __init__(self, dim: int):
        super().__init__()
        self.hidden, self.out = nn.Linear(dim, 7), nn.Linear(7, dim)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(torch.tanh(self.hidden(x)))


class Toy:
    """Guess the noise in a clip's mean colour. `at` calls `event` when sample number `at` is trained on."""

    def __init__(self, options: Mapping[str, Any] = {}) -> None:
        self.parts = nn.ModuleDict(
            {"net": nn.Sequential(nn.Linear(12, 8), Block(8), Block(8), nn.Linear(8, 12))}
        )
        self.poison: int | None = options.get("poison")
        self.at: int | None = None
        self.event: Callable[[], None] = lambda: None
        self.modes: set[tuple[str, bool]] = set()

    def trainable(self) -> nn.Module:
        return self.parts

    def loss(self, batch: Batch, seeds: Sequence[int], *, t: Tensor | None = None) -> Losses:
        self.modes.add(("train" if t is None else "validate", self.parts.training))
        if self.at in batch.index and t is None:
            self.event()
        chances = [torch.Generator().manual_seed(seed) for seed in seeds]
        t = torch.stack([torch.rand((), generator=g) for g in chances]) if t is None else t
        x0 = batch.video.mean(dim=(2, 3, 4)).repeat(1, 4)  # (B, 12)
        eps = torch.stack([torch.randn(12, generator=g) for g in chances])
        x = (1 - t)[:, None] * x0 + t[:, None] * eps
        loss = (self.parts["net"](x) - (eps - x0)).float().square().mean(dim=1)
        if self.poison in batch.index:
            loss = loss + torch.where(torch.tensor(batch.index) == self.poison, torch.inf, 0.0)
        return Losses(loss=loss, t=t, parts={"colour": x0.abs().mean(dim=1)})

    def samples(self, batch: Batch, prompts: Sequence[str], seed: int) -> Tensor:
        return batch.video[:1].expand(len(prompts), -1, -1, -1, -1)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        save_file(self.parts.state_dict(), folder / "net.safetensors")


def draw(domain: str, seed: int, *, height: int, width: int, frames: Sequence[int] | None = None, **_: Any) -> Any:
    """A stand-in for the world: one picture of noise, with the frame's number in the first byte of each frame."""
    chance = np.random.default_rng(seed)
    wanted = [0] if frames is None else list(frames)
    video = np.tile(chance.integers(0, 256, (1, height, width, 3), dtype=np.uint8), (len(wanted), 1, 1, 1))
    video[:, 0, 0, 0] = wanted
    return SimpleNamespace(video=video, caption=f"{domain} {seed}")


def toy_recipe(output: Path, **changes: Any) -> Recipe:
    tree = {
        "output": str(output), "objective": "toy", "data": [{"world": "shapes"}], "num_workers": 0,
        "num_frames": 2, "height": 4, "width": 4, "batch_size": 4, "steps": 20, "warmup": 4, "dtype": "fp32",
        "optimizer": {"lr": 0.01},
        "validation": {"every": 10, "clips": 5}, "samples": {"every": 0}, "checkpoint": {"every": 10},
        "log": {"every": 1, "tensorboard": False},
    }  # fmt: skip
    return parse_recipe({**tree, **changes})


def weights(output: Path) -> dict[str, Tensor]:
    """Everything a finished run of 20 steps has learnt."""
    tensors = load_checkpoint(output / "checkpoint-000020").tensors
    return {f"{stem}/{name}": tensor for stem, part in tensors.items() for name, tensor in part.items()}


if __name__ == "__main__":  # OUTPUT [a sample's number to be killed at, or changes of the recipe as JSON, "resume" among them]
    from flipbook.data import world
    from flipbook.objectives.base import OBJECTIVES
    from flipbook.train import train

    torch.set_num_threads(1)
    world.draw = draw
    OBJECTIVES["toy"] = lambda system, options: Toy(options)
    wish = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    kill_at, changes = (wish, {}) if isinstance(wish, int) else (None, wish)
    resume = changes.pop("resume", False)
    plan = toy_recipe(Path(sys.argv[1]), **changes)
    torch.manual_seed(plan.seed)
    toy = Toy()
    if kill_at is not None:
        toy.at, toy.event = kill_at, lambda: os.kill(os.getpid(), signal.SIGKILL)
    train(plan, objective=toy, resume=resume)
