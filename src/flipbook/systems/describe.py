"""What a system is, as plain data: its card, stages, parts, inserts and cascade, and what was measured of it.

Read off the system's own file, so nothing is said twice: sizes are those of its published config, counted without making a weight.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

from flipbook.hints import nearest
from flipbook.systems import SYSTEMS

HERE = Path(__file__).parent
PARITY, DEMOS = HERE / "parity.json", HERE / "demos.json"
"""Written by `scripts/parity` and `scripts/gallery`."""


def module_of(name: str) -> Any:
    """The file of a system. Raises ValueError for an unknown one, naming the nearest."""
    if name not in SYSTEMS:
        raise ValueError(f"system {name!r} is not known. {nearest(name, SYSTEMS)}")
    return importlib.import_module(SYSTEMS[name])


def summary(name: str) -> dict[str, Any]:
    """One line of `flipbook systems`: name, title, arXiv id and year (None where it is nobody's paper), parts, parity, demo."""
    module = module_of(name)
    card = getattr(module, "CARD", None)
    return {
        "name": name, "title": card.title if card else first_line(module), "arxiv": card.arxiv if card else None, "year": card.year if card else None,
        "parts": parts_in_words(_built(name)), "parity": parity(name), "demo": demo_result(name),
    }  # fmt: skip


def explanation(name: str) -> dict[str, Any]:
    """All of it: the summary, with what is reproduced and left out, stages, parts with their sizes, inserts, cascade, citation."""
    module = module_of(name)
    card = getattr(module, "CARD", None)
    return {
        **summary(name), "about": about(module), "authors": card.authors if card else None,
        "reproduces": list(card.reproduces) if card else [], "leaves_out": list(card.leaves_out) if card else [],
        "networks": list(get_args(module.Kind)) if hasattr(module, "Kind") else [],
        "stages": [stage_row(stage) for stage in getattr(module, "STAGES", ())],
        "sizes": sizes(name), "inserts": [insert_row(row) for row in inserts(_published(name))],
        "cascade": [cascade_row(stage) for stage in module.cascade().stages] if hasattr(module, "cascade") else [],
        "defaults": _built(name).defaults, "citation": card.citation if card else None,
    }  # fmt: skip


def about(module: Any) -> str:
    """What the file says of itself, as paragraphs of one line each."""
    return "\n\n".join(" ".join(part.split()) for part in (module.__doc__ or "").strip().split("\n\n"))


def first_line(module: Any) -> str:
    return about(module).split("\n")[0]


@cache
def _built(name: str) -> Any:
    """The tiny variant; its weights are of any value."""
    from flipbook.interop.folder import unfilled

    module = module_of(name)
    with unfilled():
        return module.build(module.TINY)


@cache
def _published(name: str) -> Any:
    """The system at its published size, on a device that holds no weight."""
    import torch

    module = module_of(name)
    with torch.device("meta"):
        return module.build(type(module.TINY)())


def inserts(system: Any) -> tuple[Any, ...]:
    """The rows of the denoiser's table; none for a network that is no U-Net."""
    return getattr(getattr(system.denoiser.config, "inserts", None), "rows", ())


def parts_in_words(system: Any) -> list[str]:
    """Inserts by name, or the denoiser's class where it has none; then the classes of the other networks."""
    rows = list(dict.fromkeys(row.name.replace("_", " ") for row in inserts(system)))
    return [*(rows or [type(system.denoiser).__name__]), *(type(net).__name__ for part, net in system.parts.items() if part != "denoiser")]


def stage_row(stage: Any) -> dict[str, Any]:
    """A stage of training in plain data."""
    return {
        "name": stage.name, "trains": list(stage.trains), "parts": list(stage.parts), "data": stage.data, "objective": stage.objective,
        "options": {key: list(value) if isinstance(value, tuple) else value for key, value in stage.options.items()},
    }  # fmt: skip


def insert_row(row: Any) -> dict[str, Any]:
    """A row of a table of inserts in plain data; `how` holds the fields that differ from the kind's own defaults."""
    kind = row.kind
    changed = {
        field.name: _short(getattr(kind, field.name)) for field in fields(kind)
        if field.name != "kind" and getattr(kind, field.name) != (field.default if not callable(field.default_factory) else field.default_factory())
    } if is_dataclass(kind) else {}  # fmt: skip
    return {
        "name": row.name, "at": row.at, "kind": type(kind).__name__, "how": changed, "mix": row.mix, "stills": row.bypass,
        "stages": list(row.stages), "levels": None if row.levels is None else list(row.levels),
    }  # fmt: skip


def _short(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {key: one for key, one in asdict(value).items() if one not in (None, (), False)}
    return list(value) if isinstance(value, tuple) else value


def cascade_row(stage: Any) -> dict[str, Any]:
    """A stage of a cascade in plain data."""
    return {key: getattr(stage, key) for key in ("name", "makes", "model", "num_frames", "fps", "height", "width", "level", "strength")}


def sizes(name: str) -> list[dict[str, Any]]:
    """Part, class and parameters at the published size, and of the tiny variant."""
    count = lambda net: sum(p.numel() for p in net.parameters())
    tiny = _built(name).parts
    return [{"part": part, "class": type(net).__name__, "parameters": count(net), "tiny": count(tiny[part])} for part, net in _published(name).parts.items()]


# ---------------------------------------------------------------- what was measured


def parity(name: str) -> dict[str, Any] | None:
    """The largest difference from the reference that the parity table has for a system, with its bound; None without a row."""
    rows = [row for row in _read(PARITY).get("rows", []) if row["system"] == name]
    if not rows:
        return None
    worst = max(rows, key=lambda row: row["difference"] / row["bound"])
    return {"rows": len(rows), **{key: worst[key] for key in ("layout", "component", "difference", "bound")}}


def demo_result(name: str) -> dict[str, Any] | None:
    """What the gallery's run measured of the demonstration: seconds of training, and the measured quantities; None without a run."""
    found: dict[str, Any] | None = _read(DEMOS).get("systems", {}).get(name)
    return found


@cache
def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value
