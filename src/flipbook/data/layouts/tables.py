"""Tables of clips: csv, tsv, json, jsonl, parquet; of any author, with the files beside them."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flipbook.data.clips import Clip, Declared, Dropped, Listing, Media
from flipbook.data.layouts.columns import resolve
from flipbook.data.layouts.values import BadValue, captions, is_blank, number, seconds, whole
from flipbook.hints import nearest

NAMES = ("metadata.jsonl", "metadata.csv", "metadata.json", "metadata.tsv", "metadata.parquet", "index.jsonl")
SUFFIXES = (".jsonl", ".csv", ".json", ".tsv", ".parquet")
ROOTS = ("", "videos", "video", "clips", "data", "images", "..", "../videos", "../video")
"""Where the files of a table may lie, seen from the table."""
GUESSES = ("", ".mp4", ".webm", ".mkv", ".avi", ".jpg", ".png")
"""Suffixes that tables leave out."""

Record = tuple[dict[str, Any] | None, str, str]
"""A row or None, where it stands, and what is wrong with it."""


def find_table(folder: Path) -> Path | None:
    """The table of a folder: one of the usual names, or the only file that could be one. Raises ValueError for two."""
    for name in NAMES:
        if (folder / name).is_file():
            return folder / name
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    found = [p for p in found if p.suffix.lower() in (".csv", ".tsv", ".jsonl")]
    if len(found) > 1:
        raise ValueError(
            f"{folder}: {', '.join(p.name for p in found)} could all be the table of its clips. Give the path of one, "
            f"or call it {NAMES[0]}."
        )
    return found[0] if found else None


def list_table(table: Path, columns: Mapping[str, str] | None = None) -> Listing:
    """All clips of a table. Raises ValueError for a file that is no table, or columns that do not say which file."""
    records = list(read_records(table))
    names = list(dict.fromkeys(key for record, _, _ in records for key in record or ()))
    if not records:
        raise ValueError(f"{table} lists no clip. Each row names a file and its caption: file_name, caption.")
    if not names:
        raise ValueError(f"{records[0][1]}: {records[0][2]}")
    roles = resolve(names, columns, str(table))
    listing = Listing(layout=f"table ({', '.join(f'{role}={name}' for role, name in roles.items())})")
    firsts = [str(record[roles["file"]]) for record, _, _ in records[:50] if record and record.get(roles["file"])]
    root, suffix = locate(table.parent, firsts)
    if suffix:
        listing.notes.append(f"names are read with the suffix {suffix}")
    if root != table.parent:
        listing.notes.append(f"files are looked for in {root}")
    for record, where, problem in records:
        if record is None:
            listing.dropped.append(Dropped("", where, "bad row", problem))
            continue
        try:
            listing.clips.append(clip_of(record, roles, root, suffix, where))
        except BadValue as error:
            listing.dropped.append(Dropped(str(record.get(roles["file"]) or ""), where, "bad row", str(error)))
    return listing


def clip_of(record: Mapping[str, Any], roles: Mapping[str, str], root: Path, suffix: str, where: str) -> Clip:
    """One row as a clip. Raises BadValue."""

    def of(role: str) -> Any:
        return record.get(roles[role]) if role in roles else None

    name = of("file")
    if is_blank(name):
        raise BadValue(f"{roles['file']}: no file is named")
    if not isinstance(name, str):
        raise BadValue(f"{roles['file']}: {name!r} is not a path")
    start_frame = whole(of("start_frame"), "start_frame", low=0) or 0
    num_frames, end_frame = whole(of("num_frames"), "num_frames", low=1), whole(of("end_frame"), "end_frame", low=1)
    if end_frame is not None:
        if end_frame <= start_frame:
            raise BadValue(f"end_frame={end_frame} is not after start_frame={start_frame}")
        num_frames = end_frame - start_frame
    start, end = seconds(of("start"), "start"), seconds(of("end"), "end")
    if end is not None and end <= (start or 0.0):
        raise BadValue(f"end={end:g} is not after start={start or 0.0:g}")
    fps = number(of("fps"), "fps", low=0, strict=True)
    return Clip(
        media=Media(f"{root}/{name}{suffix}" if not name.startswith("/") else name + suffix),
        name=name, where=where, captions=captions(of("caption")),
        start_frame=start_frame, num_frames=num_frames, start=start, end=end, fps=fps,
        split=split_name(of("split")), group=str(of("group") or name),
        declared=Declared(
            whole(of("total_frames"), "frames", low=0) or (num_frames if not start_frame else None), fps,
            whole(of("height"), "height", low=1), whole(of("width"), "width", low=1), seconds(of("seconds"), "duration"),
        ),
    )  # fmt: skip


def split_name(value: Any) -> str | None:
    """One word per thing: validation is "val"."""
    if is_blank(value):
        return None
    text = str(value).strip().lower()
    return {"valid": "val", "validation": "val", "training": "train"}.get(text, text)


def locate(folder: Path, names: Sequence[str]) -> tuple[Path, str]:
    """The root and the suffix under which most of the first names are files; the table's own folder if none is."""
    best, choice = 0, (folder, "")
    for root in ROOTS:
        for suffix in GUESSES:
            hits = sum((folder / root / f"{name}{suffix}").exists() for name in names)
            if hits > best:
                best, choice = hits, (folder / root if root else folder, suffix)
        if best == len(names):
            break
    return choice


# --- formats ------------------------------------------------------------------------------------------------------


def read_records(table: Path) -> Iterator[Record]:
    """Each row of a table of any format. Raises ValueError for a file that is none."""
    readers = {".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".json": _json, ".parquet": _parquet}
    if table.suffix.lower() not in readers:
        raise ValueError(f"{table}: {table.suffix!r} is no table. {nearest(table.suffix, readers)}")
    try:
        yield from readers[table.suffix.lower()](table)
    except UnicodeDecodeError as error:
        raise ValueError(f"{table} is not UTF-8 text ({error}). Save it as UTF-8.") from None


def _csv(table: Path) -> Iterator[Record]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a column of paraphrases passes the default 128 kB
    with table.open(encoding="utf-8-sig", newline="") as file:
        sample = file.read(8192)
        file.seek(0)
        head = sample.splitlines()[0] if sample else ""
        delimiter = max("\t;,", key=head.count) if "," not in head else ","
        reader = csv.DictReader(file, delimiter=delimiter)
        try:
            for record in reader:
                where = f"{table} line {reader.line_num}"
                if None in record:
                    yield None, where, f"more cells than the {len(reader.fieldnames or ())} columns: quote what holds commas"
                    continue
                yield dict(record), where, ""
        except csv.Error as error:
            raise ValueError(f"{table} line {reader.line_num}: not valid csv ({error}).") from None


def _jsonl(table: Path) -> Iterator[Record]:
    with table.open(encoding="utf-8-sig") as file:
        for count, line in enumerate(file, start=1):
            where = f"{table} line {count}"
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                yield None, where, f"not valid JSON ({error})"
                continue
            yield _object(record, where)


def _json(table: Path) -> Iterator[Record]:
    """A list of objects, alone or as the only list of an object; or {file: caption}, {file: object}."""
    try:
        tree = json.loads(table.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        if isinstance(error, UnicodeDecodeError):
            raise
        raise ValueError(f"{table}: not valid JSON ({error}).") from None
    if isinstance(tree, dict):
        lists = [key for key, value in tree.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
        if len(lists) > 1:
            raise ValueError(f"{table}: the lists {', '.join(lists)} could all be the clips. Keep one per file.")
        if lists:
            tree = tree[lists[0]]
        else:
            tree = [{"file_name": key, **(v if isinstance(v, dict) else {"caption": v})} for key, v in tree.items()]
    if not isinstance(tree, list):
        raise ValueError(f"{table} holds {type(tree).__name__}: a table is a list of objects.")
    for count, record in enumerate(tree):
        yield _object(record, f"{table} item {count}")


def _object(record: Any, where: str) -> Record:
    if not isinstance(record, dict):
        return None, where, 'each row is an object such as {"file_name": "a.mp4", "caption": "..."}'
    return record, where, ""


def _parquet(table: Path) -> Iterator[Record]:
    for batch, start in parquet_batches(table, skip_bytes=True):
        for i, record in enumerate(batch.to_pylist()):
            yield record, f"{table} row {start + i}", ""


def parquet_batches(table: Path, *, skip_bytes: bool) -> Iterator[tuple[Any, int]]:
    """Record batches and the number of each one's first row. Raises ImportError without pyarrow."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError("parquet tables need pyarrow. Try pip install 'flipbook[data]'") from error
    try:
        file = pq.ParquetFile(table)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{table} is no parquet file ({error}). Copy or download it again.") from None
    names = [f.name for f in file.schema_arrow if not (skip_bytes and pa.types.is_binary(f.type))]
    start = 0
    for batch in file.iter_batches(columns=names):
        yield batch, start
        start += batch.num_rows
