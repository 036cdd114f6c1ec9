"""`flipbook train RECIPE.yaml [key=value ...]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.", dir_okay=False)],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="dotted.key=value, for instance optimizer.lr=1e-4")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest whole checkpoint in the output.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Read and check the recipe, print it in full, train nothing.")
    ] = False,
) -> None:
    """Train a system, or fine-tune a model, as a recipe says.

    Ctrl-C saves a checkpoint and ends; --resume goes on from there, bit for bit.
    """
    from flipbook.training.recipe import RecipeError, load_recipe

    try:
        plan = load_recipe(recipe, overrides or ())
    except RecipeError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    if check:
        import yaml

        typer.echo(yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False).rstrip())
        return

    from flipbook import machine
    from flipbook.data.sources.prefetch import DataWorkerError
    from flipbook.train import NonFiniteLoss
    from flipbook.train import train as run

    machine.keep_freed_memory()
    try:
        run(plan, resume=resume)
    except (ValueError, OSError, DataWorkerError, NonFiniteLoss) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
