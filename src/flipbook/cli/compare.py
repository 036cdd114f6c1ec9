"""`flipbook compare FILE.yaml [key=value ...]`, or `flipbook compare --model NAME --vary KEY=V1,V2,...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def compare(
    file: Annotated[Path | None, typer.Argument(help="A comparison, or a training recipe together with --vary.", dir_okay=False)] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="dotted.key=value, set in that file first.")] = None,
    vary: Annotated[str | None, typer.Option(metavar="KEY=V1,V2,...", help="The factor and its values; the others are held against the first.")] = None,
    model: Annotated[str | None, typer.Option(help="A shipped model's name, or a model folder: nothing is trained.")] = None,
    repeats: Annotated[int | None, typer.Option(help="How often everything is done, each time with another seed.", min=1)] = None,
    steps: Annotated[int | None, typer.Option(help="Updates of each training.", min=1)] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes of each training, in place of updates.")] = None,
    prompt: Annotated[list[str] | None, typer.Option(metavar="WORDS|GROUP=N", help="A sentence, or prompts of a group of evaluate. Repeatable.")] = None,
    videos: Annotated[int | None, typer.Option(help="Videos of each sentence.", min=1)] = None,
    set: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of generation for all arms. Repeatable.")] = None,
    score: Annotated[list[str] | None, typer.Option(help="What is scored, for instance motion. Repeatable.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the first repeat; the others count up.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Videos made together.", min=1)] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for everything. Default: comparisons/NAME")] = None,
    into: Annotated[Path | None, typer.Option(help="A Markdown document that has marks for the table.", dir_okay=False)] = None,
    check: Annotated[bool, typer.Option("--check", help="Build every arm, print the plan, run nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON, no progress.")] = False,
) -> None:
    """Change one factor, keep everything else, repeat, and say what it changes: table, sheets, page.

    KEY is a recipe's dotted key (optimizer.lr), a field of its system (inserts) or a setting of generation (guidance_scale). Started again
    with the same words, an interrupted comparison goes on.
    """
    from flipbook import machine
    from flipbook.cli.output import progress_bar
    from flipbook.compare.plan import make_plan, plan_as_json
    from flipbook.training.recipe import read_tree

    tree: dict[str, Any] = {} if file is None else read_tree(file, overrides or (), "comparison")
    if file is not None and "data" in tree:                                # a recipe
        tree = {"name": file.stem, "recipe": tree}
    asked: dict[str, Any] = {
        "model": model, "repeats": repeats, "steps": steps, "minutes": minutes, "videos": videos, "seed": seed, "batch_size": batch_size,
        "scores": score, "prompts": _prompts(prompt or []), **_factor(vary),
        "settings": {**tree.get("settings", {}), **_settings(set)} if set else None,
    }  # fmt: skip
    tree |= {key: value for key, value in asked.items() if value is not None}
    if "arms" not in tree:
        raise ValueError("nothing is compared yet. Try --vary guidance_scale=1,4,7 --model thumb, or a file with `arms`.")
    tree.setdefault("name", f"{model or 'comparison'}-{tree.get('vary') or 'arms'}")
    plan = make_plan(tree, str(file or "comparison"))

    from json import dumps

    from flipbook.compare import run
    from flipbook.compare.table import markdown, write_into
    from flipbook.compare.training import Stopped

    if check:
        run.check(plan)
        typer.echo(dumps(plan_as_json(plan), indent=1))
        return
    machine.keep_freed_memory()
    folder = output or Path("comparisons") / plan.comparison.name.replace("/", "-")
    say = (lambda line: None) if json else (lambda line: typer.echo(line, err=True))
    try:
        with progress_bar("comparing", show=not (json or plan.trains)) as progress:  # a training has its own bar
            results = run.compare(plan, folder, say=say, on_progress=progress)
    except Stopped as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(1) from None
    if into is not None:
        write_into(into, markdown(results))
    typer.echo(dumps(results, indent=1) if json else f"{markdown(results)}\npage: {folder / 'index.html'}")


def _factor(vary: str | None) -> dict[str, Any]:
    """`KEY=V1,V2` as a comparison has it; the values are YAML."""
    if vary is None:
        return {}
    import yaml

    from flipbook.training.recipe import read_yaml

    key, equals, values = vary.partition("=")
    try:
        arms = read_yaml(f"[{values}]")
    except yaml.YAMLError as error:
        raise ValueError(f"--vary {vary!r}: the values are not valid YAML. Quote words that hold commas or colons.") from error
    if not equals or not key.strip() or len(arms) < 2:
        raise ValueError(f"--vary {vary!r} is not KEY=V1,V2,... with two values or more. Try --vary guidance_scale=1,4,7")
    return {"vary": key.strip(), "arms": arms}


def _settings(items: list[str]) -> dict[str, Any]:
    from flipbook.training.recipe import set_override

    settings: dict[str, Any] = {}
    for item in items:
        set_override(settings, item)
    return settings


def _prompts(items: list[str]) -> dict[str, int] | list[str] | None:
    """Groups with counts, or sentences. Raises ValueError for a mixture."""
    counts = {group.strip(): int(number) for item in items for group, _, number in [item.partition("=")] if number.strip().isdigit()}
    if counts and len(counts) < len(items):
        raise ValueError("--prompt mixes groups and sentences. Give GROUP=N alone, or sentences alone.")
    return counts or items or None
