"""Stage `probe`: is it a video, all of it, and what are its facts?"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from flipbook.data.clips import Media
from flipbook.data.curation.frames import Look
from flipbook.data.curation.ledger import Row, drop
from flipbook.data.curation.stage import EachClip


class Probe(EachClip):
    """Decode every file once, write down its facts, and put aside what is broken, with the reason.

    time_limit: seconds that one file may take; a decoder that hangs or crashes on it is ended, and the file dropped.
    """

    name: ClassVar[str] = "probe"
    alone: ClassVar[bool] = True
    adds: ClassVar[tuple[str, ...]] = (
        "start_frame", "frames", "start_s", "end_s", "fps", "constant_rate", "height", "width", "rotation", "codec",
        "pixel_format", "declared_frames", "sound",
    )  # fmt: skip

    time_limit: float = Field(120.0, gt=0)

    def run(self, row: Row, look: Look) -> Row:
        facts = _facts(row["path"], row["bytes"], row["changed_ns"], self.time_limit)
        if "drop_reason" in facts:
            return dict(facts)
        fps, there = facts["fps"], facts["frames"]
        start, count = row.get("start_frame") or 0, row.get("frames")
        if row.get("start_s") is not None:
            start = round(row["start_s"] * fps)
            count = None if row.get("end_s") is None else round(row["end_s"] * fps) - start
        count = there - start if count is None else count
        if start + count > there or count < 1:
            told = f"the table asks for frames {start} to {start + count - 1}, and the file has {there}"
            return drop(self.name, "window outside the file", told)
        window = {"start_frame": start, "frames": count, "start_s": start / fps, "end_s": (start + count) / fps}
        return {**facts, **window}


@lru_cache(maxsize=4096)
def _facts(path: str, num_bytes: int, changed_ns: int, time_limit: float) -> Row:
    """Facts of a file, or why it is dropped; remembered, because one file may hold many clips."""
    from flipbook.data.survey import Broken, look_at_all

    facts = look_at_all([Media(path)], "decode", time_limit=time_limit, num_helpers=1)[0]
    if isinstance(facts, Broken):
        return drop("probe", facts.rule, facts.reason)
    columns: Row = {
        "frames": facts.num_frames, "fps": facts.fps, "constant_rate": facts.times is None, "height": facts.height,
        "width": facts.width, "codec": facts.codec, **_container_facts(Path(path)),
    }  # fmt: skip
    declared = columns["declared_frames"]
    if declared and facts.num_frames < 0.9 * declared:
        told = f"{path}: the file declares {declared} frames and {facts.num_frames} can be decoded"
        return columns | drop("probe", "frames are missing", told)
    return columns


def _container_facts(path: Path) -> Row:
    """What only a container can say: how it is turned, its pixels, how many frames it declares, whether it has sound."""
    from flipbook.files.container import Container, orientation
    from flipbook.files.read import open_source

    source = open_source(path)
    try:
        if not isinstance(source, Container):
            return {"rotation": 0, "pixel_format": source.pixel_format, "declared_frames": None, "sound": False}
        first = next(source.decode())
        return {
            "rotation": 90 * orientation(first)[0], "pixel_format": first.format.name,
            "declared_frames": source.stream.frames or None, "sound": bool(source.file.streams.audio),
        }  # fmt: skip
    finally:
        source.close()
