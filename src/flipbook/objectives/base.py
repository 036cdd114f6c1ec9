"""What a training step computes: the face every objective shows to the training loop, and their register.

An objective owns nothing but a system and its options. It draws all its randomness (noise level, noise, dropped
captions, given frames) from the seeds it is handed, one per sample, so that a loss does not depend on batch, process or
interruption.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from flipbook.hints import nearest

if TYPE_CHECKING:
    from torch import Tensor, nn

    from flipbook.data.batch import Batch


@dataclass(frozen=True, kw_only=True)
class Losses:
    """What one call of an objective gives.

    loss: (B,) per sample, with gradient.   t: (B,) noise level in [0, 1], or None where there is no such thing.
    parts: named terms for the log, (B,) or scalars.
    """

    loss: Tensor
    t: Tensor | None = None
    parts: dict[str, Tensor] = field(default_factory=dict)


class Objective(Protocol):
    """What the training loop asks for.

    It calls `loss` in training mode under autocast. For validation, samples and saving it first puts the averaged (EMA)
    weights in place, so an objective never hears of the average. An objective whose networks learn in turns may have a
    `begin(step)`, which is told the number of every update before it. One that asks networks which it does not train, such as
    a teacher, may list them as `asked`: where training is compiled, so are they.
    """

    def trainable(self) -> nn.Module:
        """What the optimiser updates: an `nn.ModuleDict` of the trained parts, always the same object."""

    def loss(self, batch: Batch, seeds: Sequence[int], *, t: Tensor | None = None) -> Losses:
        """The loss of a batch, with one seed per sample.

        t: (B,) fixed noise levels (validation asks for evenly spread ones); None draws them from the seeds.
        """

    def samples(self, batch: Batch, prompts: Sequence[str], seed: int) -> Tensor | None:
        """Videos for the sample sheet, (N, 3, T, H, W) in [-1, 1]; None when there is nothing to see.

        One per prompt, or what this objective can show of the validation `batch` (an autoencoder: reconstructions).
        """

    def save(self, folder: Path) -> None:
        """Write the system with the weights now in place as a model folder."""


OBJECTIVES: dict[str, str | Callable[[Any, Mapping[str, Any]], Objective]] = {
    "denoising": "flipbook.objectives.denoising",
    "adversarial": "flipbook.objectives.adversarial",
    "autoencoding": "flipbook.objectives.autoencoding",
    "causal": "flipbook.objectives.causal",
    "codes": "flipbook.objectives.codes",
    "conditioned": "flipbook.objectives.conditioned",
    "decoding": "flipbook.objectives.decoding",
    "next_frame": "flipbook.objectives.next_frame",
    "prior": "flipbook.objectives.prior",
    "matching": "flipbook.objectives.matching",
    "progressive": "flipbook.objectives.progressive",
    "quantising": "flipbook.objectives.quantising",
    "regression": "flipbook.objectives.regression",
}
"""Name to `build(system, options) -> Objective`, or to the module that has it, which is imported when asked for."""


def build_objective(name: str, system: Any, options: Mapping[str, Any]) -> Objective:
    """The objective called `name` over `system`. Raises ValueError naming the nearest known objective."""
    if name not in OBJECTIVES:
        raise ValueError(f"objective {name!r} is not known. {nearest(name, OBJECTIVES)}")
    build = OBJECTIVES[name]
    if isinstance(build, str):
        build = importlib.import_module(build).build
    return build(system, options)
