"""Generated tables in a page, between two comments that carry their name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def replace_table(page: Path, name: str, lines: Sequence[str], argv: Sequence[str]) -> None:
    """Put lines between `<!-- NAME -->` and `<!-- end NAME -->`, below the command that made them.

    Raises ValueError if the page has no such place.
    """
    text, start, end = page.read_text(encoding="utf-8"), f"<!-- {name} -->", f"<!-- end {name} -->"
    if start not in text or end not in text:
        raise ValueError(f"{page} has no place for the table {name!r}. Put the two lines {start} and {end} where it belongs.")
    command = "python benchmarks/" + " ".join([Path(argv[0]).name, *argv[1:]])
    before, after = text[: text.index(start) + len(start)], text[text.index(end) :]
    page.write_text("\n".join([before, "", f"`{command}`:", "", *lines, "", after]), encoding="utf-8")
