"""Make a video again from the recipe inside its file, and say whether it came out the same."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from flipbook import machine
from flipbook.conditions import from_json
from flipbook.generate import frames_hash, generate
from flipbook.interop.folder import from_pretrained, model_folder
from flipbook.sampling import Settings, prepare
from flipbook.video import Video, VideoError, read_recipe

RECIPE_KEYS = ("model", "conditions", "settings", "seed", "versions", "machine", "frames_sha256")


@dataclass(frozen=True, eq=False)
class Replay:
    """video: made again.   same_frames: as generated, bit for bit.   same_file: the same bytes when written again.

    differences: what is not as it was when the file was made (weights, versions, machine), in words.
    """

    video: Video
    same_frames: bool
    same_file: bool
    differences: list[str]


def replay(
    path: str | os.PathLike[str], *, model: str | None = None, progress: Callable[[int, int], None] | None = None
) -> Replay:
    """Make the video of a file again by its own recipe, with as many threads as then.

    model: a name or folder to use instead of the one that the recipe names.
    Raises ValueError if the file carries no recipe of flipbook's or the model cannot be found.
    """
    path = Path(path)
    recipe = read_recipe(path)
    if recipe is None or recipe.get("made_by") != "flipbook":
        raise VideoError(
            f"{path} carries no recipe, so it cannot be made again. Files of `flipbook generate` carry one until another"
            " tool rewrites them; NAME.json beside them will do as well."
        )
    if lacks := [key for key in RECIPE_KEYS if key not in recipe]:
        raise VideoError(f"the recipe in {path} has no {', '.join(lacks)}: another version of flipbook made it.")
    settings = dict(recipe["settings"])
    dtype, compile = settings.pop("dtype", None), settings.pop("compile", False)
    if strange := settings.keys() - {field.name for field in fields(Settings)}:
        raise VideoError(f"the recipe in {path} sets {', '.join(strange)}: another version of flipbook made it.")
    source, options = source_of(recipe, path, model)
    system = from_pretrained(model_folder(source), device=recipe["machine"]["device"], **options)
    ready = prepare(system, dtype=dtype, compile=compile, source=recipe["model"]["source"], options=options)
    threads = torch.get_num_threads()
    torch.set_num_threads(recipe["machine"]["threads"])
    try:
        [video] = generate(ready, [from_json(recipe["conditions"])], seed=recipe["seed"], progress=progress, **settings)
    finally:
        torch.set_num_threads(threads)
    same_frames = frames_hash(video.frames) == recipe["frames_sha256"]
    same_file = same_frames and path.is_file() and _written(video, path.suffix) == path.read_bytes()
    return Replay(video, same_frames, same_file, _differences(recipe, ready.record["weights_sha256"]))


def source_of(recipe: dict[str, Any], path: Path, model: str | None = None) -> tuple[str, dict[str, Any]]:
    """Name or folder of the model of a recipe that stands in `path`, or `model` in its place, and how it is read.

    Raises ValueError for a model that has none.
    """
    source = model or recipe["model"]["source"]
    if source is None:
        raise ValueError(f"{path} was made from weights in memory, which have no name. Save them and say --model FOLDER.")
    return source, {} if model else recipe["model"].get("options", {})


def _differences(recipe: dict[str, Any], weights: str) -> list[str]:
    now: dict[str, Any] = machine.versions() | {"cpu": torch.backends.cpu.get_cpu_capability()}
    then = recipe["versions"] | {"cpu": recipe["machine"]["cpu"]}
    found = [f"{name} was {then[name]}, is {now.get(name)}" for name in then if then[name] != now.get(name)]
    if weights != recipe["model"]["weights_sha256"]:
        found.append(f"the weights of {recipe['model']['name']} are not those of then")
    return found


def _written(video: Video, suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return video.write(Path(folder) / f"again{suffix}", sidecar=False).read_bytes()
