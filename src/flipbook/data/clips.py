"""What a layout says of a clip before anybody opens it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["file", "array", "tar", "cell"]


@dataclass(frozen=True, slots=True)
class Media:
    """Where a clip's pixels lie.

    kind "file": a video, an image, or a folder of frames at `path`.   "array": sequence `start` of an npy file.
    "tar": `length` bytes from byte `start` of a tar file, called `part` there.   "cell": row `start` of the parquet
    column `part`.
    """

    path: str
    kind: Kind = "file"
    part: str = ""
    start: int = 0
    length: int = 0

    def __str__(self) -> str:
        inside = {"file": "", "array": f"[{self.start}]", "tar": f":{self.part}", "cell": f":{self.part}[{self.start}]"}
        return self.path + inside[self.kind]


@dataclass(frozen=True, slots=True)
class Declared:
    """What a table claims about a file: believed only where nobody opens it."""

    num_frames: int | None = None
    fps: float | None = None
    height: int | None = None
    width: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Clip:
    """One row: a file, or a window of it, in frames [start_frame, start_frame + num_frames) or in seconds [start, end).

    name: as the layout spells it.   where: the row's place, for messages.   group: clips of one group are never split
    between training and validation (the source video, as a rule).   rival, preference: the other picture of a pair,
    and how much `media` was preferred to it: 1, 0, or 0.5 for a tie.
    """

    media: Media
    name: str
    where: str
    captions: tuple[str, ...] = ()
    start_frame: int = 0
    num_frames: int | None = None
    start: float | None = None
    end: float | None = None
    fps: float | None = None
    split: str | None = None
    group: str = ""
    declared: Declared = Declared()
    rival: Media | None = None
    preference: float | None = None


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row or file that is no clip, by the name of the rule that says so."""

    name: str
    where: str
    rule: str
    reason: str


@dataclass
class Listing:
    """All that a folder or table names. `layout`: how it was read.   `notes`: what a person should know about that."""

    layout: str
    clips: list[Clip] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
