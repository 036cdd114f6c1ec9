"""The ledger: one JSON object per clip, kept or dropped, and the journal that lets a killed run go on."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flipbook.files.temporary import written_whole

Row = dict[str, Any]


def drop(stage: str, rule: str, reason: str) -> Row:
    """The columns of a clip that goes no further. rule: a few words, counted in the funnel; reason: with the numbers."""
    return {"keep": False, "dropped_by": stage, "drop_rule": rule, "drop_reason": reason}


def is_kept(row: Mapping[str, Any]) -> bool:
    return bool(row.get("keep", True))


def dumps(value: Any) -> str:
    """One line of JSON that depends on the value alone: columns in order of name, floats rounded to six digits."""
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def plain_row(row: Row) -> Row:
    """The row as it will be read back from a file: what later stages see must not depend on whether it was."""
    return json.loads(dumps(row))


def pack_vector(vector: np.ndarray) -> str:
    """A vector as text: base64 of float16, little-endian."""
    return base64.b64encode(np.asarray(vector, "<f2").tobytes()).decode()


def unpack_vector(text: str) -> np.ndarray:
    """float32 (D,), the inverse of `pack_vector` up to its rounding."""
    return np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """A ledger as JSONL, whole or not at all."""
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(dumps(row) + "\n" for row in rows)


def read_rows(path: Path) -> list[Row]:
    """The rows of a ledger. Raises ValueError naming the line that is no JSON object."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path} line {number} is not JSON ({error}). Is this a ledger of curation?") from None
    return rows


def digest(*parts: Any) -> str:
    """32 hexadecimal digits of JSON-able values."""
    return hashlib.blake2b("\n".join(dumps(part) for part in parts).encode(), digest_size=16).hexdigest()


class Journal:
    """What has been computed so far: key -> rows, appended line by line, so that a kill loses one clip at most.

    A key is a digest of the stages with their options and of the row they were given: a changed option or file asks
    for a new key, and an old result cannot be used by mistake. A line torn by a kill is cut off when the file is opened.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.known: dict[str, list[Row]] = {}
        whole = 0
        if path.exists():
            with path.open("rb") as file:
                for line in file:
                    try:
                        record = json.loads(line) if line.endswith(b"\n") else None
                        self.known[record["key"]] = record["rows"]  # type: ignore[index]
                    except (ValueError, TypeError, KeyError):
                        break
                    whole += len(line)
            os.truncate(path, whole)
        self._file = path.open("a", encoding="utf-8")

    def add(self, key: str, rows: list[Row], *, lasts: bool = True) -> None:
        """Remember, and hand the line to the system at once; what does not last is remembered in this run alone."""
        if lasts:
            self._file.write(dumps({"key": key, "rows": rows}) + "\n")
            self._file.flush()
        self.known[key] = rows

    def close(self) -> None:
        self._file.close()
