"""`flipbook systems`: every published system that is here; `show` explains one, `run` trains its demonstration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

systems = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@systems.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List every system with its paper, its parts, how near it is to its reference, and what its demonstration reaches."""
    if context.invoked_subcommand is not None:
        return
    from flipbook.systems import SYSTEMS
    from flipbook.systems.describe import summary

    rows = [summary(name) for name in SYSTEMS]
    if json:
        _print_json(rows)
        return
    table = _table("system", "paper", "parts", "parity", "demonstration")
    for row in rows:
        paper = f"arXiv:{row['arxiv']}, {row['year']}" if row["arxiv"] else "our own"
        table.add_row(row["name"], paper, ", ".join(row["parts"]), parity_in_words(row["parity"]), demo_in_words(row["demo"]))
    _console().print(table)
    typer.echo("flipbook systems show NAME explains one; flipbook systems run NAME trains its demonstration and makes a clip.")


@systems.command()
def show(
    name: Annotated[str, typer.Argument(help="One of those that `flipbook systems` lists.")],
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Explain one system: what is reproduced and what is left out, its stages and parts, and how to cite it."""
    from flipbook.systems.describe import explanation

    facts = explanation(name)
    if json:
        _print_json(facts)
        return
    out = _console()
    head = facts["title"] + (f" (arXiv:{facts['arxiv']}, {facts['year']}; {facts['authors']})" if facts["arxiv"] else "")
    out.print(f"[bold]{facts['name']}[/bold]: {head}\n")
    out.print(facts["about"] + "\n", markup=False)
    for title, sentences in (("Reproduced", facts["reproduces"]), ("Left out", facts["leaves_out"])):
        if sentences:
            out.print(f"[bold]{title}[/bold]")
            for sentence in sentences:
                out.print(f"  - {sentence}", markup=False)
            out.print()
    for title, table in _tables(facts):
        out.print(f"[bold]{title}[/bold]")
        out.print(table)
    near = parity_in_words(facts["parity"]) if facts["parity"] else "no reference has this network whole; its parts are held to theirs in tests/"
    out.print(f"[bold]Parity[/bold]: {near}\n[bold]Demonstration[/bold]: {demo_in_words(facts['demo'])}\n")
    if facts["citation"]:
        out.print("[bold]Citation[/bold]")
        typer.echo(facts["citation"])


@systems.command()
def run(
    name: Annotated[str, typer.Argument(help="One of those that `flipbook systems` lists.")],
    minutes: Annotated[float | None, typer.Option(min=0.05, help="Minutes of training, over all lessons. Default: 1.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Updates over all lessons, in the place of minutes.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the run; its neighbours are those of other systems. Default: runs/systems/NAME.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, data and noise.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a system's demonstration on the world, stage by stage, and make clips: a video, a contact sheet, result.json.

    What is trained or made already is not made again: the same command after a kill goes on. A system that starts from an image model
    trains stable-diffusion's demonstration first, beside its own folder.
    """
    from flipbook import machine
    from flipbook.demonstrate import run_demo

    machine.keep_freed_memory()
    folder = output or Path("runs/systems") / name
    told = lambda line: typer.echo(line, err=True)
    result = run_demo(name, folder, minutes=1.0 if minutes is None and steps is None else minutes, steps=steps, seed=seed, told=told)
    if json:
        _print_json(result | {"folder": str(folder)})
        return
    typer.echo(f"{folder / result['video']}  (sheet {result['sheet']}; {demo_in_words(result)})")


def parity_in_words(facts: dict[str, Any] | None) -> str:
    """The row that comes nearest to its bound."""
    if facts is None:
        return "–"
    return f"{facts['difference']:.1e} of {facts['bound']:.0e} ({facts['component']}; {facts['rows']} rows)"


def demo_in_words(facts: dict[str, Any] | None) -> str:
    """Seconds of training and what was measured after them."""
    if facts is None:
        return "not run"
    measured = dict(facts["measured"])
    clips, flicker = measured.pop("clips"), measured.pop("flicker")
    shares = ", ".join(f"{key} {100 * value:.0f} %" for key, value in measured.items())
    seconds = sum(lesson["seconds"] for lesson in facts["lessons"])
    return f"{seconds:.0f} s of training: {shares}, flicker {flicker:.1f} grey levels, of {clips} clips"


def _tables(facts: dict[str, Any]) -> list[tuple[str, Any]]:
    tables = []
    if facts["stages"]:
        table = _table("stage", "data", "trains", "objective")
        for row in facts["stages"]:
            trains = ", ".join(row["trains"] or row["parts"]) + (f" of {', '.join(row['parts'])}" if row["trains"] and row["parts"] != ["denoiser"] else "")
            options = ", ".join(f"{key}={value}" for key, value in row["options"].items())
            table.add_row(row["name"], row["data"], trains, f"{row['objective']}({options})")
        tables.append(("Stages of training (in a recipe: objective: {stage: NAME})", table))
    table = _table("part", "class", "parameters", "tiny")
    for row in facts["sizes"]:
        table.add_row(row["part"], row["class"], f"{row['parameters']:,}", f"{row['tiny']:,}")
    tables.append((f"Parts{' (of ' + facts['networks'][0] + ')' if facts['networks'] else ''}", table))
    if facts["inserts"]:
        table = _table("insert", "where", "kind", "mixer", "stills")
        for row in facts["inserts"]:
            how = ", ".join(f"{key}={value}" for key, value in row["how"].items())
            table.add_row(row["name"], row["at"], f"{row['kind']}({how})", row["mix"] or "–", row["stills"])
        tables.append(("Inserts in the image network", table))
    if facts["cascade"]:
        table = _table("stage", "makes", "network", "frames", "size")
        for row in facts["cascade"]:
            table.add_row(row["name"], row["makes"], row["model"], f"{row['num_frames']} at {row['fps']:g} fps", f"{row['height']} x {row['width']}")
        tables.append(("Cascade", table))
    return tables


def _table(*headings: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def _print_json(value: Any) -> None:
    from json import dumps

    typer.echo(dumps(value, indent=1))
