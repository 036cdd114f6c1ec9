"""Stage `pack`: the kept clips as a folder that `flipbook train` reads, or as webdataset shards."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from flipbook.data.curation.ledger import Row, dumps, is_kept
from flipbook.data.curation.stage import AllClips
from flipbook.files.temporary import written_whole
from flipbook.video import Video

COLUMNS = (
    "clip_id", "caption", "caption_by", "split", "source", "start_s", "end_s", "motion_p50", "motion_camera",
    "motion_object", "text_area", "aesthetic", "clip_sim",
)  # fmt: skip
"""Columns that go with a clip, where the ledger has them."""


class Pack(AllClips):
    """Write the kept clips: one mp4 each with `metadata.jsonl`, or tar shards with ID.mp4, ID.txt and ID.json.

    folder: below the output.   form: "folder" or "shards".   per_shard: clips in a shard.   short_side: shrink to it.
    quality: as in `Video.write`; "lossless" keeps every bit.   Odd sizes lose their last row or column.
    """

    name: ClassVar[str] = "pack"
    needs: ClassVar[tuple[str, ...]] = ("start_frame", "frames")
    adds: ClassVar[tuple[str, ...]] = ("file_name",)

    folder: str = Field("clips", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    form: Literal["folder", "shards"] = "folder"
    per_shard: int = Field(1000, ge=1)
    short_side: int | None = Field(None, ge=16)
    quality: Literal["high", "medium", "small", "lossless"] = "high"

    def run(self, rows: list[Row], output: Path) -> list[Row]:
        place = output / self.folder
        place.mkdir(parents=True, exist_ok=True)
        kept = [row for row in rows if is_kept(row)]
        names = self._folder(kept, place) if self.form == "folder" else self._shards(kept, place)
        expected = {*names.values(), "metadata.jsonl"}
        for path in place.iterdir():                           # what an earlier run with other rules left behind
            if path.name not in expected and path.suffix in (".mp4", ".tar", ".jsonl"):
                path.unlink()
        return [{**row, "file_name": f"{self.folder}/{names[row['clip_id']]}"} if is_kept(row) else row for row in rows]

    def _folder(self, rows: list[Row], place: Path) -> dict[str, str]:
        names = {}
        for row in rows:
            path = place / f"{row['clip_id']}-{row['frames']}.mp4"
            if not path.exists():                              # files appear whole, so one that is there is right
                self._write(row, path)
            names[row["clip_id"]] = path.name
        lines = [dumps(describe(row) | {"file_name": names[row["clip_id"]]}) + "\n" for row in rows]
        with written_whole(place / "metadata.jsonl") as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")
        return names

    def _shards(self, rows: list[Row], place: Path) -> dict[str, str]:
        names = {}
        for number, first in enumerate(range(0, len(rows), self.per_shard)):
            name = f"{number:05d}.tar"
            with written_whole(place / name) as temporary, tarfile.open(temporary, "w") as tar:
                for row in rows[first : first + self.per_shard]:
                    self._add(tar, row, place)
                    names[row["clip_id"]] = name
        return names

    def _add(self, tar: tarfile.TarFile, row: Row, place: Path) -> None:
        video = place / f".{row['clip_id']}.mp4"
        self._write(row, video)
        parts = {"mp4": video.read_bytes(), "txt": row["caption"].encode(), "json": json.dumps(describe(row)).encode()}
        video.unlink()
        for suffix, data in parts.items():
            entry = tarfile.TarInfo(f"{row['clip_id']}.{suffix}")  # times and owners stay 0: same clips, same bytes
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))

    def _write(self, row: Row, path: Path) -> None:
        size: dict[str, Any] = {}
        if self.short_side and min(row["height"], row["width"]) > self.short_side:
            size = {"height" if row["height"] <= row["width"] else "width": self.short_side}
        clip = Video.read(row["path"], start_frame=row["start_frame"], num_frames=row["frames"], **size)
        if self.quality == "lossless":
            clip.write(path, lossless=True, sidecar=False)
        else:
            clip.write(path, quality=self.quality, odd="crop", sidecar=False)


def describe(row: Row) -> Row:
    """What goes with a packed clip."""
    facts = {name: row[name] for name in COLUMNS if row.get(name) is not None}
    return facts | {"fps": row["fps"], "num_frames": row["frames"], "caption": row.get("caption") or ""}
