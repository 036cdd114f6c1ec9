"""What a stage is: options as data, and one pure function from a clip, or from all clips, to columns."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from flipbook.data.curation.frames import Look
from flipbook.data.curation.ledger import Row
from flipbook.hints import nearest


class Stage(BaseModel):
    """Options of one stage, validated. Subclasses say what they read and what they add."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()      # columns that a stage before must have added
    adds: ClassVar[tuple[str, ...]] = ()
    alone: ClassVar[bool] = False              # a pass of its own: it divides clips, or holds a model

    def reads(self) -> tuple[str, ...]:
        """Columns that must be there, with these options."""
        return self.needs

    def ready(self) -> None:
        """Raises ValueError or ImportError if something that the stage cannot do without is missing."""


class EachClip(Stage):
    """A stage that looks at one clip at a time."""

    def run(self, row: Row, look: Look) -> Row | list[Row]:
        """New columns for the clip, or a list of them if it falls into several. Depends on nothing else."""
        raise NotImplementedError

    def lasts(self, row: Row) -> bool:
        """Whether a later run may take over what was found for `row`; not if something failed that may pass."""
        return True


class AllClips(Stage):
    """A stage that compares clips: percentiles, duplicates, splits."""

    def run(self, rows: list[Row], output: Path) -> list[Row]:
        """All rows, dropped ones included, in the same order, with new columns. Files it makes go below `output`."""
        raise NotImplementedError


STAGES: dict[str, str] = {
    "probe": "probe:Probe",
    "cut": "cut:Cut",
    "motion": "motion:Motion",
    "still": "still:Still",
    "slideshow": "still:Slideshow",
    "text": "overlay:Text",
    "picture": "picture:Picture",
    "world_truth": "worldtruth:WorldTruth",
    "caption_check": "captions:CaptionCheck",
    "clip": "clip:Clip",
    "aesthetic": "clip:Aesthetic",
    "detect": "content:Detect",
    "segment": "content:Segment",
    "pose": "content:Pose",
    "caption": "caption:Caption",
    "rewrite": "caption:Rewrite",
    "hash": "hashes:Hash",
    "dedup": "dedup:Dedup",
    "select": "select:Select",
    "split": "split:Split",
    "pack": "pack:Pack",
}
"""Stage name -> module:class under `flipbook.data.curation`; imported when a recipe names it."""


def make_stage(name: str, options: Mapping[str, Any]) -> Stage:
    """A stage by its name. Raises ValueError naming the stage and the option."""
    cls = stage_class(name)
    try:
        return cls.model_validate(dict(options))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        known = ", ".join(cls.model_fields) or "none"
        raise ValueError(f"stage {name}: {problems}. Options of {name}: {known}.") from None


def stage_class(name: str) -> type[Stage]:
    """The class behind a name. Raises ValueError with the nearest one."""
    if name not in STAGES:
        raise ValueError(f"there is no stage {name!r}. {nearest(name, STAGES)}")
    module, _, kind = STAGES[name].partition(":")
    cls: type[Stage] = getattr(importlib.import_module(f"flipbook.data.curation.{module}"), kind)
    return cls


def describe(stage: Stage) -> str:
    """The first sentence of what the stage says about itself."""
    return " ".join((type(stage).__doc__ or "").split("\n\n")[0].split())
