"""Start `train_toy.py`, or the training of a recipe, as a program: in one process or as `torchrun` would in several; and what a run left."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from flipbook.checkpoint import load_newest
from flipbook.training.recipe import Recipe

HERE = Path(__file__).parent


def run_toy(arguments: list[Any], environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    return _start([HERE / "train_toy.py", *arguments], environment or {})


def run_together(folder: Path, processes: int, **changes: Any) -> None:
    """Train the toy in that many processes over gloo, and see each end well."""
    _together([HERE / "train_toy.py", folder, json.dumps(changes)], processes)


def train_together(recipe: Recipe, processes: int) -> None:
    """Train a recipe in that many processes over gloo, and see each end well."""
    path = recipe.output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_unset=True)))
    _together(["-m", "flipbook", "train", path], processes)


def kept(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a run's newest checkpoint: weights, their averages, the optimiser's state."""
    newest = load_newest(folder, {})
    assert newest is not None
    return {f"{part}/{name}": value for part, named in newest.tensors.items() for name, value in named.items()}


def _together(program: list[Any], processes: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    there = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    ranks = [{**there, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
    running = [_start(program, rank) for rank in ranks]
    assert [process.wait(timeout=600) for process in running] == [0] * processes


def _start(program: list[Any], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(HERE.parent / "src"), str(HERE)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen([sys.executable, *map(str, program)], env=environment)
