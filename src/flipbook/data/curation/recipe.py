"""A recipe: a list of stages with their options, as data. Published pipelines are such lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from flipbook.data.curation.stage import Stage, make_stage
from flipbook.hints import nearest

FIRST_COLUMNS = ("source", "path", "caption", "caption_by", "bytes", "clip_id", "given_split", "keep")


@dataclass(frozen=True)
class Recipe:
    """name, one sentence, where it is published, and the stages in order."""

    name: str
    about: str
    source: str
    stages: tuple[Stage, ...]


def shipped_recipes() -> list[str]:
    """Names of the recipes inside the package."""
    folder = resources.files("flipbook.data.curation") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(name: str, changes: Sequence[str] = (), without: Sequence[str] = ()) -> Recipe:
    """A shipped recipe by name, or a YAML file by path.

    changes: "STAGE.OPTION=VALUE" (the value as in YAML).   without: stages to leave out; rules of `select` that read
    their columns go with them. Raises ValueError for whatever is not known, or needs what no stage before it adds.
    """
    return parse_recipe(read_recipe(name), name, changes, without)


def read_recipe(name: str) -> Any:
    """What a shipped recipe or a YAML file says, as plain data. Raises ValueError if there is none of that name."""
    if name in shipped_recipes():
        text = (resources.files("flipbook.data.curation") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    elif Path(name).is_file():
        text = Path(name).read_text(encoding="utf-8")
    else:
        raise ValueError(f"there is no recipe {name!r}. {nearest(name, shipped_recipes())} Or give a YAML file.")
    return yaml.safe_load(text)


def parse_recipe(data: Any, where: str, changes: Sequence[str] = (), without: Sequence[str] = ()) -> Recipe:
    """A recipe from `{"about", "source", "stages": [NAME or {NAME: options}, ...]}`; see `load_recipe`."""
    if not isinstance(data, Mapping) or not isinstance(data.get("stages"), list):
        raise ValueError(f"{where}: a recipe has a list of `stages`, such as `stages: [probe, cut, motion]`.")
    pairs = [_pair(entry, where) for entry in data["stages"]]
    for change in changes:
        _change(pairs, change)
    names = [name for name, _ in pairs]
    for name in without:
        if name not in names:
            raise ValueError(f"--without {name}: {where} has no such stage. It has {', '.join(names)}.")
    gone = {column for name, options in pairs if name in without for column in make_stage(name, options).adds}
    stages = [make_stage(name, _without(name, options, gone)) for name, options in pairs if name not in without]
    _check_order(stages, where)
    return Recipe(Path(where).stem, str(data.get("about", "")), str(data.get("source", "")), tuple(stages))


def _pair(entry: Any, where: str) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, Mapping) and len(entry) == 1:
        name, options = next(iter(entry.items()))
        return str(name), dict(options or {})
    raise ValueError(f"{where}: {entry!r} is no stage. Write `- probe`, or `- cut: {{min_frames: 16}}`.")


def _change(pairs: list[tuple[str, dict[str, Any]]], change: str) -> None:
    target, equals, value = change.partition("=")
    stage, dot, option = target.partition(".")
    chosen = [options for name, options in pairs if name == stage]
    if not (equals and dot):
        raise ValueError(f"--set {change!r} is not STAGE.OPTION=VALUE. Try --set cut.min_frames=16")
    if not chosen:
        raise ValueError(f"--set {change}: the recipe has no stage {stage!r}. {nearest(stage, [n for n, _ in pairs])}")
    for options in chosen:
        options[option] = yaml.safe_load(value)


def _without(name: str, options: dict[str, Any], gone: set[str]) -> dict[str, Any]:
    """The options of a stage after other stages were left out: rules that read their columns cannot be kept."""
    if name != "select" or not gone:
        return options
    from flipbook.data.curation.expression import columns_of

    return options | {"keep_if": [rule for rule in options.get("keep_if", []) if not columns_of(rule) & gone]}


def _check_order(stages: Sequence[Stage], where: str) -> None:
    there = set(FIRST_COLUMNS)
    for stage in stages:
        missing = [column for column in stage.reads() if column not in there]
        if missing:
            raise ValueError(
                f"{where}: stage {stage.name} reads {', '.join(missing)}, which no stage before it adds. "
                f"Columns there: {', '.join(sorted(there))}."
            )
        there |= set(stage.adds)
