"""The training of one arm, from weights that it shares with the others."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flipbook import parallel
from flipbook.checkpoint import list_checkpoints
from flipbook.files.temporary import written_whole
from flipbook.interop.folder import unfilled
from flipbook.objectives.base import Objective
from flipbook.systems.base import System
from flipbook.train import NonFiniteLoss, train
from flipbook.training.plan import make_objective
from flipbook.training.recipe import Recipe

ALIKE = 1.5        # times the root mean square: weights further apart were born differently by design
FEW = 256          # fewer weights than this scatter too much to tell


class Stopped(RuntimeError):
    """A training that a signal or its time limit ended early; the same command goes on from its checkpoint."""


def train_arm(recipe: Recipe, first: Recipe, before: System | None = None) -> dict[str, Any]:
    """Train an arm in `recipe.output`, or go on with it, or take over what is finished. Returns what is known of the training.

    That is `updates`, `parameters` (thousands), `validation`, `seconds_per_update`, `seconds`; or `failed`, why it ended without a model,
    which a factor such as a learning rate may well do to one of its arms.

    first:  the recipe of the first arm, with whose fresh weights all arms of a repeat begin, see `share_weights`.
    before: a system that was trained ahead, whose weights come first of all, see `take_weights`.
    Raises Stopped, and what `train` raises.
    """
    record = recipe.output / "training.json"
    if record.is_file():
        facts: dict[str, Any] = json.loads(record.read_text())
        return facts
    objective = build(recipe)
    share_weights(objective.trainable(), build(first).trainable())
    if before is not None:
        take_weights(parts_of(objective), before.parts)
    parameters = sum(p.numel() for p in objective.trainable().parameters() if p.requires_grad)
    try:
        done = train(recipe, resume=True, objective=objective)
    except NonFiniteLoss as error:
        return _recorded(record, {"failed": str(error).partition("\n")[0]})
    if done.stopped:
        raise Stopped(f"{done.stopped}, {recipe.output} is saved at update {done.step}. The same command goes on from there.")
    facts = {"updates": done.step, "parameters": parameters / 1000, **_logged(recipe)}
    return _recorded(record, facts)


def _recorded(record: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Write what is known, and drop the checkpoints: the model stays."""
    with written_whole(record) as path:
        path.write_text(json.dumps(facts, indent=1) + "\n")
    for checkpoint in list_checkpoints(record.parent):
        shutil.rmtree(checkpoint)
    return facts


def build(recipe: Recipe, *, empty: bool = False) -> Objective:
    """A recipe's objective with the weights that `train` would give it. empty: with any weights, quickly, to see whether it can be built."""
    group = parallel.join(recipe.device)
    parallel.leave()
    if group.size > 1:
        raise ValueError(f"a comparison runs in one process, and {group.size} were started. Leave torchrun out.")
    if empty:
        with unfilled():
            return make_objective(recipe, group)
    torch.manual_seed(recipe.seed)
    return make_objective(recipe, group)


def parts_of(objective: Objective) -> Mapping[str, nn.Module]:
    """The networks of an objective's system, or those that learn where it has no system."""
    system = getattr(objective, "system", None)
    return system.parts if system is not None else dict(objective.trainable().named_children())


@torch.no_grad()
def share_weights(own: nn.Module, first: nn.Module) -> int:
    """Give a network the other one's fresh weights, wherever names, shapes and the way they were born agree. Returns how many.

    Weights that are born constant (zero, one) in either, or at another scale, are a design of its own and stay.
    """
    theirs, taken = dict(first.named_parameters()), 0
    for name, value in own.named_parameters():
        other = theirs.get(name)
        if other is not None and other.shape == value.shape and _born_alike(value, other):
            value.copy_(other)
            taken += 1
    return taken


@torch.no_grad()
def take_weights(own: Mapping[str, nn.Module], before: Mapping[str, nn.Module]) -> int:
    """Give networks the trained weights of the parts of the same names, wherever names and shapes agree. Returns how many.

    Raises ValueError where none do.
    """
    taken = 0
    for part, network in own.items():
        theirs = before[part].state_dict() if part in before else {}
        for name, value in network.state_dict().items():
            if name in theirs and theirs[name].shape == value.shape:
                value.copy_(theirs[name])
                taken += 1
    if not taken:
        raise ValueError("no weight of what `before` trains has the name and shape of one of the arms' weights. Try a `before` with their sizes.")
    return taken


def _born_alike(a: Tensor, b: Tensor) -> bool:
    if a.numel() < 2 or (a == a.flatten()[0]).all() or (b == b.flatten()[0]).all():
        return False
    if a.numel() < FEW:
        return True
    ratio = float(a.square().mean().sqrt() / b.square().mean().sqrt())
    return 1 / ALIKE < ratio < ALIKE


def _upper_quartile(values: list[float]) -> float:
    return statistics.quantiles(values, n=4, method="inclusive")[2] if len(values) > 1 else values[0]


def _logged(recipe: Recipe) -> dict[str, Any]:
    """From a run's log: the last validation loss, the seconds in all, and the seconds per update that a quarter of the updates kept within,
    which other work on the machine disturbs less than their mean."""
    lines = [json.loads(line) for line in (recipe.output / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [line["validation"]["loss"] for line in lines if "validation" in line]
    rates = [line["clips_per_second"] for line in lines if "clips_per_second" in line]
    return {
        "validation": losses[-1],
        "seconds_per_update": recipe.batch_size / _upper_quartile(rates),
        "seconds": max(line["seconds"] for line in lines if "seconds" in line),
    }
