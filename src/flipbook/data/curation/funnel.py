"""The funnel: how many clips each stage let through, and why the others went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from flipbook.data.curation.ledger import Row, is_kept
from flipbook.data.curation.stage import Stage


@dataclass(frozen=True)
class Step:
    """One stage: clips that came and stayed, and for each rule how many it sent away."""

    stage: str
    came: int
    stayed: int
    reasons: tuple[tuple[str, int], ...]


def funnel(rows: Sequence[Row], stages: Sequence[Stage]) -> list[Step]:
    """The steps that counted: `gather`, and every stage, in order. Shots that a cut made count from there on."""
    gone = Counter(row.get("dropped_by") for row in rows if not is_kept(row))
    order = ["gather", *(stage.name for stage in stages)]
    stayed = sum(map(is_kept, rows))
    steps: list[Step] = []
    for stage in reversed(order):
        reasons = Counter(row["drop_rule"] for row in rows if not is_kept(row) and row.get("dropped_by") == stage)
        if stage not in [step.stage for step in steps]:
            steps.append(Step(stage, stayed + gone[stage], stayed, tuple(reasons.most_common())))
            stayed += gone[stage]
    return [step for step in reversed(steps) if step.reasons or step.stage in ("gather", "cut", "select")]


def funnel_lines(rows: Sequence[Row], stages: Sequence[Stage]) -> list[str]:
    """The funnel as text; every dropped clip is in exactly one line."""
    lines = []
    for step in funnel(rows, stages):
        lines.append(f"{step.stage:<14}{step.came:>7} -> {step.stayed}")
        lines += [f"{'':<14}{count:>7}    {rule}" for rule, count in step.reasons]
    kept = [row for row in rows if is_kept(row)]
    seconds = sum((row.get("end_s") or 0) - (row.get("start_s") or 0) for row in kept)
    lines.append(f"{'kept':<14}{len(kept):>7} of {len(rows)} clips, {seconds / 60:.1f} minutes")
    return lines
