"""`flipbook curate INPUT... --output FOLDER`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flipbook.data.curation.pipeline import Progress


def curate(
    inputs: Annotated[
        list[Path] | None, typer.Argument(help="Videos, folders of videos, or tables that name them.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for ledger, report and clips.")] = Path("curated"),
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name (--list shows them), or a YAML file.")] = "house",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="STAGE.OPTION=VALUE", help="Change an option. Repeatable.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(metavar="STAGE", help="Leave out a stage, and the rules that need it. Repeatable.")
    ] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Run on Ray Data: 'local', 'auto' or HOST:PORT of a cluster.")
    ] = None,
    report: Annotated[bool, typer.Option(help="Write report.html, a page to look at.")] = True,
    list_: Annotated[bool, typer.Option("--list", help="Show recipes and stages, and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the funnel as JSON, no progress bar.")] = False,
) -> None:
    """Turn raw footage into clips worth training on, and say of every clip why it stayed or went.

    Writes ledger.jsonl (every clip with its measures and fate), report.html, and clips/ with metadata.jsonl, ready for
    `flipbook train`. A run that was interrupted goes on where it stopped when it is started again with the same words.

    Begin with `flipbook curate FOLDER`, look at the report, then change a rule:
    `--set 'select.keep_if=["text_area <= 0.02", "motion_p50 >= percentile(motion_p50, 12.5)"]'`.
    """
    from dataclasses import asdict

    from flipbook.data.curation.funnel import funnel, funnel_lines
    from flipbook.data.curation.pipeline import curate as run
    from flipbook.data.curation.recipe import load_recipe

    if list_:
        typer.echo(_catalogue())
        return
    if not inputs:
        raise ValueError("nothing to curate: give videos, or folders with videos. `flipbook curate --list` shows recipes.")
    plan = load_recipe(recipe, set_ or (), without or ())
    spread = None
    if ray:
        from flipbook.data.curation.cluster import on_ray

        spread = on_ray(ray)
    with _bars(show=not json) as progress:
        rows = run(inputs, output, plan, spread=spread, on_progress=progress)
    if report:
        from flipbook.data.curation.report import write_report

        write_report(rows, plan, output / "report.html")
    if json:
        from json import dumps

        typer.echo(dumps([asdict(step) for step in funnel(rows, plan.stages)], indent=1))
        return
    typer.echo("\n".join(funnel_lines(rows, plan.stages)))
    typer.echo(f"ledger: {output / 'ledger.jsonl'}" + (f"   report: {output / 'report.html'}" if report else ""))


def _catalogue() -> str:
    """Recipes with their sources, and stages with what they do."""
    from flipbook.data.curation.recipe import read_recipe, shipped_recipes
    from flipbook.data.curation.stage import STAGES, stage_class

    lines = ["Recipes:"]
    for name in shipped_recipes():
        data = read_recipe(name)
        lines += [f"  {name:<24}{data['about'].strip()}", f"  {'':<24}({data['source']})"]
    lines.append("Stages:")
    for name in STAGES:
        text = " ".join((stage_class(name).__doc__ or "").split("\n\n")[0].split())
        lines += [f"  {name:<24}{text}", f"  {'':<24}options: {', '.join(stage_class(name).model_fields) or 'none'}"]
    return "\n".join(lines)


@contextmanager
def _bars(show: bool) -> Iterator[Progress | None]:
    """A progress bar whose words say which pass is under way."""
    import sys

    if not show or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("looking for clips", total=None)
        yield lambda title, done, total: progress.update(task, description=title, completed=done, total=total)
