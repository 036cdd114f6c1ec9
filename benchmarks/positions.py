"""Accuracy and flicker by length: every arm of a comparison is trained once and makes clips of several lengths.

    python benchmarks/positions.py docs/positions.yaml runs/positions [--lengths 16,24,32,48,64] [--into docs/positions.md] [dotted.key=value ...]

The comparison itself (`flipbook compare`) stands in the folder's `comparison/`, one folder per length beside it; what is finished there is not done
again. A length's figures are means over repeats and prompts: the share of clips that move as asked, and the flicker of parts in grey levels.
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings
from pathlib import Path
from typing import Any

from flipbook.compare.plan import Arm, Plan, load_comparison
from flipbook.compare.run import compare, prompts_of
from flipbook.compare.scores import measurer, score_named
from flipbook.conditions import Text
from flipbook.metrics.evaluate import evaluate
from flipbook.model import Model, UnknownWords
from flipbook.video import Video

SCORES = ("motion", "local flicker")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--lengths", default="16,24,32,48,64")
    parser.add_argument("--into", type=Path)
    asked = parser.parse_intermixed_args()
    lengths = [int(n) for n in asked.lengths.split(",")]
    plan = load_comparison(asked.comparison, asked.overrides)
    if not plan.trains or not plan.arms_train_apart:
        raise SystemExit(f"{asked.comparison}: its arms train nothing of their own, so there is nothing to tell apart by length.")
    compare(plan, asked.output / "comparison", say=print)
    found = {arm.name: [scored(plan, arm, length, asked.output) for length in lengths] for arm in plan.arms}
    text = page(found, lengths, f"python benchmarks/positions.py {asked.comparison} {asked.output}")
    print(text)
    if asked.into:
        asked.into.write_text(text, encoding="utf-8")


def scored(plan: Plan, arm: Arm, length: int, output: Path) -> dict[str, float]:
    """The mean of each score over all clips of this length that the arm's models make."""
    values: dict[str, list[float]] = {name: [] for name in SCORES}
    for repeat in range(plan.comparison.repeats):
        home = output / f"{length}-frames" / arm.folder / f"repeat-{repeat}"
        record = home / "result.json"
        if not record.is_file():
            print(f"{arm.name}, {length} frames, repeat {repeat + 1} of {plan.comparison.repeats}")
            record.parent.mkdir(parents=True, exist_ok=True)
            made = clips(plan, arm, repeat, length, output, home)
            record.write_text(json.dumps(made["prompts"]) + "\n")
        for clip in json.loads(record.read_text()):
            for name in SCORES:
                value = score_named(name).read(clip)
                if value is not None:
                    values[name].append(float(value))
    return {name: statistics.fmean(found) for name, found in values.items() if found}


def clips(plan: Plan, arm: Arm, repeat: int, length: int, output: Path, home: Path) -> dict[str, Any]:
    model = Model.from_pretrained(output / "comparison" / "arms" / arm.folder / f"repeat-{repeat}" / "training" / "model")

    def generate(prompts: list[str], seeds: list[int], first_frames: list | None = None, **settings: Any) -> list[Video]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnknownWords)
            requests: list[Any] = [[Text(prompt)] for prompt in prompts]
            return list(model.generate(requests, seed=seeds, batch_size=plan.comparison.batch_size, **settings))  # type: ignore[arg-type]

    assert arm.recipe is not None
    shape = {"height": arm.recipe.height, "width": arm.recipe.width}
    settings = {**model.system.defaults, **shape, **arm.settings, "num_frames": length}
    return evaluate(generate, prompts_of(plan, repeat), home, settings=settings, batch_size=plan.comparison.batch_size, resume=True, measure=measurer(SCORES))


def page(found: dict[str, list[dict[str, float]]], lengths: list[int], command: str) -> str:
    lines = ["# Which code of time holds beyond the length of training", "", f"Written by `{command}`.", ""]
    for name in SCORES:
        score = score_named(name)
        lines += [f"## {name.capitalize()}: {score.says}{f', {score.unit}' if score.unit else ''}", ""]
        lines += ["| code | " + " | ".join(f"{n} frames" for n in lengths) + " |", "|---" * (len(lengths) + 1) + "|"]
        lines += ["| " + " | ".join([arm, *(f"{row[name]:.2f}" if name in row else "-" for row in rows)]) + " |" for arm, rows in found.items()]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
