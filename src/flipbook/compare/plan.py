"""What is compared: one factor, its arms, and what they all share. A small YAML file, or a command line.

    name: attention or convolution          recipe: my.yaml      # or the recipe itself; or  model: thumb  to train nothing
    vary: inserts                           arms: [none, vdm, modelscope]
    repeats: 3                              steps: 200           # or minutes: 2
    prompts: {seen: 40}                     scores: [validation, motion, identity, seconds]
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from flipbook.compare.factors import find_key, find_value
from flipbook.compare.scores import SCORES, score_named
from flipbook.hints import nearest
from flipbook.training.recipe import Count, Interval, Recipe, parse_recipe, read_tree, set_key

TRAINED_SCORES = ("validation", "colour", "shape", "motion", "all", "identity", "local flicker", "seconds", "parameters")
MADE_SCORES = ("colour", "shape", "motion", "all", "identity", "local flicker", "seconds")


class Comparison(BaseModel):
    """recipe: a training recipe, as a path or in place: arms are trained.   model: a name or folder: arms generate, and that is all.
    before:   keys of a recipe that is trained once, ahead of all; every arm begins with its weights, wherever names and shapes agree.
    vary:     the factor's key, see `factors.find_key`.   arms: its values, or name to value; without `vary`, name to {key: value}.
    repeats:  how often everything is done, each time with another seed, the same for all arms.
    steps, minutes: updates, or minutes on the clock, of each training; neither: as the recipe says.
    prompts:  prompts per group of `flipbook evaluate`, or sentences; `videos` of each sentence.
    settings: of generation, for all arms.   scores: see `scores.SCORES`.   shown: prompts that sheets and page show side by side.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "comparison"
    recipe: dict[str, Any] | str | None = None
    model: str | None = None
    before: dict[str, Any] | None = None
    vary: str | None = None
    arms: dict[str, Any] | list[Any] = Field(min_length=2)
    repeats: Count = 3
    steps: Count | None = None
    minutes: Annotated[float, Field(gt=0)] | None = None
    prompts: dict[str, Interval] | list[str] = {"seen": 24}
    videos: Count = 1
    settings: dict[str, Any] = {}
    scores: list[str] = []
    shown: Interval = 4
    batch_size: Count = 8
    seed: int = 0

    @model_validator(mode="after")
    def _fits_together(self) -> Comparison:
        if (self.recipe is None) == (self.model is None):
            raise ValueError("a comparison needs either `recipe`, to train every arm, or `model`, to generate only")
        if self.recipe is None and (self.steps or self.minutes or self.before):
            raise ValueError("steps, minutes and before are about training, and a comparison of a `model` trains nothing")
        if self.steps and self.minutes:
            raise ValueError("steps and minutes are both given: keep one of them")
        if self.vary is None and not (isinstance(self.arms, dict) and all(isinstance(sets, dict | None) for sets in self.arms.values())):
            raise ValueError("without `vary`, every arm says what it sets: {name: {key: value}}")
        return self


@dataclass(frozen=True)
class Arm:
    """One arm. sets: its own keys and values, in full.   recipe: None where nothing is trained.   settings: of generation."""

    name: str
    sets: dict[str, Any]
    recipe: Recipe | None
    settings: dict[str, Any]

    @property
    def folder(self) -> str:
        """Its name as the name of a folder."""
        return re.sub(r"[^\w.+-]+", "-", self.name).strip("-.") or "arm"


@dataclass(frozen=True)
class Plan:
    """A comparison with its arms worked out. before: the recipe that goes ahead of all, if there is one."""

    comparison: Comparison
    arms: tuple[Arm, ...]
    before: Recipe | None = None
    scores: tuple[str, ...] = field(default=())

    @property
    def trains(self) -> bool:
        return self.arms[0].recipe is not None

    @property
    def arms_train_apart(self) -> bool:
        """Whether any arm's training differs from the first one's; else one training per repeat serves all."""
        return any(arm.recipe != self.arms[0].recipe for arm in self.arms)


def load_comparison(path: str | Path, overrides: Sequence[str] = ()) -> Plan:
    """Read a comparison's file, set `dotted.key=value` overrides in it, and work it out; see `make_plan`."""
    return make_plan(read_tree(path, overrides, "comparison"), str(path))


def make_plan(tree: Mapping[str, Any], origin: str = "comparison") -> Plan:
    """A comparison from plain data. Raises ValueError for whatever of it cannot be run, as far as can be told without building a network."""
    for key in tree:
        if key not in Comparison.model_fields:
            raise ValueError(f"{origin}: {key!r} is no key of a comparison. {nearest(str(key), Comparison.model_fields)}")
    try:
        comparison = Comparison.model_validate(dict(tree))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}".removeprefix(": ") for e in error.errors()]
        raise ValueError("\n  ".join([f"{origin} cannot be run:", *lines])) from None
    base = _base_recipe(comparison)
    shared = {f"settings.{key}": value for key, value in comparison.settings.items()}
    arms = tuple(_arm(name, {**shared, **sets}, sets, base) for name, sets in _sets_of(comparison).items())
    folders = [arm.folder for arm in arms]
    if len(set(folders)) < len(folders):
        raise ValueError(f"two arms of {[arm.name for arm in arms]} would share a folder. Give each a name of its own: {{name: value}}.")
    before = None
    if comparison.before is not None and base is not None:
        if not {"steps", "schedule_minutes"} & comparison.before.keys():
            raise ValueError(f"{origin}: before has no length of its own. Give it steps.")
        before = _recipe({key: copy.deepcopy(value) for key, value in base.items() if key not in ("steps", "schedule_minutes")}, comparison.before, "before")
    scores = tuple(comparison.scores) or (TRAINED_SCORES if base is not None else MADE_SCORES)
    for name in scores:
        if score_named(name).needs_training and base is None:
            raise ValueError(f"score {name!r} is about training, and nothing is trained here. Try some of {', '.join(MADE_SCORES)}.")
    return Plan(comparison, arms, before, scores)


def _base_recipe(comparison: Comparison) -> dict[str, Any] | None:
    """What all arms train by, as plain data: the recipe with the budget, and without what costs time and shows nothing here."""
    if comparison.recipe is None:
        return None
    tree: dict[str, Any] = copy.deepcopy(comparison.recipe) if isinstance(comparison.recipe, dict) else read_tree(str(comparison.recipe), (), "recipe")
    tree["output"] = "."
    checked = tree.setdefault("validation", {})
    checked["every"] = checked.get("every") or 10**9                        # at both ends, whatever else
    tree.setdefault("log", {})["tensorboard"] = False
    tree["samples"] = {"every": 0}
    if comparison.steps:
        tree["steps"] = comparison.steps
        tree.pop("schedule_minutes", None)
    if comparison.minutes:
        tree |= {"schedule_minutes": comparison.minutes, "steps": 10**9}
    return tree


def _sets_of(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Each arm's name to the keys that it sets."""
    key, arms = comparison.vary, comparison.arms
    if key is None:
        assert isinstance(arms, dict)
        return {str(name): dict(sets or {}) for name, sets in arms.items()}
    if isinstance(arms, dict):
        return {str(name): {key: value} for name, value in arms.items()}
    if any(isinstance(value, dict | list) for value in arms):
        raise ValueError(f"arms of {key} that are no single words or numbers need names. Write arms: {{name: value}}.")
    return {str(value): {key: value} for value in arms}


def _arm(name: str, sets: Mapping[str, Any], own: Mapping[str, Any], base: dict[str, Any] | None) -> Arm:
    trained: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    in_full: dict[str, Any] = {}
    for key, value in sets.items():
        where, full = find_key(key, base)
        value = find_value(full, value)
        (trained if where == "recipe" else settings)[full] = value
        if key in own:
            in_full[full if where == "recipe" else f"settings.{full}"] = value
    return Arm(name, in_full, None if base is None else _recipe(copy.deepcopy(base), trained, f"arm {name!r}"), settings)


def _recipe(tree: dict[str, Any], sets: Mapping[str, Any], origin: str) -> Recipe:
    for key, value in sets.items():
        where, full = find_key(key, tree)
        if where != "recipe":
            raise ValueError(f"{origin}: {key!r} is a setting of generation, and this is about training.")
        set_key(tree, full, copy.deepcopy(find_value(full, value)))
    return parse_recipe(tree, origin)


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """What a plan is, in full, for the record and for telling whether a folder holds the results of this one."""
    return {
        "comparison": plan.comparison.model_dump(mode="json"),
        "before": None if plan.before is None else plan.before.model_dump(mode="json"),
        "arms": {
            arm.name: {"recipe": None if arm.recipe is None else arm.recipe.model_dump(mode="json"), "settings": arm.settings, "sets": arm.sets}
            for arm in plan.arms
        },
        "scores": list(plan.scores),
    }


__all__ = ["SCORES", "Arm", "Comparison", "Plan", "load_comparison", "make_plan", "plan_as_json"]
