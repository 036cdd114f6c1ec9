"""Restorers by name, and chains of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from flipbook.footage import find_cuts
from flipbook.hints import nearest
from flipbook.video import Video

from .colour import match_colour
from .deblur import deblur, sharpen
from .deflicker import deflicker
from .denoise import denoise, denoise_spatial
from .hold import hold_colour
from .interpolate import cuts_after, interpolate
from .levels import auto_levels, equalise, levels

Restorer = Callable[..., Video]
Step = str | tuple[str, Mapping[str, Any]]

RESTORERS: dict[str, Restorer] = {
    "denoise": denoise,
    "denoise-spatial": denoise_spatial,
    "deflicker": deflicker,
    "hold-colour": hold_colour,
    "match-colour": match_colour,
    "deblur": deblur,
    "sharpen": sharpen,
    "levels": levels,
    "auto-levels": auto_levels,
    "equalise": equalise,
    "interpolate": interpolate,
}

ORDER = tuple(RESTORERS)
"""The order that serves best: noise before everything that would amplify it, new frames last."""


def restore(video: Video, steps: Sequence[Step], *, cuts: Sequence[int] | None = None) -> Video:
    """Run restorers one after the other, in the order given. `ORDER` is the one that serves best.

    steps: names of `RESTORERS`, or pairs of a name and its options: `["denoise", ("interpolate", {"factor": 3})]`.
    cuts:  first frames of new shots; None: found once, before anything is changed.
    Rate (but for `interpolate`), sound and recipe stay; a recipe gains the entry "restored" with the steps, so that a replay
    does not pass the file off as what the model made.
    Raises ValueError for an unknown name or option, before any work is done.
    """
    plan = _plan(steps)
    for name, options in plan:
        check_step(name, options)
    found = find_cuts(video.frames) if cuts is None else list(cuts)
    for name, options in plan:
        video = RESTORERS[name](video, cuts=found, **options)
        found = cuts_behind([(name, options)], found)
    if video.recipe is None or not plan:
        return video
    done = [*video.recipe.get("restored", []), *({"name": name} | told(options) for name, options in plan)]
    return replace(video, recipe=video.recipe | {"restored": done})


def cuts_behind(steps: Sequence[Step], cuts: Sequence[int]) -> list[int]:
    """The first frames of new shots once these steps are done: frames that come between others move them."""
    for name, options in _plan(steps):
        if name == "interpolate":
            cuts = cuts_after(cuts, options.get("factor", 2))
    return list(cuts)


def _plan(steps: Sequence[Step]) -> list[tuple[str, dict[str, Any]]]:
    return [(step, {}) if isinstance(step, str) else (step[0], dict(step[1])) for step in steps]


def check_step(name: str, options: Mapping[str, Any]) -> None:
    if name not in RESTORERS:
        raise ValueError(f"no restorer is called {name!r}. {nearest(name, RESTORERS)}")
    known = [option for option in inspect.signature(RESTORERS[name]).parameters if option not in ("video", "cuts")]
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}. {nearest(option, known)}")


def told(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a recipe can hold them."""
    return {key: value if isinstance(value, int | float | str) else "given" for key, value in options.items()}
