"""Parameter groups: which weights of a system a stage of training moves, and which keep their bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from flipbook.denoisers.unet import parameter_group

GROUPS = ("spatial", "temporal", "conditioning")

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
    Raises ValueError for parts that the system lacks, and for groups without a weight in them.
    """
    chosen = groups_of(train)
    if strange := sorted(set(chosen) - set(parts)):
        raise ValueError(f"train={strange}: this system has no such part. Try some of {', '.join(parts)}.")
    for name, part in parts.items():
        wanted, found = set(chosen.get(name, ())), set()
        groups = group_names(part)
        for key, parameter in part.named_parameters():
            group = groups[key]
            parameter.requires_grad_(group in wanted)
            found.add(group)
        if isinstance(train, Mapping) and (empty := wanted - found) and wanted != set(GROUPS):
            raise ValueError(f"train.{name}={sorted(empty)}: this {type(part).__name__} has no weights of that group, only {', '.join(sorted(found))}.")
    return nn.ModuleDict({name: parts[name] for name in chosen})


def group_names(part: Any) -> dict[str, str]:
    """The group of every weight of a part: what it says of itself (`temporal_parameters`), else what the names say."""
    names = [name for name, _ in part.named_parameters()]
    if hasattr(part, "temporal_parameters"):
        temporal = {name for name, _ in part.temporal_parameters()}
        return {name: "temporal" if name in temporal else "spatial" for name in names}
    return {name: parameter_group(name) for name in names}
