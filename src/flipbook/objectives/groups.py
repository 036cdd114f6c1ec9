"""Parameter groups: which weights of a system a stage of training moves, and which keep their bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from flipbook.systems import parameter_groups

GROUPS: tuple[str, ...] = parameter_groups.GROUPS

Train = Mapping[str, Sequence[str] | str] | Sequence[str]
"""Parts that learn: names, `[denoiser]`, or names with groups, `{denoiser: temporal}`, `{denoiser: [temporal, conditioning]}`."""


def groups_of(train: Train) -> dict[str, tuple[str, ...]]:
    """Parts to the groups of each that learn. Raises ValueError for an unknown group."""
    if not isinstance(train, Mapping):
        return dict.fromkeys(train, GROUPS)
    found = {name: (groups,) if isinstance(groups, str) else tuple(groups) for name, groups in train.items()}
    for name, groups in found.items():
        if strange := set(groups) - {*GROUPS, "all"}:
            raise ValueError(f"train.{name}={sorted(strange)}: there is no such parameter group. Try some of {', '.join(GROUPS)}, or all.")
    return {name: GROUPS if "all" in groups else groups for name, groups in found.items()}


def learn(parts: Mapping[str, nn.Module], train: Train) -> nn.ModuleDict:
    """Let the named groups require gradients and nothing else; returns the parts that hold them.

    Optimiser and average take up parameters that require gradients alone, so all others keep their bits.
    Raises ValueError for parts that the system lacks, and for groups that have no weight in a part.
    """
    chosen = groups_of(train)
    if strange := sorted(set(chosen) - set(parts)):
        raise ValueError(f"train={strange}: this system has no such part. Try some of {', '.join(parts)}.")
    for name, part in parts.items():
        wanted, found = set(chosen.get(name, ())), set[str]()
        for parameter, groups in _grouped(part):
            parameter.requires_grad_(bool(groups & wanted))
            found |= groups
        if isinstance(train, Mapping) and wanted and not wanted & found:
            raise ValueError(f"train.{name}={sorted(wanted)}: this {type(part).__name__} has no weights of that group, only {', '.join(sorted(found))}.")
    return nn.ModuleDict({name: parts[name] for name in chosen})


def _grouped(part: Any) -> Iterator[tuple[nn.Parameter, frozenset[str]]]:
    """Every weight with its groups: what the part says of itself (`temporal_parameters`), else the rule of denoisers."""
    if hasattr(part, "temporal_parameters"):
        temporal = {name for name, _ in part.temporal_parameters()}
        for name, parameter in part.named_parameters():
            yield parameter, frozenset({"temporal" if name in temporal else "spatial"})
        return
    for name, parameter in part.named_parameters():
        yield parameter, frozenset(parameter_groups.groups_of(name, part))
