"""A plan on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

MOST = 12  # dropped clips that are shown, and groups of duplicates


def print_plan(facts: Mapping[str, Any], console: Console) -> None:
    """The numbers of `summary` for a person."""
    console.print(Group(*_parts(facts)))


def _parts(facts: Mapping[str, Any]) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for source in facts["sources"]:
        parts.append(Text(f"{source['path']}: {source['clips']:,} clips, read as {source['read_as']}", style="bold"))
        parts.extend(Text(f"  {note}") for note in source["notes"])
        parts.append(Text(f"  files {source['files']}"))
    hours = facts["hours"]
    parts.append(
        Text(
            f"\n{facts['train']:,} train, {facts['validation']:,} validate, {facts['dropped']:,} are dropped; "
            f"{hours['kept']:.3g} hours kept, {hours['dropped']:.3g} dropped; planned in {facts['seconds']:g} s\n"
        )
    )
    fates = _table("what happens", "clips")
    for name, count in facts["changes"].items():
        fates.add_row(CHANGES.get(name, name), f"{count:,}")
    fates.add_row("kept as they are", f"{facts['unchanged']:,}")
    for rule, count in facts["rules"].items():
        fates.add_row(Text(f"dropped: {rule}", style="red"), f"{count:,}")
    parts.append(fates)
    if facts["buckets"]:
        shapes = _table("bucket (frames x height x width)", "fps", "clips")
        for b in facts["buckets"]:
            shapes.add_row(f"{b['num_frames']} x {b['height']} x {b['width']}", f"{b['fps']:g}", f"{b['clips']:,}")
        parts.append(shapes)
    parts.append(Text(caption_line(facts["captions"])))
    parts.extend(Text(line) for line in duplicate_lines(facts["duplicates"]))
    dropped = [row for row in facts["every_clip"] if row["rule"] not in (None, "filter", "other split")]
    if dropped:
        rows = _table("dropped", "rule", "why")
        for row in dropped[:MOST]:
            rows.add_row(row["name"] or row["where"], row["rule"], row["reason"])
        parts.append(rows)
        if len(dropped) > MOST:
            parts.append(Text(f"and {len(dropped) - MOST:,} more; --json and --page list them all"))
    return parts


CHANGES = {
    "cut": "cut to the frames of a sample",
    "retimed": "shown at another rate",
    "cropped": "cropped",
    "unseen": "kept on the table's word, not opened",
}


def caption_line(captions: Mapping[str, Any]) -> str:
    """Caption statistics as a sentence."""
    if not captions["sentences"]:
        return f"captions: none; {captions['clips_without']:,} clips train without words"
    words = captions["words"]
    line = (
        f"captions: {captions['sentences']:,}, {captions['different']:,} different, {words['least']} to {words['most']} words, "
        f"median {words['median']:g}; {captions['different_words']:,} different words"
    )
    if captions["clips_without"]:
        line += f"; {captions['clips_without']:,} clips without words"
    common = captions["commonest"]
    return line + (f'; {common["times"]:,} times "{common["text"][:60]}"' if common["times"] > 1 else "")


def duplicate_lines(groups: list[list[str]]) -> list[str]:
    """Which clips come more than once."""
    if not groups:
        return ["duplicates: none (by the bytes of files that were opened, by the paths of others)"]
    extra = sum(len(names) - 1 for names in groups)
    lines = [f"duplicates: {extra:,} clips repeat another one (the same window of the same bytes); they are kept"]
    lines.extend(f"  {' = '.join(names[:4])}{' = ...' if len(names) > 4 else ''}" for names in groups[:MOST])
    return lines


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if column in ("clips", "fps") else "left", overflow="fold", no_wrap=i == 0 and len(columns) == 2)
    return table
