"""Key maps: how the weights of a public checkpoint are named there and here, as data that is read both ways.

A map is a tuple of rules. Names are templates: `{i}` stands for one segment of a dotted key, `{rest*}` for all that follow.

    Rule("down_blocks.{i}.resnets.{j}.{rest*}", "down.{i}.blocks.{j}.{rest*}")
    Rule(("attn.to_q.weight", "attn.to_k.weight", "attn.to_v.weight"), "attn.qkv.weight")      # joined along axis 0
    Rule("proj.weight", "proj.weight", unit_axes=True)                                          # (D, C) there, (D, C, 1, 1) here
    Rule("position_ids", ())                                                                    # known, and not needed

Nothing is skipped in silence: `translate` accounts for every key on both sides, or raises one error that lists them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

Names = str | tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """One line of a key map.

    theirs, ours: templates with the same placeholders. A tuple beside a single name means parts of equal size along axis 0.
                  `()` for a weight that one side has and the other does not need.
    unit_axes:    the two shapes differ by axes of length 1 (a linear layer there, a 1 x 1 convolution here).
    transposed:   a matrix (D, C) there is (C, D) here.
    """

    theirs: Names
    ours: Names
    unit_axes: bool = False
    transposed: bool = False


class KeysDoNotFit(ValueError):
    """Weights and network do not belong together: the message lists keys that are unknown, missing, left over or misshapen."""


def inverted(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The map that leads from our names to theirs."""
    return tuple(replace(rule, theirs=rule.ours, ours=rule.theirs) for rule in rules)


def translate(
    weights: Mapping[str, Tensor], rules: Sequence[Rule], wanted: Mapping[str, Tensor | torch.Size] | None, origin: str = "the checkpoint"
) -> dict[str, Tensor]:
    """`weights` under our names, in our shapes. The first rule that matches a key decides.

    wanted: what the network has, by name: tensors (on any device, also meta) or shapes. Usually `network.state_dict()`.
            None: one of two maps in a row, whose second knows; then names alone are checked, and `unit_axes` are dropped.
    origin: what the error calls the weights, the file's name at best.
    Raises KeysDoNotFit if a key of `weights` matches no rule, leads nowhere or has another shape, or a wanted one is not filled.
    """
    known = {} if wanted is None else wanted
    shapes = {key: value if isinstance(value, torch.Size) else value.shape for key, value in known.items()}
    made: dict[str, Tensor] = {}
    sources: dict[str, str] = {}
    unmatched: list[str] = []
    incomplete: list[str] = []
    doubled: list[str] = []
    misshapen: list[str] = []
    for group in _grouped(weights, rules, unmatched):
        lacking = [key for key in group.theirs if key not in weights]
        if lacking:
            incomplete += lacking
            continue
        values = _regrouped([weights[key] for key in group.theirs], len(group.ours))
        if values is None:
            misshapen += [f"{key} {tuple(weights[key].shape)}, not {len(group.ours)} equal parts" for key in group.theirs]
            continue
        for key, value in zip(group.ours, values, strict=True):
            if key in made:
                doubled.append(f"{key} (from {sources[key]} and {group.theirs[0]})")
            value = value.T if group.rule.transposed and value.ndim == 2 else value
            made[key], sources[key] = _fitted(value, shapes.get(key), group.rule.unit_axes), group.theirs[0]
    for key in made.keys() & shapes.keys():
        if made[key].shape != shapes[key]:
            misshapen.append(f"{sources[key]} {tuple(made[key].shape)}, not {tuple(shapes[key])}")
    problems = {
        "of no known name": unmatched,
        "missing": incomplete + sorted(shapes.keys() - made.keys()),
        "not used": [sources[key] for key in made if key not in shapes and wanted is not None],
        "given twice": doubled,
        "of another shape": misshapen,
    }
    if any(problems.values()):
        raise KeysDoNotFit("\n".join([f"{origin} does not fit the network it was read for:", *listed(problems)]))
    return made


def listed(problems: Mapping[str, Iterable[str]]) -> list[str]:
    """Lines for an error: how many keys of each kind, and the first six of them."""
    lines = []
    for what, found in problems.items():
        keys = sorted(found)
        if keys:
            lines.append(f"  {len(keys)} {what}: {', '.join(keys[:6])}{', ...' if len(keys) > 6 else ''}")
    return lines


@dataclass(frozen=True)
class _Group:
    """A rule with its placeholders filled in."""

    rule: Rule
    theirs: tuple[str, ...]
    ours: tuple[str, ...]


def _grouped(weights: Mapping[str, Tensor], rules: Sequence[Rule], unmatched: list[str]) -> list[_Group]:
    groups: dict[_Group, None] = {}
    for key in weights:
        found = next(((rule, names) for rule in rules for names in [_match(rule, key)] if names is not None), None)
        if found is None:
            unmatched.append(key)
            continue
        rule, names = found
        filled = [tuple(_fill(template, names) for template in _tuple(side)) for side in (rule.theirs, rule.ours)]
        if filled[1]:
            groups[_Group(rule, filled[0], filled[1])] = None
    return list(groups)


def _match(rule: Rule, key: str) -> dict[str, str] | None:
    for template in _tuple(rule.theirs):
        found = _pattern(template).fullmatch(key)
        if found:
            return found.groupdict()
    return None


@lru_cache(maxsize=4096)
def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+\*?)\}", template)         # text, placeholder, text, placeholder, ..., text
    for i, part in enumerate(parts):
        parts[i] = re.escape(part) if i % 2 == 0 else f"(?P<{part[:-1]}>.+)" if part.endswith("*") else f"(?P<{part}>[^.]+)"
    return re.compile("".join(parts))


def _fill(template: str, names: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\*?\}", lambda found: names[found[1]], template)


def _tuple(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def _regrouped(values: list[Tensor], parts: int) -> Sequence[Tensor] | None:
    """As many tensors as `parts`: the same ones, or joined and cut along axis 0. None if they cannot be cut evenly."""
    if len(values) == parts:
        return values
    whole = torch.cat(values) if len(values) > 1 else values[0]
    return whole.chunk(parts) if whole.ndim and whole.shape[0] % parts == 0 else None


def _fitted(value: Tensor, shape: torch.Size | None, unit_axes: bool) -> Tensor:
    if not unit_axes:
        return value
    if shape is None:
        return value.flatten(1) if value.ndim > 2 and value[0, 0].numel() == 1 else value
    same = [n for n in value.shape if n != 1] == [n for n in shape if n != 1]
    return value.reshape(shape) if same else value
