"""The result of a comparison for people: numbers as text, a Markdown table, and its place in a document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flipbook.compare.scores import score_named
from flipbook.files.temporary import written_whole

BEGIN, END = "<!-- flipbook compare: begin -->", "<!-- flipbook compare: end -->"
SIGNS = {"better": "▲", "worse": "▼", "differs": "◆", None: ""}


def markdown(results: Mapping[str, Any]) -> str:
    """Two tables, values and how they stand to the first arm, and what a reader must know about them."""
    summary, scores = results["summary"], results["scores"]
    first = next(iter(summary))
    head = " | ".join([f"| {factor_of(results)}", *scores]) + " |"
    rule = "|---" * (len(scores) + 1) + "|"
    plain = [" | ".join([f"| {arm}", *(value_text(name, cells[name]) for name in scores)]) + " |" for arm, cells in summary.items()]
    paired = [
        " | ".join([f"| {arm}", *(against_text(name, cells[name]) for name in scores)]) + " |" for arm, cells in summary.items() if arm != first
    ]
    lines = [f"## {results['name']}", "", head, rule, *plain, "", f"Against **{first}**, pair by pair (▲ better, ▼ worse, ◆ differs):", "", head, rule]
    return "\n".join([*lines, *paired, "", *(f"* {remark}" for remark in remarks(results))]) + "\n"


def factor_of(results: Mapping[str, Any]) -> str:
    """What stands above the arms' names."""
    return (results["comparison"]["vary"] or "arm").rpartition(".")[2]


def value_text(name: str, cell: Mapping[str, Any]) -> str:
    """"62.5 % (50.1 to 73.5)": a value and its interval; a dash where nothing was asked."""
    if cell["value"] is None:
        return "–"
    factor, unit = (100, " %") if score_named(name).share else (1, "")
    interval = "" if cell["low"] is None else f" ({number(factor * cell['low'])} to {number(factor * cell['high'])})"
    return f"{number(factor * cell['value'])}{unit}{interval}"


def against_text(name: str, cell: Mapping[str, Any]) -> str:
    """"+12.5 (+3.1 to +20.9) ▲" or "× 1.31 (1.28 to 1.35) ▼": how it stands to the first arm."""
    against, score = cell["against"], score_named(name)
    if against is None:
        return "–"
    if score.compare == "ratio":
        show = lambda value: f"{value:.2f}"
        text = f"× {show(against['value'])}"
    else:
        factor = 100 if score.share else 1
        show = lambda value: f"{'+' if value > 0 else ''}{number(factor * value)}"
        text = show(against["value"])
    interval = "" if against["low"] is None else f" ({show(against['low'])} to {show(against['high'])})"
    return f"{text}{interval} {SIGNS[cell['verdict']]}".rstrip()


def number(value: float) -> str:
    """About three digits that count, and no more than one behind the point from 10 on."""
    if value == 0:
        return "0"
    size = abs(value)
    text = f"{size:.0f}" if size >= 1000 else f"{size:.1f}" if size >= 10 else f"{size:.2f}" if size >= 1 else f"{size:.3f}" if size >= 0.01 else f"{size:.1g}"
    return f"−{text}" if value < 0 else text


def remarks(results: Mapping[str, Any]) -> list[str]:
    """What the numbers are of, as sentences."""
    comparison, every = results["comparison"], [run for runs in results["runs"].values() for run in runs]
    clips, trained = comparison["repeats"] * max(len(run["clips"]) for run in every), bool(every[0]["training"])
    lines = [f"`{name}`: {score_named(name).says}" + (f", {score_named(name).unit}" if score_named(name).unit else "") + "." for name in results["scores"]]
    updates = sorted({run["training"]["updates"] for run in every if run["training"] and "updates" in run["training"]})
    work = f"{'–'.join(map(str, updates[:: max(1, len(updates) - 1)]))} updates and {clips} clips" if trained else f"{clips} clips"
    lines.append(f"Each arm: {comparison['repeats']} repeat(s), {work}; the same seeds, prompts and, where trained, data and first weights for all arms.")
    by_repeat = trained and comparison["repeats"] > 1
    lines.append(
        "In brackets 95 % intervals (Student's t) over repeats, each a training of its own."
        if by_repeat
        else "In brackets 95 % intervals over clips" + (": one training per arm, so they say nothing of how trainings scatter." if trained else ".")
    )
    lines += [f"{run['arm']}, repeat {run['repeat'] + 1}, has no results: {run['training']['failed']}" for run in every if "failed" in (run["training"] or {})]
    tests = sum(cell["against"] is not None and cell["against"]["low"] is not None for cells in results["summary"].values() for cell in cells.values())
    if tests >= 10:
        lines.append(f"{tests} pairs of intervals are shown: of that many, about {max(1, round(tests / 20))} would leave out equality by chance alone.")
    return lines


def write_into(document: Path, text: str) -> None:
    """Put text between the two marks of a Markdown document, in place of what is there. Raises ValueError if it has no such marks."""
    before = document.read_text(encoding="utf-8")
    if len(re.findall(re.escape(BEGIN), before)) != 1 or before.find(END) < before.find(BEGIN):
        raise ValueError(f"{document} has no place for the table. Put the two lines {BEGIN} and {END} where it should stand.")
    head, _, rest = before.partition(BEGIN)
    tail = rest.partition(END)[2]
    with written_whole(document) as path:
        path.write_text(f"{head}{BEGIN}\n{text.rstrip()}\n{END}{tail}", encoding="utf-8")
