"""What moves the weights: one optimiser over two rules, the learning rate over a run, the average of weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from flipbook import parallel
from flipbook.training.recipe import OptimizerRecipe, Recipe

ADAMW_NAMES = (
    "embed",
    "token",
    "position",
    "patch",
    "head",
    "final",
    "first.weight",
    "last.weight",
    "conv_in",
    "conv_out",
    "proj_out",
    "modulation",
)
"""A matrix whose name holds one of these is no hidden matrix: Muon leaves it to AdamW."""


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, each tensor once even where weights are tied."""
    kept = module.state_dict(keep_vars=True).keys()
    found = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: tensor for name, tensor in found.items() if name in kept}


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal: Muon (Jordan 2024), with updates of AdamW's size (arXiv:2502.16982, eq. 4).

    Takes parameters of two axes or more, sharded ones too: each process orthogonalises the whole matrix, and keeps its
    slice. A convolution (out, in, *kernel) is the matrix (out, in * kernel).
    """

    def __init__(self, params: Sequence[Tensor], lr: float, weight_decay: float, momentum: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self.state[param]
                if not state:
                    state["momentum"] = torch.zeros_like(param)
                average = state["momentum"].lerp_(param.grad, 1 - group["momentum"])
                nesterov = parallel.whole(param.grad.lerp(average, group["momentum"]))  # no slice has the matrix's directions
                update = orthogonalise(nesterov.flatten(1))
                size = 0.2 * math.sqrt(max(update.shape))  # rms as AdamW's
                param.mul_(1 - group["lr"] * group["weight_decay"])
                param.add_(parallel.like(update.view(param.shape).to(param.dtype), param), alpha=-group["lr"] * size)


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest (semi-)orthogonal matrix to (M, N), about: singular values in 0.7 to 1.2. bfloat16.

    Five Newton-Schulz steps with Jordan's quintic coefficients: x -> a x + b (x x^T) x + c (x x^T)^2 x.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.to(torch.bfloat16)
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.T).contiguous()


class Optimizer:
    """All parameters of a run under one `step`; its state is plain named tensors.

    Matrices (two axes or more) decay, the rest does not. AdamW is the fused kernel. With "muon", hidden matrices go to
    Muon and all others to AdamW.
    """

    def __init__(self, model: nn.Module, recipe: OptimizerRecipe) -> None:
        self._params = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self._params:
            raise ValueError("nothing to train: no parameter of the objective requires a gradient.")
        hidden = [
            n for n, p in self._params.items() if recipe.name == "muon" and is_hidden_matrix(n, p, recipe.adamw_names)
        ]
        matrices = [n for n, p in self._params.items() if p.ndim >= 2 and n not in hidden]
        rest = [n for n in self._params if n not in hidden and n not in matrices]
        named = lambda names: [self._params[name] for name in names]
        adamw_groups = [
            {"params": alike, "weight_decay": decay}
            for names, decay in ((matrices, recipe.weight_decay), (rest, 0.0))
            for alike in _sharded_apart(named(names))
        ]
        adamw_groups = [group for group in adamw_groups if group["params"]]
        self._parts: list[torch.optim.Optimizer] = []
        if adamw_groups:
            self._parts.append(
                torch.optim.AdamW(adamw_groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps, fused=True)
            )
        if hidden:
            self._parts.append(Muon(named(hidden), recipe.muon_lr or recipe.lr, recipe.weight_decay, recipe.momentum))
        self._base = [[group["lr"] for group in part.param_groups] for part in self._parts]

    def step(self, lr_factor: float) -> None:
        """Update every parameter at its own rate times `lr_factor`, then forget the gradients."""
        for part, base in zip(self._parts, self._base, strict=True):
            for group, lr in zip(part.param_groups, base, strict=True):
                group["lr"] = lr * lr_factor
            part.step()
            part.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """The state by "parameter name::state name"; steps taken are tensors too."""
        name_of = {id(p): name for name, p in self._params.items()}
        return {
            f"{name_of[id(p)]}::{key}": value
            for part in self._parts
            for p, state in part.state.items()
            for key, value in state.items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors()` gave. Raises ValueError when it belongs to other parameters."""
        owner = {id(p): part for part in self._parts for group in part.param_groups for p in group["params"]}
        for key, value in tensors.items():
            name, _, what = key.partition("::")
            if name not in self._params:
                raise ValueError(
                    f"the checkpoint's optimiser knows parameter {name!r}, the model does not: "
                    "it belongs to another system. Start a new output folder."
                )
            param = self._params[name]
            same = value.shape == param.shape
            kept = torch.empty_like(param if same else value, dtype=value.dtype, device=param.device)
            owner[id(param)].state[param][what] = kept.copy_(parallel.like(value, kept))


def _sharded_apart(params: Sequence[Tensor]) -> list[list[Tensor]]:
    """Whole and sharded parameters, which no kernel takes in one call; without empty lists."""
    parts = [[p for p in params if parallel.is_sharded(p) is sharded] for sharded in (False, True)]
    return [part for part in parts if part]


def is_hidden_matrix(name: str, param: Tensor, more_adamw_names: tuple[str, ...] = ()) -> bool:
    """Muon's rule: at least two axes, both sides above one, and no embedding, first or last layer by name."""
    flat = param.flatten(1).shape if param.ndim >= 2 else (1, 1)
    return min(flat) > 1 and not any(word in name.lower() for word in (*ADAMW_NAMES, *more_adamw_names))


def lr_factor(recipe: Recipe, step: int, progress: float) -> float:
    """The share of the learning rate at `step` (from 0), when `progress` in [0, 1] of the run is done."""
    warm = min(1.0, (step + 1) / recipe.warmup) if recipe.warmup else 1.0
    left = max(0.0, 1.0 - progress)
    match recipe.schedule:
        case "constant":
            shape = 1.0
        case "linear":
            shape = left
        case "cosine":
            shape = 0.5 * (1 - math.cos(math.pi * left))
        case "wsd":  # warm-up, stable, decay: arXiv:2404.06395
            shape = min(1.0, left / recipe.decay) if recipe.decay else 1.0
    return warm * shape


class Average:
    """The exponential moving average of the weights, in float32.

    It warms up: after s updates the decay is min(decay, (1 + s) / (10 + s)).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._live = named_tensors(model)
        self._own = {
            n: p.detach().clone() for n, p in self._live.items() if isinstance(p, nn.Parameter) and p.requires_grad
        }
        self._name_of = {id(p): n for n, p in self._own.items()}

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Move towards the weights; `updates` counts the optimiser's steps so far, this one included."""
        decay = min(self.decay, (1 + updates) / (10 + updates))
        for own in _sharded_apart(list(self._own.values())):
            torch._foreach_lerp_(own, [self._live[self._name_of[id(p)]].detach() for p in own], 1 - decay)

    def tensors(self) -> dict[str, Tensor]:
        return self._own

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        copy_tensors(tensors, self._own)

    @contextmanager
    @torch.no_grad()
    def in_place(self) -> Iterator[None]:
        """The model's own tensors hold the averaged weights inside this block and the live ones again after it."""
        live = {n: self._live[n].detach().clone() for n in self._own}
        copy_tensors(self._own, self._live, partial=True)
        try:
            yield
        finally:
            copy_tensors(live, self._live, partial=True)


@torch.no_grad()
def copy_tensors(source: Mapping[str, Tensor], target: Mapping[str, Tensor], *, partial: bool = False) -> None:
    """Copy values by name, in place; `partial`: `source` may hold fewer. Raises ValueError when they do not fit."""
    missing, strange = sorted(target.keys() - source.keys()), sorted(source.keys() - target.keys())
    wrong = sorted(n for n in source.keys() & target.keys() if source[n].shape != target[n].shape)
    if strange or wrong or (missing and not partial):
        what = [
            f"{label}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
            for label, names in (("missing", missing), ("not in the model", strange), ("other shape", wrong))
            if names
        ]
        raise ValueError(
            f"the saved weights do not fit this model ({'; '.join(what)}). Was the system or its config changed?"
        )
    for name, value in source.items():
        target[name].copy_(parallel.like(value, target[name]))
