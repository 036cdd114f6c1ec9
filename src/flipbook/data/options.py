"""What a recipe says of a folder or table of clips, and which of its rows train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flipbook.data.clips import Clip
from flipbook.data.layouts import Layout
from flipbook.data.seeds import derive_seed
from flipbook.data.survey.facts import Check
from flipbook.hints import nearest

Side = Literal["train", "val", "both", ""]


class FolderOptions(BaseModel):
    """`{folder: PATH, ...}` of a recipe. `folder` may also be a table, a shard or an array."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    layout: Layout | None = None  # None: seen from what is there
    columns: dict[str, str] = {}  # role to column, where a table's names are not understood: {caption: long_text}
    fold: int = Field(1, ge=1, le=3)  # which split lists of UCF-101
    split: str = "train"  # rows of this split, and rows that name none; "all" = every row
    val_share: float = Field(0.0, ge=0, lt=1)  # where no row says split "val": this share of sources is held back
    filter: str | None = None  # only files whose name contains this
    caption_filter: str | None = None  # only clips of which a caption contains this
    check: Check = "open"  # before training, decode the first and last frame of each file; "decode": every frame
    time_limit: float = Field(30.0, gt=0)  # seconds that looking at one file may take
    fps: float | None = Field(None, gt=0)  # show clips at this rate, by time; None: their frames as they are
    stride: int = Field(1, ge=1)  # frames of the file (or at `fps`) per frame of the clip
    index_fps: float | None = Field(None, gt=0)  # the rate the network is told, instead of the row's or the file's
    max_upscale: float | None = Field(None, ge=1)  # leave out clips that would be enlarged more than this
    crop: Literal["random", "centre"] = "random"
    min_scale: float = Field(1.0, gt=0, le=1)  # random crops are between this share of the largest one and all of it
    flip: bool = False  # mirror half of the clips; wrong for captions that say left or right
    also: dict[str, tuple[str, ...]] = {}  # {words: sentences}: true of clips whose caption contains the words ("": of all); told half of the time
    memory_mb: float = Field(1024, ge=0)  # decoded frames are kept up to this, in each worker process

    @staticmethod
    def parse(options: Mapping[str, Any], where: str) -> FolderOptions:
        """Raises ValueError naming the entry and key."""
        try:
            return FolderOptions.model_validate(options)
        except ValidationError as error:
            raise ValueError(f"{where}: {' '.join(_explain(problem) for problem in error.errors())}") from None


def _explain(problem: Any) -> str:
    key = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key. {nearest(key, ('weight', *FolderOptions.model_fields))}"
    return f"{key}: {problem['msg']} (got {problem['input']!r})."


def asked_for(clip: Clip, options: FolderOptions) -> bool:
    """Whether a clip passes the filters on its name and captions."""
    named = options.filter is None or options.filter in clip.name
    return named and (options.caption_filter is None or any(options.caption_filter in caption for caption in clip.captions))


def sides(clips: Sequence[Clip], options: FolderOptions) -> list[Side]:
    """Whether each clip trains, validates, both, or neither. Rows of one group stay together."""
    says_val = any(clip.split == "val" for clip in clips)
    lots = {} if says_val else {group: derive_seed(group, 0) / 2**62 for group in {clip.group for clip in clips}}
    held = {group for group, lot in lots.items() if lot < options.val_share}
    if held == set(lots):
        held = set()
    found: list[Side] = []
    for clip in clips:
        validates = clip.split == "val" if says_val else clip.group in held
        trains = options.split in ("all", clip.split) or (clip.split is None and not validates)
        found.append(("both" if trains else "val") if validates else "train" if trains else "")
    return found
