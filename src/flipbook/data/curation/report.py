"""The report: one page that needs nothing but itself: funnel, histograms, and thumbnails of what stayed and what went."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from flipbook.data.curation.frames import Look
from flipbook.data.curation.funnel import Step, funnel
from flipbook.data.curation.ledger import Row, is_kept
from flipbook.data.curation.recipe import Recipe
from flipbook.data.curation.stage import describe
from flipbook.files.errors import VideoError
from flipbook.files.temporary import written_whole

SHOWN = 12             # clips per reason, spread over all of them
THUMB = 72             # pixels of the short side
MEASURES = (
    "motion_mean", "motion_camera", "motion_object", "still_share", "text_area", "luma", "contrast", "sharpness",
    "colourfulness", "aesthetic", "clip_sim", "caption_agreement", "objects_mean", "pose_score",
)  # fmt: skip
STYLE = """
:root { color-scheme: light dark; --page: #fafaf8; --ink: #1d2024; --soft: #6a6f78; --line: #e2e2de; --kept: #2a7f6f;
  --gone: #c9665a }
@media (prefers-color-scheme: dark) { :root { --page: #121417; --ink: #e8eaee; --soft: #98a0ab; --line: #2d3138;
  --kept: #5cc4ac; --gone: #e58d80 } }
body { margin: 0 auto; max-width: 1180px; padding: 32px 20px 80px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 26px; margin: 0 } h2 { font-size: 19px; margin: 36px 0 8px } p, small, figcaption { color: var(--soft) }
svg text { fill: var(--ink); font: 13px system-ui, sans-serif } svg .soft { fill: var(--soft); font-size: 11px }
.kept { fill: var(--kept) } .gone { fill: var(--gone) }
.charts, .clips { display: flex; flex-wrap: wrap; gap: 16px } figure { margin: 0; width: 250px }
figure img { display: block; max-width: 100%; border-radius: 4px } figcaption { font-size: 12px; overflow-wrap: anywhere }
li { margin: 2px 0 }
"""


def write_report(rows: Sequence[Row], recipe: Recipe, path: Path) -> Path:
    """Write the page; thumbnails are decoded from the sources. Returns its path."""
    kept = [row for row in rows if is_kept(row)]
    gone = [row for row in rows if not is_kept(row)]
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in gone:
        groups[f"{row['dropped_by']}: {row['drop_rule']}"].append(row)
    parts = [
        f"<h1>Curation: {len(kept)} of {len(rows)} clips stay</h1><p>{escape(recipe.about)} <small>{escape(recipe.source)}"
        "</small></p>",
        "<h2>Funnel</h2>", funnel_chart(funnel(rows, recipe.stages)),
        "<h2>Measures</h2><p>Clips that stay and clips that go, stacked.</p><div class=charts>",
        *(histogram(name, kept, gone) for name in MEASURES if any(row.get(name) is not None for row in rows)),
        f"</div><h2>What stays ({len(kept)})</h2>{_gallery(kept)}",
        *(
            f"<h2>{escape(title)} ({len(members)})</h2>{_gallery(members)}"
            for title, members in sorted(groups.items(), key=lambda item: -len(item[1]))
        ),
        "<h2>Stages</h2><ol>",
        *(f"<li><b>{stage.name}</b> {escape(describe(stage))} <small>{escape(_options(stage.model_dump()))}</small></li>"
          for stage in recipe.stages),
        "</ol>",
    ]  # fmt: skip
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Curation report</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    with written_whole(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path


def funnel_chart(steps: Sequence[Step]) -> str:
    """Bars of what came to each stage: what stayed, and beside it what went, with the reasons as words."""
    most, y, marks = max([step.came for step in steps] + [1]), 0, []
    for step in steps:
        wide, lost = 420 * step.stayed / most, 420 * (step.came - step.stayed) / most
        marks.append(
            f'<text x="0" y="{y + 17}">{escape(step.stage)}</text><rect class="kept" x="130" y="{y + 4}" width="{wide:.1f}" '
            f'height="18"/><rect class="gone" x="{130 + wide:.1f}" y="{y + 4}" width="{lost:.1f}" height="18"/>'
            f'<text x="{140 + wide + lost:.1f}" y="{y + 17}">{step.stayed} of {step.came}</text>'
        )
        y += 26
        for rule, count in step.reasons:
            marks.append(f'<text class="soft" x="130" y="{y + 12}">{count} {escape(rule)}</text>')
            y += 17
        y += 6
    return f'<svg role="img" width="700" height="{y + 4}" viewBox="0 0 700 {y + 4}">{"".join(marks)}</svg>'


def histogram(name: str, kept: Iterable[Row], gone: Iterable[Row], bins: int = 24) -> str:
    """One measure over all clips, from its 1st to its 99th percentile; what lies beyond counts in the end bars."""
    stay, went = (np.array([row[name] for row in rows if row.get(name) is not None], float) for rows in (kept, gone))
    values = np.concatenate([stay, went])
    low, high = np.percentile(values, [1, 99])
    high = high if high > low else low + 1.0
    counts = [np.histogram(np.clip(part, low, high), bins, (low, high))[0] for part in (stay, went)]
    unit = 90 / max(int((counts[0] + counts[1]).max()), 1)
    bars = "".join(
        f'<rect class="kept" x="{10 * i}" y="{110 - unit * a:.1f}" width="9" height="{unit * a:.1f}"/>'
        f'<rect class="gone" x="{10 * i}" y="{110 - unit * (a + b):.1f}" width="9" height="{unit * b:.1f}"/>'
        for i, (a, b) in enumerate(zip(*counts, strict=True))
    )
    return (
        f'<svg role="img" width="250" height="130" viewBox="0 0 250 130"><text x="0" y="13">{escape(name)}</text>{bars}'
        f'<text class="soft" x="0" y="125">{low:.3g}</text>'
        f'<text class="soft" x="240" y="125" text-anchor="end">{high:.3g}</text></svg>'
    )


def _gallery(rows: Sequence[Row]) -> str:
    chosen = [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, min(len(rows), SHOWN)).round().astype(int))] if rows else []
    return f"<div class=clips>{''.join(_card(row) for row in chosen)}</div>"


def _card(row: Row) -> str:
    strip = thumbnail(row)
    picture = f'<img src="data:image/jpeg;base64,{strip}" alt="">' if strip else ""
    words = [row["clip_id"], row.get("caption") or "(no caption)", row.get("drop_reason") or ""]
    return f"<figure>{picture}<figcaption>{'<br>'.join(escape(word) for word in words if word)}</figcaption></figure>"


def thumbnail(row: Row) -> str | None:
    """First, middle and last frame side by side as a JPEG in base64; None for a clip without frames."""
    from PIL import Image

    if not row.get("frames") or not row.get("height"):
        return None
    try:
        frames = Look(row).few(min(3, row["frames"]), THUMB)
    except VideoError:
        return None
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(list(frames), axis=1)).save(buffer, "JPEG", quality=78)
    return base64.b64encode(buffer.getvalue()).decode()


def _options(options: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items())
