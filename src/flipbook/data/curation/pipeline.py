"""Run a recipe: passes over clips and over tables, journalled, in this process or on Ray; the output is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flipbook import __version__
from flipbook.data.curation.frames import Look
from flipbook.data.curation.gather import gather
from flipbook.data.curation.ledger import Journal, Row, digest, drop, is_kept, plain_row, write_rows
from flipbook.data.curation.recipe import Recipe
from flipbook.data.curation.stage import AllClips, EachClip, Stage

JOURNAL, LEDGER = "journal.jsonl", "ledger.jsonl"
Progress = Callable[[str, int, int], None]
"""Told (what is being done, clips done, clips in all)."""

Spread = Callable[[Sequence[EachClip], Sequence[Row]], Iterator[tuple[int, list[Row]]]]
"""Runs stages on rows somewhere and yields (number of the row, its results) in any order."""


@dataclass(frozen=True)
class Pass:
    """Stages that run together: one that compares all clips, or some that share the decoded frames of each clip."""

    stages: tuple[Stage, ...]

    @property
    def title(self) -> str:
        return ", ".join(stage.name for stage in self.stages)


def curate(
    inputs: Sequence[Path],
    output: Path,
    recipe: Recipe,
    *,
    spread: Spread | None = None,
    on_progress: Progress | None = None,
) -> list[Row]:
    """Run `recipe` over the videos of `inputs`; writes `ledger.jsonl` in `output` and returns its rows.

    spread: where the passes over clips run; None for this process. An interrupted run goes on where it stopped: what
    was computed stands in `journal.jsonl`, and nothing else decides the output. Raises ValueError before any work if a
    stage lacks something, and lets bugs through; a broken file is a dropped row.
    """
    for stage in recipe.stages:
        stage.ready()
    rows = [plain_row(row) for row in gather(inputs)]
    journal = Journal(output / JOURNAL)
    try:
        for work in passes(recipe.stages):
            first = work.stages[0]
            if isinstance(first, AllClips):
                if on_progress:
                    on_progress(first.name, 0, len(rows))
                rows = [plain_row(row) for row in first.run(rows, output)]
            else:
                each = [stage for stage in work.stages if isinstance(stage, EachClip)]
                rows = _each(each, rows, journal, spread or in_this_process, work.title, on_progress)
    finally:
        journal.close()
    rows = [{**row, "keep": is_kept(row)} for row in rows]
    write_rows(output / LEDGER, rows)
    return rows


def passes(stages: Sequence[Stage]) -> list[Pass]:
    """Group stages: neighbours that look at clips share a pass, unless one wants to be alone."""
    groups: list[list[Stage]] = []
    for stage in stages:
        last = groups[-1][-1] if groups else None
        if last is None or _alone(stage) or _alone(last):
            groups.append([])
        groups[-1].append(stage)
    return [Pass(tuple(group)) for group in groups]


def _alone(stage: Stage) -> bool:
    return isinstance(stage, AllClips) or stage.alone


def _each(
    stages: Sequence[EachClip], rows: list[Row], journal: Journal, spread: Spread, title: str, told: Progress | None
) -> list[Row]:
    """Every kept row through the stages; known results come from the journal."""
    options = [__version__, *((stage.name, stage.model_dump(mode="json")) for stage in stages)]
    keys = {i: digest(options, row) for i, row in enumerate(rows) if is_kept(row)}
    missing = [i for i, key in keys.items() if key not in journal.known]
    done = len(keys) - len(missing)
    if told:
        told(title, done, len(keys))
    for number, results in spread(stages, [rows[i] for i in missing]):
        lasts = all(stage.lasts(result) for stage in stages for result in results)
        journal.add(keys[missing[number]], [plain_row(result) for result in results], lasts=lasts)
        done += 1
        if told:
            told(title, done, len(keys))
    return [result for i, row in enumerate(rows) for result in (journal.known[keys[i]] if i in keys else [row])]


def in_this_process(stages: Sequence[EachClip], rows: Sequence[Row]) -> Iterator[tuple[int, list[Row]]]:
    """One row after the other."""
    for i, row in enumerate(rows):
        yield i, run_stages(stages, row)


def run_stages(stages: Sequence[EachClip], row: Row) -> list[Row]:
    """One row through stages that share its frames; a file that fails under way is dropped, with the reason."""
    from flipbook.data.survey.facts import RULES
    from flipbook.files.errors import VideoError

    look = Look(row)
    for stage in stages:
        try:
            found = stage.run(row, look)
        except VideoError as error:
            found = drop(stage.name, RULES.get(type(error), "damaged"), str(error))
        if isinstance(found, list):                            # a stage that divides clips is alone in its pass
            return [{**row, **columns} for columns in found]
        row = {**row, **found}
        if not is_kept(row):
            break
    return [row]
