"""The first rows of the ledger: every clip that folders, tables and files name, in any layout that is known."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from flipbook.data.clips import Clip
from flipbook.data.curation.ledger import Row, drop
from flipbook.data.layouts import list_clips


def gather(inputs: Sequence[Path]) -> list[Row]:
    """One row per file, or per window that a table names, in order of path and start; see `list_clips` for layouts.

    What a table names and is not there is a dropped row. Raises ValueError if there is nothing to curate.
    """
    rows: list[Row] = []
    for place in inputs:
        home = place if place.is_dir() else place.parent
        listing = list_clips(place)
        rows += [first_row(clip, home) for clip in listing.clips]
        for gone in listing.dropped:
            source = str(gone.name)
            told = drop("gather", gone.rule, f"{gone.where}: {gone.reason}")
            rows.append({"source": source, "path": source, "caption": "", "clip_id": clip_id(source, 0), **told})
    if not rows:
        raise ValueError("nothing to curate: give videos, or folders with videos.")
    return sorted(rows, key=lambda row: (row["path"], row.get("start_frame", 0), row["clip_id"]))


def first_row(clip: Clip, home: Path) -> Row:
    """What is known of a clip before it is opened; `source` is its file as seen from the input folder."""
    path = Path(clip.media.path)
    source = path.relative_to(home).as_posix() if path.is_relative_to(home) else path.as_posix()
    row: Row = {
        "source": source, "path": str(path), "caption": clip.captions[0] if clip.captions else "",
        "caption_by": "file" if clip.captions else None, "clip_id": clip_id(source, clip.start_frame),
    }  # fmt: skip
    if clip.split:
        row["given_split"] = clip.split
    if clip.media.kind != "file":
        return row | drop("gather", "inside an archive", f"{clip.media}: curation cuts files. Unpack the archive first.")
    if clip.num_frames is not None or clip.start_frame:
        row |= {"start_frame": clip.start_frame, "frames": clip.num_frames}
    if clip.start is not None or clip.end is not None:
        row |= {"start_s": clip.start or 0.0, "end_s": clip.end, "clip_id": clip_id(source, round(1000 * (clip.start or 0)))}
    try:
        status = path.stat()
    except OSError as error:
        return row | drop("gather", "file is missing", f"{path}: {error.strerror}")
    return row | {"bytes": status.st_size, "changed_ns": status.st_mtime_ns}


def clip_id(source: str, start: int) -> str:
    """A name for files that says where the clip is from, and that no other clip has."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", source.rsplit(".", 1)[0]).strip("-")[-48:] or "clip"
    return f"{words}-{hashlib.blake2b(source.encode(), digest_size=3).hexdigest()}-{start:06d}"
