"""Systems: one file per published composition, found here by name and imported when it is asked for.

A system's file has a frozen config, `TINY` (the variant that tests use) and `build(config) -> System`.
"""

from __future__ import annotations

import importlib
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flipbook.hints import nearest

if TYPE_CHECKING:
    from flipbook.long.cascade import Cascade
    from flipbook.systems.base import Stage, System

SYSTEMS: dict[str, str] = {
    "thumb": "flipbook.systems.thumb",
    "bench": "flipbook.systems.bench",
    "stable-diffusion": "flipbook.systems.stable_diffusion",
    "animatediff": "flipbook.systems.animatediff",
    "modelscope": "flipbook.systems.modelscope",
    "svd": "flipbook.systems.svd",
    "opensora": "flipbook.systems.opensora",
    "videocrafter": "flipbook.systems.videocrafter",
    "gentron": "flipbook.systems.gentron",
    "imagen-video": "flipbook.systems.imagen_video",
    "latte": "flipbook.systems.latte",
    "lavie": "flipbook.systems.lavie",
    "lvdm": "flipbook.systems.lvdm",
    "magicvideo": "flipbook.systems.magicvideo",
    "make-a-video": "flipbook.systems.make_a_video",
    "show1": "flipbook.systems.show1",
    "causvid": "flipbook.systems.causvid",
    "self-forcing": "flipbook.systems.self_forcing",
    "next-frame": "flipbook.systems.next_frame",
    "convlstm": "flipbook.systems.convlstm",
    "tcn": "flipbook.systems.tcn",
    "digan": "flipbook.systems.digan",
    "vdm": "flipbook.systems.vdm",
    "videogpt": "flipbook.systems.videogpt",
    "videoldm": "flipbook.systems.videoldm",
    "walt": "flipbook.systems.walt",
    "wan": "flipbook.systems.wan",
}
"""Name to the module that builds it."""


def build(name: str, *, tiny: bool = False, **changes: Any) -> System:
    """A system with fresh weights. `changes` are fields of its config, nested ones as dicts: `denoiser={"depth": 4}`.

    tiny: start from the system's `TINY` config instead of the full one.
    Raises ValueError for an unknown system or field, naming the nearest.
    """
    if name not in SYSTEMS:
        raise ValueError(f"system {name!r} is not known. {nearest(name, SYSTEMS)}")
    module = importlib.import_module(SYSTEMS[name])
    return module.build(changed(module.TINY if tiny else type(module.TINY)(), changes))


def cascade(name: str) -> Cascade:
    """A system's own cascade as data, at its published size; its stages' `model`s are to be replaced by model folders or files.

    Raises ValueError for a system that has none, naming those that have.
    """
    module: Any = importlib.import_module(SYSTEMS[name]) if name in SYSTEMS else None
    if not hasattr(module, "cascade"):
        others = [other for other in SYSTEMS if hasattr(importlib.import_module(SYSTEMS[other]), "cascade")]
        raise ValueError(f"system {name!r} has no cascade. Those that have: {', '.join(others)}.")
    made: Cascade = module.cascade()
    return made


def stage(method: str, name: str) -> Stage:
    """A stage of a system's training, as its file has it.

    Raises ValueError for one that it has not, naming those it has.
    """
    stages: dict[str, Stage] = {one.name: one for one in getattr(importlib.import_module(SYSTEMS[method]), "STAGES", ())} if method in SYSTEMS else {}
    if name not in stages:
        has = f"Its stages: {', '.join(stages)}." if stages else "It has none; name an objective, such as {name: denoising}."
        raise ValueError(f"system {method!r} has no stage {name!r} of training. {has}")
    return stages[name]


def load(name_or_folder: str | Path) -> System:
    """A trained system: a name that is shipped with the package, or a model folder. See `flipbook.interop.folder`."""
    from flipbook.interop.folder import from_pretrained, model_folder

    return from_pretrained(model_folder(name_or_folder))


def changed(config: Any, changes: dict[str, Any], where: str = "") -> Any:
    """A frozen config with some fields replaced, level by level. Raises ValueError for a field that is not there."""
    known = {f.name for f in fields(config)}
    values = {}
    for key, value in changes.items():
        if key not in known:
            raise ValueError(f"{type(config).__name__} has no field {where}{key}. {nearest(key, known)}")
        old = getattr(config, key)
        values[key] = changed(old, value, f"{where}{key}.") if is_dataclass(old) and isinstance(value, dict) else value
    return replace(config, **values)
