"""The result of a comparison as one web page that needs nothing but the videos beside it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from flipbook.compare.scores import score_named
from flipbook.compare.sheets import records_of, shown_prompts
from flipbook.compare.table import against_text, factor_of, remarks, value_text
from flipbook.metrics.page import marks, write_document

STYLE = """
td.better small:last-child { color: var(--good); font-weight: 600 } td.worse small:last-child { color: var(--bad); font-weight: 600 }
td.differs small:last-child { color: var(--ink); font-weight: 600 }
th small { color: var(--soft); display: block; font-weight: 400; font-size: 12px }
h2 { font-size: 18px; margin: 34px 0 10px } .arms { display: grid; grid-auto-flow: column; grid-auto-columns: 176px; gap: 14px; overflow-x: auto;
  padding-bottom: 8px } .arms article { align-self: start } .arms b { display: block } a { color: var(--accent) }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px; overflow-x: auto; font-size: 12px }
"""


def write_page(results: Mapping[str, Any], path: Path) -> Path:
    """Write the page; videos and the arms' own pages are found relative to it. Returns its path."""
    name, first = escape(results["name"]), escape(next(iter(results["summary"])))
    body = f"""<h1>{name}</h1>
<p>{len(results["summary"])} arms, {results["comparison"]["repeats"]} repeat(s). Under each value: its 95 % interval, then how it
stands to {first}, pair by pair.</p>
{_table(results)}
<ul>{"".join(f"<li>{escape(line.replace('`', ''))}</li>" for line in remarks(results))}</ul>
{"".join(_row(results, place) for place in shown_prompts(results))}
<h2>What each arm sets</h2>
{"".join(f"<p>{escape(arm)}: {_pages(results, arm)}</p><pre>{escape(_sets(values['sets']))}</pre>" for arm, values in results["arms"].items())}
"""
    return write_document(path, name, body, "", STYLE)


def _table(results: Mapping[str, Any]) -> str:
    names = results["scores"]
    head = "".join(f'<th title="{escape(score_named(name).says)}">{escape(name)}<small>{escape(score_named(name).unit)}</small></th>' for name in names)
    rows = "".join(f"<tr><td>{escape(arm)}</td>{''.join(_cell(name, cells[name]) for name in names)}</tr>" for arm, cells in results["summary"].items())
    return f'<div class="wide"><table><tr><th>{escape(factor_of(results))}</th>{head}</tr>{rows}</table></div>'


def _cell(name: str, cell: Mapping[str, Any]) -> str:
    value, bracket, interval = value_text(name, cell).partition(" (")
    text = f"{escape(value)}<small>{interval.rstrip(')') if bracket else '&nbsp;'}</small>"
    if cell["against"] is not None:
        text += f"<small>{escape(against_text(name, cell))}</small>"
    return f'<td class="{cell["verdict"] or ""}">{text}</td>'


def _row(results: Mapping[str, Any], place: int) -> str:
    """One prompt of the first repeat: a card for every arm."""
    records = records_of(results, place)
    prompt = next(iter(records.values()))
    cards = "".join(
        f'<article><video src="{escape(record["video"])}" loop muted playsinline preload="metadata"></video>'
        f'<div class="words"><b>{escape(arm)}</b>{marks(record["attributes"])}</div></article>'
        for arm, record in records.items()
    )
    return f'<h2>{escape(prompt["prompt"])}</h2><p>seed {prompt["seed"]}, <a href="sheets/{prompt["name"]}.png">sheet</a></p><div class="arms">{cards}</div>'


def _pages(results: Mapping[str, Any], arm: str) -> str:
    """Links to the arm's own pages, one for each repeat."""
    folders = (run["clips"][0]["video"].rpartition("/videos/")[0] for run in results["runs"][arm] if run["clips"])
    return ", ".join(f'<a href="{escape(folder)}/index.html">repeat {number}</a>' for number, folder in enumerate(folders, 1))


def _sets(sets: Mapping[str, Any]) -> str:
    return "\n".join(f"{key} = {value}" for key, value in sets.items()) or "(as the comparison has it)"
