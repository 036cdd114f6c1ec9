"""Stage `split`: which clips train and which validate, decided by the source video."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from flipbook.data.curation.ledger import Row, is_kept
from flipbook.data.curation.stage import AllClips


class Split(AllClips):
    """Hold back a share of the source videos for validation; clips of one source, and copies of one, stay together.

    val_share: of the sources.   given: take the split that tables state, where all clips of a source agree on it.
    Which sources are held back depends on their names and on `seed` alone, so that more footage moves nobody.
    """

    name: ClassVar[str] = "split"
    adds: ClassVar[tuple[str, ...]] = ("split",)

    val_share: float = Field(0.1, ge=0, lt=1)
    given: bool = False
    seed: int = 0

    def run(self, rows: list[Row], output: Path) -> list[Row]:
        families = _families(rows)
        stated: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            if row.get("given_split"):
                stated[families[row["source"]]].add(row["given_split"])
        return [{**row, "split": self._split(families[row["source"]], stated)} if is_kept(row) else row for row in rows]

    def _split(self, family: str, stated: dict[str, set[str]]) -> str:
        if self.given and len(stated[family]) == 1:
            return next(iter(stated[family]))
        lot = hashlib.blake2b(f"{self.seed}\n{family}".encode(), digest_size=8).digest()
        return "val" if int.from_bytes(lot, "big") / 2**64 < self.val_share else "train"


def _families(rows: list[Row]) -> dict[str, str]:
    """Source -> the first of the sources that are tied to it by near-duplicates."""
    parent = {row["source"]: row["source"] for row in rows}

    def root(source: str) -> str:
        while parent[source] != source:
            source = parent[source]
        return source

    home = {row["clip_id"]: row["source"] for row in rows}
    for row in rows:
        if row.get("dup_of") in home:
            a, b = sorted((root(row["source"]), root(home[row["dup_of"]])))
            parent[b] = a
    return {source: root(source) for source in parent}
