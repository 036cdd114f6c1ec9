"""What a comparison may change: keys by their short names, values by the names of the literature."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, Literal

from flipbook.hints import nearest
from flipbook.training.recipe import Recipe

Where = Literal["recipe", "settings"]

SETTINGS = (
    "num_frames", "fps", "height", "width", "sampler", "num_inference_steps", "guidance_scale", "guidance_interval", "guidance_rescale", "step_cache",
    "best_of", "dtype",
)  # fmt: skip
"""What `generate` may be told of how a video is made."""


def find_key(key: str, recipe: Mapping[str, Any] | None) -> tuple[Where, str]:
    """Where a key belongs and how it is called there in full.

    A recipe's own dotted keys come first, then settings of generation (always, as `settings.KEY`), then fields of the system's config by
    their names alone: `inserts` is `system_config.inserts` or `system_config.denoiser.inserts`, as the system has it.
    recipe: as plain data; None: nothing is trained, so settings are all there is.
    Raises ValueError, with the nearest key, for anything else.
    """
    head, _, rest = key.partition(".")
    if head == "settings" and rest in SETTINGS:
        return "settings", rest
    if recipe is not None and head in Recipe.model_fields and head != "output":
        return "recipe", key
    if key in SETTINGS:
        return "settings", key
    found = sorted(_paths(str(recipe["system"]), key), key=lambda path: path.count(".")) if recipe and recipe.get("system") else []
    if found and (len(found) == 1 or found[0].count(".") < found[1].count(".")):
        return "recipe", f"system_config.{found[0]}"
    if found:
        raise ValueError(f"{key!r} may be {' or '.join(f'system_config.{path}' for path in found)}. Write it in full.")
    known = [*SETTINGS, *(sorted(Recipe.model_fields.keys() - {"output"}) if recipe is not None else ())]
    what = "a recipe's key, a field of the system's config or a setting of generation" if recipe is not None else "a setting of generation"
    raise ValueError(f"{key!r} is not {what}. {nearest(rest if head == 'settings' else key, known)}")


def find_value(key: str, value: Any) -> Any:
    """A value by its name, where the values of this key have names: `inserts: vdm`. Raises ValueError naming the nearest."""
    last = key.rpartition(".")[2]
    if last not in NAMED or not isinstance(value, str):
        return value
    values = NAMED[last]()
    if value not in values:
        raise ValueError(f"{key}={value!r}: no {last} are called so. {nearest(value, values)}")
    return values[value]


def _inserts() -> dict[str, Any]:
    from flipbook.denoisers.unet_tables import TABLES

    return {"none": [], **{name: json.loads(json.dumps(asdict(table)))["rows"] for name, table in TABLES.items()}}


NAMED: dict[str, Callable[[], dict[str, Any]]] = {"inserts": _inserts}
"""The last part of a key to the named values it may have."""


def _paths(system: str, key: str) -> list[str]:
    """The fields of a system's config, as dotted paths, that are `key` or end with it."""
    import importlib

    from flipbook.systems import SYSTEMS

    if system not in SYSTEMS:
        raise ValueError(f"system {system!r} is not known. {nearest(system, SYSTEMS)}")
    config = type(importlib.import_module(SYSTEMS[system]).TINY)()
    return [path for path in _walk(config) if path == key or path.endswith(f".{key}")]


def _walk(config: Any, before: str = "") -> Iterator[str]:
    for field in fields(config):
        yield f"{before}{field.name}"
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from _walk(value, f"{before}{field.name}.")
