"""`flipbook info PATH`: what a video or a model is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def info(
    path: Annotated[
        Path, typer.Argument(help="A video, an image, a folder of images, a model folder or a shipped model.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Print what a file is: size, frames (counted by decoding), rate, codec, colours, sound and the recipe inside."""
    import json

    from flipbook.files.errors import VideoError

    try:
        facts, rows = model_info(path) if names_a_model(path) else video_info(path)
    except (VideoError, ValueError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    margin = max(len(label) for label, _ in rows) + 2
    for label, value in rows:
        typer.echo(f"{label:<{margin}}{value}")


def names_a_model(path: Path) -> bool:
    """A model folder, or the name of a shipped one where no file of that name stands in the way."""
    if path.exists() or len(path.parts) != 1:
        return (path / "model_index.json").is_file()
    from flipbook.interop.folder import shipped_models

    return str(path) in shipped_models()


def video_info(path: Path) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    from dataclasses import asdict

    from flipbook.files.probe import lines, probe

    facts = probe(path)
    return asdict(facts), lines(facts)


def model_info(path: Path) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    from flipbook.files.probe import size
    from flipbook.interop.folder import describe, model_folder

    facts = describe(model_folder(path))
    rows = [("model", f"{facts['name']}, {facts['parameters']:,} parameters, {size(facts['bytes'])}")]
    for name, part in facts["parts"].items():
        rows.append((name, f"{part['class']}, {part['parameters']:,} parameters, {' '.join(part['dtypes'])}"))
    for name in ("process", "defaults", "card"):
        rows.extend((name if i == 0 else "", f"{key}: {value}") for i, (key, value) in enumerate(facts[name].items()))
    return facts, rows
