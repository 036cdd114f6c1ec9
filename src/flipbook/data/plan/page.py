"""A plan as one web page with a picture of every clip, which needs no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from flipbook.data.fate import Fate
from flipbook.data.plan.facts import fate_word
from flipbook.data.plan.table import CHANGES, caption_line, duplicate_lines
from flipbook.files.temporary import written_whole
from flipbook.metrics.page import STYLE

MOST = 3000  # clips with a card of their own; dropped ones come first

OWN_STYLE = """
article img { display: block; width: 100%; aspect-ratio: 16/10; object-fit: contain; background: #000 }
article .none { aspect-ratio: 16/10; display: grid; place-items: center; background: var(--line); color: var(--soft) }
article b { overflow-wrap: anywhere } .wrong { color: var(--bad) }
section { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 8px 48px }
td:last-child, th:last-child { text-align: right; padding-right: 0 }
"""

SCRIPT = """
const cards = [...document.querySelectorAll('article')], nav = document.querySelector('nav');
let wanted = '';
function show() {
  let count = 0;
  for (const card of cards) {
    card.hidden = wanted && !card.dataset.fate.split(' ').includes(wanted);
    count += !card.hidden;
  }
  document.querySelector('#count').textContent = count + ' shown';
}
nav.addEventListener('click', ({target}) => {
  if (target.tagName !== 'BUTTON') return;
  wanted = target.dataset.value === wanted ? '' : target.dataset.value;
  nav.querySelectorAll('button').forEach(b => b.setAttribute('aria-pressed', b.dataset.value === wanted));
  show();
});
show();
"""


def write_page(facts: Mapping[str, Any], fates: Sequence[Fate], path: Path) -> Path:
    """Write the page; pictures are those that the plan's facts hold. Returns its path."""
    chosen = sorted(fates, key=lambda fate: not fate.rule)[:MOST]
    cut = f"<p>The first {MOST:,} of {len(fates):,} clips, dropped ones first.</p>" if len(fates) > MOST else ""
    sources = "".join(
        f"<li>{escape(s['path'])}: {s['clips']:,} clips, read as {escape(s['read_as'])}; files {s['files']}"
        + "".join(f"; {escape(note)}" for note in s["notes"]) + "</li>"
        for s in facts["sources"]
    )  # fmt: skip
    error = f'<p class="wrong"><b>{escape(facts["error"])}</b></p>' if facts["error"] else ""
    words = [caption_line(facts["captions"]), *duplicate_lines(facts["duplicates"])]
    values = dict.fromkeys(value for fate in chosen for value in _values(fate))
    buttons = "".join(f'<button data-value="{_slug(v)}" aria-pressed="false">{escape(v)}</button>' for v in values)
    html = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>The fate of {facts["clips"]:,} clips</title><style>{STYLE}{OWN_STYLE}</style></head><body>
<h1>{facts["train"]:,} of {facts["clips"]:,} clips train</h1>
<p>{facts["validation"]:,} validate, {facts["dropped"]:,} are dropped. {facts["hours"]["kept"]:.3g} hours are kept.</p>
{error}<ul>{sources}</ul>
<section><div>{_fate_table(facts)}</div><div>{_bucket_table(facts["buckets"])}</div></section>
<ul>{"".join(f"<li>{escape(line)}</li>" for line in words)}</ul>
<nav aria-label="Filter">{buttons}<span id="count"></span></nav>{cut}
<main id="cards">{"".join(_card(fate) for fate in chosen)}</main>
<script>{SCRIPT}</script></body></html>
"""
    with written_whole(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path


def _fate_table(facts: Mapping[str, Any]) -> str:
    rows = [(CHANGES.get(name, name), count) for name, count in facts["changes"].items()]
    rows.append(("kept as they are", facts["unchanged"]))
    rows += [(f"dropped: {rule}", count) for rule, count in facts["rules"].items()]
    return "<table><tr><th>what happens<th>clips</tr>" + "".join(
        f"<tr><td>{escape(name)}<td>{count:,}</tr>" for name, count in rows
    ) + "</table>"  # fmt: skip


def _bucket_table(buckets: Sequence[Mapping[str, Any]]) -> str:
    return "<table><tr><th>frames x height x width<th>fps<th>clips</tr>" + "".join(
        f"<tr><td>{b['num_frames']} x {b['height']} x {b['width']}<td>{b['fps']:g}<td>{b['clips']:,}</tr>" for b in buckets
    ) + "</table>"  # fmt: skip


def _values(fate: Fate) -> list[str]:
    return [f"dropped: {fate.rule}"] if fate.rule else [fate_word(fate), *fate.changes]


def _slug(value: str) -> str:
    return escape(value.replace(" ", "-"))


def _card(fate: Fate) -> str:
    thumbnail = fate.facts.thumbnail if fate.facts else ""
    picture = f'<img loading="lazy" alt="" src="data:image/jpeg;base64,{thumbnail}">' if thumbnail else '<div class="none">no picture</div>'
    text = (fate.clip.captions[0] if fate.clip.captions else "") if fate.clip else ""
    if fate.rule:
        lines = [f'<span class="wrong">{escape(fate.rule)}: {escape(fate.reason)}</span>']
    else:
        lines = [escape(", ".join([fate_word(fate), *fate.changes]))]
        if fate.window and fate.bucket:
            lines.append(f"{fate.window.length()} frames at {fate.window.shown_fps():.4g} fps, {fate.window.width} x "
                         f"{fate.window.height}, to {fate.bucket}")  # fmt: skip
    body = "".join(f"<p>{line}</p>" for line in lines)
    return (
        f'<article data-fate="{" ".join(_slug(v) for v in _values(fate))}">{picture}<div class="words">'
        f"<b>{escape(fate.name or fate.where)}</b><p>{escape(text)}</p>{body}</div></article>"
    )
