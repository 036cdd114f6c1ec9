"""The clips of a folder: `metadata.jsonl`, `metadata.csv` or `index.jsonl`, or else each `name.mp4` with `name.txt`.

A row has `file_name`, `caption` (or `text`; a list holds paraphrases), and may have `start_frame` and `num_frames` (a
window of the file, in frames), `fps`, and `split`. Other columns are ignored.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator

TABLES = ("metadata.jsonl", "metadata.csv", "index.jsonl")
SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif", ".webp")


class Row(BaseModel):
    """One clip: a file, or the window [start_frame, start_frame + num_frames) of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    file_name: str = Field(min_length=1)
    captions: tuple[str, ...] = Field((), validation_alias=AliasChoices("caption", "text"))
    start_frame: int = Field(0, ge=0)
    num_frames: int | None = Field(None, ge=1)
    fps: float | None = Field(None, gt=0)
    split: str | None = None
    where: str = ""

    @field_validator("captions", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        value = [value] if isinstance(value, str) else value
        return [text.strip() for text in value if isinstance(text, str) and text.strip()] if value is not None else ()


def read_table(folder: Path) -> list[Row]:
    """All clips of a folder. Raises ValueError: no such folder, nothing in it, or a bad row, named by file and line."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder. A folder source names one that holds clips.")
    table = next((folder / name for name in TABLES if (folder / name).is_file()), None)
    rows = list(_pairs(folder)) if table is None else [_row(record, where) for record, where in _records(table)]
    if not rows:
        raise ValueError(
            f"{table or folder} lists no clip. Put {TABLES[0]} there (file_name and caption on each line), "
            f"or name.mp4 with name.txt."
        )
    missing = next((row for row in rows if not (folder / row.file_name).exists()), None)
    if missing is not None:
        raise ValueError(
            f"{missing.where}: {folder / missing.file_name} does not exist. file_name is relative to the folder."
        )
    return rows


def _records(table: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Each record of a table and where it stands."""
    with table.open(encoding="utf-8-sig", newline="") as file:
        if table.suffix == ".csv":
            reader = csv.DictReader(file)
            for record in reader:
                filled = {key: value for key, value in record.items() if key is not None and value not in (None, "")}
                yield filled, f"{table} line {reader.line_num}"
            return
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{table} line {number}: not valid JSON ({error}).") from error
            if not isinstance(record, dict):
                raise ValueError(
                    f'{table} line {number}: each line is an object such as {{"file_name": "a.mp4", "caption": "..."}}.'
                )
            yield record, f"{table} line {number}"


def _row(record: dict[str, Any], where: str) -> Row:
    try:
        return Row.model_validate({**record, "where": where})
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'row'}: {e['msg']} (got {e['input']!r})" for e in error.errors()
        )
        raise ValueError(f"{where}: {problems}.") from None


def _pairs(folder: Path) -> Iterator[Row]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix.lower() not in SUFFIXES or any(part.startswith(".") for part in inside.parts):
            continue
        text = path.with_suffix(".txt")
        caption = " ".join(text.read_text(encoding="utf-8").split()) if text.is_file() else ""
        yield Row(file_name=str(inside), caption=caption, where=str(path))  # type: ignore[call-arg]
