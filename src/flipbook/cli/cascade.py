"""`flipbook cascade FILE "a red circle falls" --folder runs/x`: run a cascade stage by stage, and go on where it stopped.

`flipbook cascade lavie --print > lavie.yaml` writes down a system's own, to be changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def cascade(
    file: Annotated[Path, typer.Argument(help="A YAML file: name, and stages in their order. Or a system that has a cascade.")],
    prompt: Annotated[str, typer.Argument(help="The sentence that the video shows.")] = "",
    folder: Annotated[Path | None, typer.Option(help="Keeps each stage's result. Default: NAME-SEED beside the file.")] = None,
    change: Annotated[list[str] | None, typer.Option("--set", help="stage.field=value, such as larger.model=runs/mine/model. Repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same video.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Video to write. Default: FOLDER/video.mp4.")] = None,
    shown: Annotated[bool, typer.Option("--print", help="Print the cascade as YAML and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run the stages of a cascade one after the other: a first clip, frames in between, larger frames.

    Each stage names a model folder, what it makes and in which size; `flipbook.long.cascade` says what the fields mean.
    A stage that is done is not run again unless it, or one before it, has changed.

    To begin with, write down a system's own and put your models into it: flipbook cascade lavie --print > lavie.yaml
    """
    import yaml

    from flipbook import systems
    from flipbook.cli.output import free_path
    from flipbook.interop.folder import weights_hash
    from flipbook.long.cascade import from_data, run_cascade, settings_from, to_data
    from flipbook.shapes import tensor_to_pixels
    from flipbook.video import Video

    if str(file) in systems.SYSTEMS:
        plan = systems.cascade(str(file))
    else:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise ValueError(f"{file} holds no cascade: it needs a name and a list of stages.")
        plan = from_data(data)
    for name, fields in settings_from(change or []):
        plan = plan.with_stage(name, **fields)
    if shown:
        typer.echo(yaml.safe_dump(to_data(plan), sort_keys=False), nl=False)
        return
    folder = folder or file.with_name(f"{plan.name}-{seed}")
    ready: dict[str, tuple[Any, str]] = {}

    def load(model: str) -> tuple[Any, str]:
        if model not in ready:
            ready.clear()                                                   # one stage's networks in memory at a time
            system = systems.load(model)
            ready[model] = system, weights_hash(system)
        return ready[model]

    def told(stage: str, done: int, total: int) -> None:
        typer.echo(f"{stage}: pass {done} of {total}", err=True)

    pixels = tensor_to_pixels(run_cascade(plan, prompt, seed, folder, load, told=told))
    made: dict[str, Any] = {"made_by": "flipbook", "cascade": to_data(plan), "prompt": prompt, "seed": seed}
    target = free_path(output or folder / "video.mp4")
    target.parent.mkdir(parents=True, exist_ok=True)
    last = plan.stages[-1]
    Video(pixels, fps=last.fps, recipe=made).write(target, odd="pad")
    written = {"path": str(target), "frames": len(pixels), "fps": last.fps, "folder": str(folder)}
    if json:
        from json import dumps

        typer.echo(dumps(written, indent=1))
    else:
        typer.echo(f"{target}  ({len(pixels)} frames of {last.height}x{last.width} at {last.fps:g} fps; stages in {folder})")
