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
    import json

    from flipbook.files.probe import size
    from flipbook.interop.folder import describe, model_folder

    folder = model_folder(path)
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    if index.get("_class_name") != "System":
        return pipeline_info(folder, index)
    facts = describe(folder)
    rows = [("model", f"{facts['name']}, {facts['parameters']:,} parameters, {size(facts['bytes'])}")]
    for name, part in facts["parts"].items():
        rows.append((name, f"{part['class']}, {part['parameters']:,} parameters, {' '.join(part['dtypes'])}"))
    for name in ("process", "defaults"):
        rows.extend((name if i == 0 else "", f"{key}: {value}") for i, (key, value) in enumerate(facts[name].items()))
    if told := facts["streaming"]:
        sink = f" and the first {told['sink']}" if told["sink"] else ""
        rows.append(("streaming", f"chunks of {told['chunk']} frames, which read {told['window']} before them{sink}"))
    rows.extend(("card" if i == 0 else "", line) for i, line in enumerate(card_lines(facts["card"])))
    return facts, rows


def card_lines(card: dict[str, Any]) -> list[str]:
    """A card to read: a line for each stage of training and each group of scores, the rest as it stands. `--json` has all of it."""
    lines = [f"{key}: {value}" for key, value in card.items() if key not in ("stages", "scores") or not value]
    for stage in card.get("stages") or ():
        validation = stage.get("validation_loss") or {}
        told = f", validation loss {validation['first']} to {validation['last']}" if validation else ""
        lines.append(f"stage: {stage['recipe']}, {stage['updates']} updates in {stage['seconds'] / 60:.0f} minutes{told}")
    scores = card.get("scores") or {}
    for group, found in scores.get("groups", {}).items():
        shares = ", ".join(f"{name} {100 * one['share']:.0f} %" for name, one in found["attributes"].items())
        lines.append(f"scores: {group}, {found['prompts']} prompts: {shares}")
    return lines + ([f"scores: {scores['command']}"] if "command" in scores else [])


def pipeline_info(folder: Path, index: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """What a public pipeline's folder holds: its parts by class, their weights from the files' headers, and what is read of it here."""
    from flipbook.files.probe import size
    from flipbook.interop.public import PIPELINES, READERS

    parts = {
        name: {"class": entry[1], **stored_weights(folder / name)}
        for name, entry in index.items() if isinstance(entry, list) and (folder / name).is_dir()
    }  # fmt: skip
    kind = str(index.get("_class_name"))
    facts: dict[str, Any] = {
        "name": folder.name, "folder": str(folder), "pipeline": kind, "is_read": kind in PIPELINES or kind in READERS, "parts": parts,
        "parameters": sum(part["parameters"] for part in parts.values()), "bytes": sum(part["bytes"] for part in parts.values()),
    }  # fmt: skip
    rows = [("pipeline", f"{kind}, {facts['parameters']:,} parameters, {size(facts['bytes'])}")]
    for name, part in parts.items():
        rows.append((name, part["class"] + (f", {part['parameters']:,} parameters, {' '.join(part['dtypes'])}" if part["dtypes"] else "")))
    rows.append(("generate", f"--model {folder}" if facts["is_read"] else f"no: {kind} is not read here"))
    return facts, rows


def stored_weights(folder: Path) -> dict[str, Any]:
    """Parameters, number types and bytes of the safetensors files of one part; of variants, the plain one if it is there."""
    import math

    from flipbook.interop.weights import opened

    files = sorted(folder.glob("*.safetensors"))
    plain = [file for file in files if not any(f".{variant}" in file.name for variant in ("fp16", "bf16", "non_ema"))]
    found: dict[str, Any] = {"parameters": 0, "dtypes": [], "bytes": 0}
    for path in plain or files:
        with opened(path) as file:
            slices = [file.get_slice(key) for key in file.keys()]           # noqa: SIM118 (a safetensors file is no dict)
        found["parameters"] += sum(math.prod(one.get_shape()) for one in slices)
        found["dtypes"] = sorted({*found["dtypes"], *(one.get_dtype() for one in slices)})
        found["bytes"] += path.stat().st_size
    return found
