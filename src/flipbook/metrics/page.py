"""The results of an evaluation as one web page that needs nothing but the videos beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from flipbook.files.temporary import written_whole
from flipbook.metrics.prompts import GROUPS
from flipbook.metrics.table import HEADINGS, columns_of, percentage, remarks

STYLE = """
:root { color-scheme: light dark; --page: #fafaf8; --ink: #1d2024; --soft: #6a6f78; --card: #fff; --line: #e2e2de;
  --good: #1e7b45; --bad: #c02f35; --accent: #2a56c6 }
@media (prefers-color-scheme: dark) { :root { --page: #121417; --ink: #e8eaee; --soft: #98a0ab; --card: #1b1e23;
  --line: #2d3138; --good: #5cc48a; --bad: #ff7b7f; --accent: #8fb0ff } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1240px; padding: 32px 20px 80px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 26px; margin: 0 0 4px } p, ul { color: var(--soft); margin: 4px 0 18px }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: 7px 14px 7px 0; border-bottom: 1px solid var(--line); white-space: nowrap }
td small { color: var(--soft); display: block; font-size: 12px }
nav { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: 8px; align-items: center;
  padding: 12px 0; margin-top: 18px; background: var(--page) }
button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line); border-radius: 99px;
  padding: 4px 13px; cursor: pointer }
button[aria-pressed=true] { border-color: var(--accent); color: var(--accent) }
button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
#cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(176px, 1fr)); gap: 14px }
article { background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden }
article[hidden] { display: none }
video { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: #000 }
.words { padding: 10px 12px 12px; font-size: 13px; line-height: 1.4 } .words p { margin: 6px 0 0; font-size: 12px }
.marks { display: flex; flex-wrap: wrap; gap: 4px; margin-top: 8px; font-size: 11px }
.marks span { color: var(--good); border: 1px solid; border-radius: 4px; padding: 0 5px }
.marks .wrong { color: var(--bad); font-weight: 600 }
"""

PLAY = """
const watch = new IntersectionObserver(entries => entries.forEach(({target, isIntersecting}) =>
  isIntersecting ? target.play().catch(() => {}) : target.pause()), {rootMargin: '120px'});
document.querySelectorAll('video').forEach(video => watch.observe(video));
"""

SCRIPT = """
const cards = [...document.querySelectorAll('article')], pressed = {group: '', wrong: ''};
function show() {
  let count = 0;
  for (const card of cards) {
    const wrong = card.dataset.wrong.split(' ').filter(Boolean);
    const fits = (!pressed.group || card.dataset.group === pressed.group)
      && (!pressed.wrong || (pressed.wrong === 'any' ? wrong.length : wrong.includes(pressed.wrong)));
    card.hidden = !fits; count += fits;
  }
  document.querySelector('#count').textContent = count + ' shown';
}
document.querySelector('nav').addEventListener('click', ({target}) => {
  if (target.tagName !== 'BUTTON') return;
  const {kind, value} = target.dataset;
  pressed[kind] = value === pressed[kind] ? '' : value;
  document.querySelectorAll(`button[data-kind="${kind}"]`).forEach(button =>
    button.setAttribute('aria-pressed', button.dataset.value === pressed[kind]));
  show();
});
show();
"""


def write_page(results: Mapping[str, Any], path: Path) -> Path:
    """Write the page; the videos are found relative to it. Returns its path."""
    records, groups = results["prompts"], results["groups"]
    present = [group for group in GROUPS if any(record["group"] == group for record in records)]
    name = escape(str(results["model"].get("name", "a model")))
    body = f"""<h1>{name}: what is asked for and what is seen</h1>
<p>{len(records)} videos in {results["seconds"]:.0f} s, {_settings(results["settings"])}. Small: 95 % interval.</p>
{_table(groups)}
<ul>{"".join(f"<li>{escape(line)}</li>" for line in remarks(groups))}</ul>
<nav aria-label="Filter">{_buttons(present, columns_of(groups))}<span id="count"></span></nav>
<main id="cards">{"".join(_card(record) for record in records)}</main>
"""
    return write_document(path, f"{name}: asked for and seen", body, SCRIPT)


def write_document(path: Path, title: str, body: str, script: str, style: str = "") -> Path:
    """Write a page of ours around its body; title and body are HTML already. Videos play while they are in sight. Returns its path."""
    html = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{STYLE}{style}</style></head><body>
{body}<script>{PLAY}{script}</script></body></html>
"""
    with written_whole(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path


def marks(attributes: Mapping[str, bool]) -> str:
    """What was judged, right and wrong, as small labels."""
    labels = (f'<span{"" if right else " class=wrong"}>{escape(HEADINGS.get(name, name))}</span>' for name, right in attributes.items())
    return f'<div class="marks">{"".join(labels)}</div>'


def _settings(settings: Mapping[str, Any]) -> str:
    return escape(", ".join(f"{name} {value}" for name, value in settings.items()) or "default settings")


def _table(groups: Mapping[str, Any]) -> str:
    columns = columns_of(groups)
    head = "".join(f"<th>{escape(HEADINGS.get(name, name))}</th>" for name in columns)
    rows = "".join(
        f"<tr><td>{name}<small>{escape(GROUPS[name])}</small></td><td>{group['prompts']}</td>"
        + "".join(f"<td>{_cell(group['attributes'].get(column))}</td>" for column in columns)
        + "</tr>"
        for name, group in groups.items()
    )
    return f'<div class="wide"><table><tr><th>group</th><th>prompts</th>{head}</tr>{rows}</table></div>' if rows else ""


def _cell(share: Mapping[str, Any] | None) -> str:
    value, bracket, interval = percentage(share).partition(" (")
    return f"{value}<small>{interval.rstrip(')')}</small>" if bracket else value


def _buttons(groups: Sequence[str], columns: Sequence[str]) -> str:
    kinds = [("group", group, group) for group in groups] + [("wrong", "any", "only wrong ones")]
    kinds += [("wrong", name, f"wrong {HEADINGS.get(name, name)}") for name in columns if name != "all"]
    return "".join(
        f'<button data-kind="{kind}" data-value="{escape(value)}" aria-pressed="false">{escape(label)}</button>'
        for kind, value, label in kinds
    )


def _card(record: Mapping[str, Any]) -> str:
    wrong = [name for name, right in record["attributes"].items() if not right]
    seen = f"<p>seen: {escape(record['seen'])}</p>" if wrong else ""
    likeness = f"<p>first frame {record['psnr']:.1f} dB</p>" if record["psnr"] is not None else ""
    return (
        f'<article data-group="{record["group"]}" data-wrong="{" ".join(wrong)}">'
        f'<video src="{escape(record["video"])}" loop muted playsinline preload="metadata"></video>'
        f'<div class="words">{escape(record["prompt"])}{marks(record["attributes"])}{seen}{likeness}'
        f"<p>{record['name']}, seed {record['seed']}</p></div></article>"
    )
