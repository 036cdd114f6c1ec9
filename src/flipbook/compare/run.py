"""Do what a plan says: every arm of every repeat, interleaved, each a folder that is whole or is made again.

    output/
        comparison.json                 the plan in full
        before/                         what is trained ahead of all arms, if anything is
        arms/ARM/repeat-0/
            result.json                 the mark of a finished one
            training/                   recipe, log, model
            index.html ...              the arm's own page, table and videos, as `flipbook evaluate` writes them
        results.json  table.md  index.html  sheets/
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flipbook import machine, systems
from flipbook.compare.page import write_page
from flipbook.compare.plan import Arm, Plan, plan_as_json
from flipbook.compare.scores import measurer
from flipbook.compare.sheets import write_sheets
from flipbook.compare.summary import summarise
from flipbook.compare.table import markdown
from flipbook.compare.training import build, train_arm
from flipbook.data.sources.world import WORLD_FPS
from flipbook.files.temporary import written_whole
from flipbook.metrics.evaluate import evaluate
from flipbook.metrics.prompts import DEFAULT_COUNTS, Prompt, make_prompts, own_prompts
from flipbook.model import Model, asker, load
from flipbook.sampling import settle
from flipbook.systems.base import System

Say = Callable[[str], None]
Progress = Callable[[int, int], None]


def compare(plan: Plan, output: str | Path, *, say: Say = lambda line: None, on_progress: Progress | None = None) -> dict[str, Any]:
    """Run a comparison in `output`, or go on with one, and report. Returns the results as written to results.json.

    say: told what begins, a line each.   on_progress: told (finished, all) arms times repeats.
    Raises ValueError if an arm cannot be built or run (before anything is), or if `output` holds another comparison.
    """
    output = Path(output)
    check(plan)
    _claim(plan, output)
    before = _train_before(plan, output, say)
    turns = list(_turns(plan))
    model = None if plan.trains else load(str(plan.comparison.model))
    for number, (repeat, arm) in enumerate(turns):
        if on_progress:
            on_progress(number, len(turns))
        if not (_home(output, arm, repeat) / "result.json").is_file():
            say(f"{number + 1}/{len(turns)}: {arm.name}, repeat {repeat + 1} of {plan.comparison.repeats}")
            _run_one(plan, arm, repeat, output, model, before)
    if on_progress:
        on_progress(len(turns), len(turns))
    return report(plan, output)


def check(plan: Plan) -> None:
    """Raises ValueError, naming the arm, if its networks cannot be built or its settings cannot work. Nothing is trained or written."""
    if plan.before is not None:
        build(plan.before, empty=True)
    shipped = None if plan.trains else load(str(plan.comparison.model)).system
    for arm in plan.arms:
        try:
            system = shipped or getattr(build(arm.recipe, empty=True), "system", None) if arm.recipe else shipped
            if system is None:
                raise ValueError("its objective has no system, so there is nothing to generate with. Try objective=denoising.")
            settings = _settings(plan, arm, system)
            settle(system, **{key: value for key, value in settings.items() if key != "dtype"})
            if settings.get("dtype") is not None:
                machine.dtype_named(settings["dtype"])
        except (ValueError, TypeError) as error:
            raise ValueError(f"arm {arm.name!r}: {error}") from error


def report(plan: Plan, output: Path) -> dict[str, Any]:
    """Write what is made of finished arms: results.json, table.md, index.html and the sheets."""
    runs = {
        arm.name: [json.loads((_home(output, arm, r) / "result.json").read_text()) for r in range(plan.comparison.repeats)]
        for arm in plan.arms
    }
    results = {"name": plan.comparison.name, "versions": machine.versions(), **plan_as_json(plan), "summary": summarise(runs, plan.scores), "runs": runs}
    with written_whole(output / "results.json") as path:
        path.write_text(json.dumps(results, indent=1) + "\n")
    with written_whole(output / "table.md") as path:
        path.write_text(markdown(results))
    write_sheets(results, output)
    write_page(results, output / "index.html")
    return results


def _claim(plan: Plan, output: Path) -> None:
    """Write comparison.json, or see that the one that is there is of this plan; more repeats are welcome."""
    path, now = output / "comparison.json", json.loads(json.dumps(plan_as_json(plan)))
    if path.is_file():
        there = json.loads(path.read_text())
        repeats = there["comparison"].pop("repeats", None)
        ours = {**now, "comparison": {key: value for key, value in now["comparison"].items() if key != "repeats"}}
        changed = [key for key in ours["comparison"] if there["comparison"].get(key) != ours["comparison"][key]]
        if not changed and there != ours:
            changed = ["recipe"]
        if changed or repeats > plan.comparison.repeats:
            raise ValueError(
                f"{output} holds another comparison: {', '.join(changed) or 'repeats'} differ(s), see {path.name} there. "
                "Choose another output, or remove that folder."
            )
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(now, indent=1) + "\n")


def _turns(plan: Plan) -> Iterator[tuple[int, Arm]]:
    """Repeat by repeat, and in each one all arms, another one first: what drifts on a shared machine hits all alike."""
    for repeat in range(plan.comparison.repeats):
        start = repeat % len(plan.arms)
        for arm in plan.arms[start:] + plan.arms[:start]:
            yield repeat, arm


def _home(output: Path, arm: Arm, repeat: int) -> Path:
    return output / "arms" / arm.folder / f"repeat-{repeat}"


def _train_before(plan: Plan, output: Path, say: Say) -> System | None:
    if plan.before is None:
        return None
    recipe = plan.before.model_copy(update={"output": output / "before", "seed": plan.before.seed + plan.comparison.seed})
    say("before all: what every arm begins with")
    train_arm(recipe, recipe)
    return systems.load(output / "before" / "model")


def _run_one(plan: Plan, arm: Arm, repeat: int, output: Path, model: Model | None, before: System | None) -> None:
    folder, training = _home(output, arm, repeat), None
    if arm.recipe is not None:
        home = folder if plan.arms_train_apart else output / "trained" / f"repeat-{repeat}"
        seed = {"seed": arm.recipe.seed + plan.comparison.seed + repeat}
        recipe, first = (r.model_copy(update={"output": home / "training", **seed}) for r in (arm.recipe, plan.arms[0].recipe) if r is not None)
        training = train_arm(recipe, first, before)
        if "failed" in training:
            return _finish(folder, arm, repeat, training, [], None)
        model = Model.from_pretrained(home / "training" / "model")
    assert model is not None
    made = evaluate(
        asker(model, plan.comparison.batch_size), prompts_of(plan, repeat), folder, settings=_settings(plan, arm, model.system),
        model=model.identity | {"name": f"{arm.name}, repeat {repeat + 1}"},
        batch_size=plan.comparison.batch_size, resume=True, measure=measurer(plan.scores),
    )  # fmt: skip
    clips = [{**record, "video": (folder / record["video"]).relative_to(output).as_posix()} for record in made["prompts"]]
    _finish(folder, arm, repeat, training, clips, training["seconds_per_update"] if training else made["seconds"] / len(clips))


def _finish(folder: Path, arm: Arm, repeat: int, training: dict[str, Any] | None, clips: list[dict[str, Any]], seconds: float | None) -> None:
    result = {"arm": arm.name, "repeat": repeat, "seconds": seconds, "training": training, "clips": clips, "finished": time.time()}
    with written_whole(folder / "result.json") as path:
        path.write_text(json.dumps(result, indent=1) + "\n")


def prompts_of(plan: Plan, repeat: int) -> list[Prompt]:
    """What is asked of every arm in one repeat, seeds of the noise among it."""
    asked, seed = plan.comparison.prompts, plan.comparison.seed + repeat
    if isinstance(asked, dict):
        return make_prompts(seed, dict.fromkeys(DEFAULT_COUNTS, 0) | asked)
    return own_prompts([text for text in asked for _ in range(plan.comparison.videos)], seed)


def _settings(plan: Plan, arm: Arm, system: System) -> dict[str, Any]:
    """How an arm's clips are made: the system's defaults, the shape of its training clips, what the comparison says, what the arm says."""
    shape: dict[str, Any] = {}
    if arm.recipe is not None:
        shape = {key: getattr(arm.recipe, key) for key in ("num_frames", "height", "width")} | {"fps": WORLD_FPS / arm.recipe.frame_stride}
    return {**system.defaults, **shape, **arm.settings}
