"""Ask for the fate of every clip of every source, as training would."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from flipbook.data.buckets import Buckets
from flipbook.data.fate import Fate, fates, kept, nothing_left
from flipbook.data.framing import Framing
from flipbook.data.layouts import list_clips
from flipbook.data.options import FolderOptions

if TYPE_CHECKING:
    from flipbook.training.recipe import Recipe

LARGE = 5000  # clips from which on a plan believes the table, unless it is told to open files


@dataclass(frozen=True)
class PlanSource:
    """One source and how its rows fared. `layout`, `notes`: how it was read. `looked`: whether files were opened."""

    options: FolderOptions
    layout: str
    notes: list[str]
    looked: bool
    fates: list[Fate] = field(repr=False)


@dataclass(frozen=True)
class Plan:
    """All sources of a run. `error`: why training would refuse to start, or None. `seconds`: how long the plan took."""

    sources: list[PlanSource]
    framing: Framing
    seconds: float
    error: str | None

    @property
    def fates(self) -> list[Fate]:
        """Of all sources, in order."""
        return [fate for source in self.sources for fate in source.fates]


def make_plan(
    sources: Sequence[FolderOptions],
    framing: Framing,
    buckets: Buckets | None = None,
    *,
    look: Literal["auto", "open", "declared"] = "auto",
    thumbnail: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Plan:
    """The plan of some sources. Nothing is written, nothing is changed.

    look: "open" every file, as training does; "declared" only asks whether it exists and believes its table; "auto" opens
    up to 5,000 clips.   thumbnail: have the facts of opened files hold one.
    Raises ValueError for a source that cannot be read at all; broken files and rows are part of the plan.
    """
    began, planned, error = time.monotonic(), [], None
    for options in sources:
        listing = list_clips(options.folder, options.layout, options.columns, options.fold)
        opens = look == "open" or (look == "auto" and len(listing.clips) <= LARGE)
        found = fates(
            listing, options, framing, buckets, declared=not opens, thumbnail=thumbnail and opens, on_progress=on_progress
        )
        planned.append(PlanSource(options, listing.layout, listing.notes, opens, found))
        if error is None and not kept(found, "train"):
            error = nothing_left(options.folder, found)
    return Plan(planned, framing, time.monotonic() - began, error)


def sources_of_recipe(recipe: Recipe) -> tuple[list[FolderOptions], Framing, Buckets | None]:
    """What `flipbook train` would read of a recipe: its folders, the shape of its samples, its buckets.

    Raises ValueError for a recipe that has no folder: the world needs no plan.
    """
    folders = []
    for number, entry in enumerate(recipe.data):
        if "folder" in entry:
            options = {key: value for key, value in entry.items() if key != "weight"}
            folders.append(FolderOptions.parse(options, f"data.{number}"))
    if not folders:
        raise ValueError("the recipe reads no folder: its clips are drawn on demand, and there is nothing to plan.")
    return folders, recipe.framing(), recipe.buckets
