"""Ask a model for a set of prompts, look at every video, and write down how many show what was asked for."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flipbook import machine
from flipbook.files.temporary import written_whole
from flipbook.metrics.intervals import wilson
from flipbook.metrics.page import write_page
from flipbook.metrics.prompts import GROUPS, JUDGED, Prompt
from flipbook.metrics.table import markdown_table
from flipbook.metrics.truth import ATTRIBUTES, Score, score
from flipbook.video import Video, contact_sheet

JOURNAL = "videos.jsonl"
KEPT_PSNR = 30.0           # dB: from here on a given first frame counts as kept
BEST_PSNR = 99.0           # dB: what an identical frame is given, so that means and JSON stay finite
SHEET_ROWS = 16

Generate = Callable[..., Sequence[Video]]
"""`generate(prompts, seeds, first_frames=None, **settings) -> videos`; first_frames: uint8 (H, W, 3) each, or None."""


def evaluate(
    generate: Generate,
    prompts: Sequence[Prompt],
    output: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    batch_size: int = 4,
    resume: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    measure: Callable[[Video], Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Generate, judge and report: videos/, results.json, table.md, index.html, sample.png and failures.png in `output`.

    generate:   makes the videos of one batch; see `Generate`. A batch holds prompts of one group only.
    settings:   handed on to `generate`; `height` and `width` (64 where not given) are also the size of first frames.
    model:      what identifies the model (name, hashes), JSON-able; part of the results.
    resume:     keep videos that an earlier, perhaps interrupted, run made of the same prompts, settings and model.
    on_progress: told (videos done, videos in all).
    measure:    further numbers of each video, JSON-able, which its record then holds as `measured`.

    Returns the results as written. Raises ValueError if `output` holds results already and `resume` is False.
    """
    if batch_size < 1 or not prompts:
        raise ValueError(f"batch_size={batch_size} and {len(prompts)} prompts: there is nothing to do. Try 1 or more.")
    output, settings, model = Path(output), dict(settings or {}), dict(model or {})
    journal = output / JOURNAL
    if journal.exists() and not resume:
        raise ValueError(f"{output} holds an evaluation already. Try --resume to go on with it, or another folder.")
    (output / "videos").mkdir(parents=True, exist_ok=True)

    keys = {prompt.name: _key(prompt, settings, model) for prompt in prompts}
    done = _read_journal(output, set(keys.values()))
    records = {prompt.name: done[keys[prompt.name]] for prompt in prompts if keys[prompt.name] in done}
    with written_whole(journal) as path:                                   # without other runs' records and torn lines
        path.write_text("".join(json.dumps(record) + "\n" for record in records.values()))
    with journal.open("a") as file:
        for batch in _batches([prompt for prompt in prompts if prompt.name not in records], batch_size):
            if on_progress:
                on_progress(len(records), len(prompts))
            for record in _make(generate, batch, output, settings, keys, measure):
                records[record["name"]] = record
                file.write(json.dumps(record) + "\n")
            file.flush()
    if on_progress:
        on_progress(len(prompts), len(prompts))

    ordered = [records[prompt.name] for prompt in prompts]
    results = {
        "model": model,
        "settings": settings,
        "versions": machine.versions(),
        "seconds": round(sum(record["seconds"] for record in ordered), 3),
        "groups": summarise(ordered),
        "prompts": ordered,
    }
    report(results, output)
    return results


def report(results: Mapping[str, Any], output: Path) -> None:
    """Write everything that is made from results and videos: results.json, table.md, index.html and the two sheets."""
    with written_whole(output / "results.json") as path:
        path.write_text(json.dumps(results, indent=1) + "\n")
    with written_whole(output / "table.md") as path:
        path.write_text(markdown_table(results))
    write_page(results, output / "index.html")
    records = results["prompts"]
    groups = [[record for record in records if record["group"] == group] for group in GROUPS]
    share = max(2, SHEET_ROWS // sum(map(bool, groups)))
    _write_sheet([record for group in groups for record in group[:share]], output, "sample.png")
    _write_sheet([record for record in records if record["right"] is False][:SHEET_ROWS], output, "failures.png")


def summarise(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Per judged group and attribute `right`, `asked`, `share` and interval `low`, `high`; PSNR of first frames."""
    groups: dict[str, Any] = {}
    for group in JUDGED:
        members = [record for record in records if record["group"] == group]
        if not members:
            continue
        verdicts = {
            name: [record["attributes"][name] for record in members if name in record["attributes"]]
            for name in (*ATTRIBUTES, "kept")
        }
        verdicts["all"] = [record["right"] for record in members]
        groups[group] = {
            "prompts": len(members),
            "attributes": {name: _share(values) for name, values in verdicts.items() if values},
        }
        psnrs = [record["psnr"] for record in members if record["psnr"] is not None]
        if psnrs:
            groups[group]["psnr"] = {"mean": float(np.mean(psnrs)), "lowest": min(psnrs)}
    return groups


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two 8-bit pictures of one shape, dB; `BEST_PSNR` for equal ones."""
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return min(BEST_PSNR, 10 * math.log10(255**2 / error)) if error else BEST_PSNR


def _batches(prompts: Sequence[Prompt], size: int) -> Iterator[list[Prompt]]:
    for group in GROUPS:
        members = [prompt for prompt in prompts if prompt.group == group]
        yield from (members[start : start + size] for start in range(0, len(members), size))


def _make(
    generate: Generate, batch: Sequence[Prompt], output: Path, settings: Mapping[str, Any], keys: Mapping[str, str],
    measure: Callable[[Video], Mapping[str, Any]] | None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Make, keep and judge the videos of one batch."""
    height, width = settings.get("height", 64), settings.get("width", 64)
    pictures = [prompt.first_frame(height, width) for prompt in batch]
    firsts = None if pictures[0] is None else pictures                     # one group: all of them or none
    start = time.perf_counter()
    videos = generate([prompt.text for prompt in batch], [prompt.seed for prompt in batch], firsts, **settings)
    seconds = (time.perf_counter() - start) / len(batch)
    for prompt, video, first in zip(batch, videos, pictures, strict=True):
        path = video.write(output / "videos" / f"{prompt.name}.mp4", sidecar=False)
        yield {
            "name": prompt.name,
            "group": prompt.group,
            "prompt": prompt.text,
            "seed": prompt.seed,
            "video": f"videos/{path.name}",
            "seconds": round(seconds, 3),
            "key": keys[prompt.name],
            **_judge(prompt, video, first),
        } | ({"measured": dict(measure(video))} if measure else {})


def _judge(prompt: Prompt, video: Video, first: np.ndarray | None) -> dict[str, Any]:
    """`attributes` by name, whether all are `right` (None for what only an eye can judge), what was `seen`, `psnr`."""
    if prompt.group not in JUDGED:
        return {"attributes": {}, "right": None, "seen": None, "psnr": None}
    verdict = score(video, prompt.text)
    attributes = dict(verdict.attributes)
    likeness = None
    if first is not None:
        likeness = psnr(video.frames[0], first)
        attributes["kept"] = likeness >= KEPT_PSNR
    return {"attributes": attributes, "right": all(attributes.values()), "seen": _describe(verdict), "psnr": likeness}


def _describe(verdict: Score) -> str:
    """What was seen, as a sentence like the prompt, with ? for what could not be said."""
    things = [
        " ".join(filter(None, [thing.size, thing.colour or "?", thing.shape or "?", thing.motion or "?"]))
        + ("" if thing.steady else " (comes and goes)")
        for thing in verdict.reading.objects
    ]
    return f"{' and '.join(things) or 'nothing'} on {verdict.reading.background or '?'}"


def _share(values: Sequence[bool]) -> dict[str, Any]:
    right, asked = sum(values), len(values)
    low, high = wilson(right, asked)
    return {"right": right, "asked": asked, "share": right / asked, "low": low, "high": high}


def _key(prompt: Prompt, settings: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    """A hash of everything that decides a video."""
    everything = [prompt.group, prompt.text, prompt.seed, settings, model]
    return hashlib.sha256(json.dumps(everything, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _read_journal(output: Path, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """Records of earlier videos that are wanted again and still there, by key. A line torn by a kill is no record."""
    found: dict[str, dict[str, Any]] = {}
    if not (output / JOURNAL).exists():
        return found
    for line in (output / JOURNAL).read_text().splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if record["key"] in wanted and (output / record["video"]).exists():
            found[record["key"]] = record
    return found


def _write_sheet(records: Sequence[Mapping[str, Any]], output: Path, name: str) -> None:
    """One row of frames per record; no records, no sheet, and none left over from before either."""
    (output / name).unlink(missing_ok=True)
    if not records:
        return
    videos = [Video.read(output / record["video"], audio=False) for record in records]
    with written_whole(output / name) as path:
        contact_sheet(videos, columns=8, titles=[_title(record) for record in records]).save(path)


def _title(record: Mapping[str, Any]) -> str:
    wrong = [name for name, right in record["attributes"].items() if not right]
    return record["prompt"] + (f"   [wrong: {', '.join(wrong)}; seen: {record['seen']}]" if wrong else "")
