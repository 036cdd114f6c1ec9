"""The results of an evaluation as a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flipbook.metrics.prompts import GROUPS

COLUMNS = ("objects", "colour", "shape", "size", "motion", "background", "order", "kept", "all")
HEADINGS = {"kept": "first frame kept"}


def percentage(share: Mapping[str, Any] | None) -> str:
    """"97.5 % (94.3-98.9)": the share and its 95 % Wilson interval; a dash where nothing was asked."""
    if share is None:
        return "–"
    return f"{100 * share['share']:.1f} % ({100 * share['low']:.1f}–{100 * share['high']:.1f})"


def columns_of(groups: Mapping[str, Any]) -> list[str]:
    """The attributes that any of the groups was judged by, in the order of the table."""
    return [name for name in COLUMNS if any(name in group["attributes"] for group in groups.values())]


def remarks(groups: Mapping[str, Any]) -> list[str]:
    """Sentences about what the table does not show at a glance."""
    lines = []
    if {"seen", "held-out"} <= groups.keys():
        seen, new = (groups[name]["attributes"]["all"]["share"] for name in ("seen", "held-out"))
        lines.append(f"Held-out combinations: {100 * (new - seen):+.1f} points against seen ones.")
    if "psnr" in groups.get("first-frame", {}):
        psnr = groups["first-frame"]["psnr"]
        lines.append(f"Given first frames: PSNR {psnr['mean']:.1f} dB in the mean, {psnr['lowest']:.1f} at the lowest.")
    return lines


def markdown_table(results: Mapping[str, Any]) -> str:
    """One row per group, one column per attribute; percentages with 95 % Wilson intervals."""
    groups = results["groups"]
    columns = columns_of(groups)
    lines = [
        f"# {results['model'].get('name', 'a model')}: what is asked for and what is seen",
        "",
        " | ".join(["| group", "prompts", *(HEADINGS.get(name, name) for name in columns)]) + " |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for name, group in groups.items():
        cells = [percentage(group["attributes"].get(column)) for column in columns]
        lines.append(" | ".join([f"| {name}", str(group["prompts"]), *cells]) + " |")
    lines += ["", *(f"* {name}: {GROUPS[name]}." for name in groups), *(f"* {remark}" for remark in remarks(groups))]
    lines.append(
        f"* {len(results['prompts'])} videos in {results['seconds']:.0f} s. In brackets: 95 % Wilson intervals. "
        "Read by `flipbook.metrics.truth`, without a network."
    )
    return "\n".join(lines) + "\n"
