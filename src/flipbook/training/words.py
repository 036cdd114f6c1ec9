"""Words that text encoders meet in training: a run keeps them with its checkpoints, the encoders with themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from flipbook.parallel import Group


def taught_words(model: nn.Module, group: Group) -> dict[str, list[str]]:
    """What each encoder among the trained parts has been taught, by its name; afterwards those of all processes know the same."""
    words = {name: group.union(encoder.config.taught) for name, encoder in _encoders(model)}
    teach(model, words)
    return words


def teach(model: nn.Module, words: Mapping[str, Sequence[str]]) -> None:
    """Tell the encoders what `taught_words` has found; names that are not there are passed over."""
    for name, encoder in _encoders(model):
        encoder.teach(words.get(name, ()))


def _encoders(model: nn.Module) -> Iterator[tuple[str, Any]]:
    return ((name, part) for name, part in model.named_modules() if hasattr(part, "teach"))
