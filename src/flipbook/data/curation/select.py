"""Stage `select`: rules over columns, with percentiles, decide which clips stay."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator

from flipbook.data.curation.expression import Rule, columns_of
from flipbook.data.curation.ledger import Row, drop, is_kept
from flipbook.data.curation.stage import AllClips


class Select(AllClips):
    """Keep the clips that pass every rule, and tell of the others which rule they broke, with the numbers.

    keep_if: expressions such as `text_area <= 0.07`, `not slideshow` or `motion_p50 >= percentile(motion_p50, 12.5)`;
    percentiles are taken over the clips that reach this stage. A clip without a value fails the rule that asks for it.
    """

    name: ClassVar[str] = "select"

    keep_if: tuple[str, ...] = Field(())

    @field_validator("keep_if")
    @classmethod
    def _parse(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        for rule in rules:
            Rule(rule)
        return rules

    def reads(self) -> tuple[str, ...]:
        """The columns of all rules."""
        return tuple(sorted(set().union(*map(columns_of, self.keep_if))))

    def run(self, rows: list[Row], output: Path) -> list[Row]:
        candidates = [row for row in rows if is_kept(row)]
        rules = [Rule(text, candidates) for text in self.keep_if]
        return [{**row, **self._verdict(row, rules)} if is_kept(row) else row for row in rows]

    def _verdict(self, row: Row, rules: list[Rule]) -> Row:
        broken = next((rule for rule in rules if not rule.holds(row)), None)
        return {} if broken is None else drop(self.name, broken.text, broken.explain(row))
