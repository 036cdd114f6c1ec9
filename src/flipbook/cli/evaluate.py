"""`flipbook evaluate`: score a model on a set of prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    model: Annotated[str, typer.Option(help="A shipped model's name, or a model folder.")] = "thumb",
    output: Annotated[Path, typer.Option(help="Folder for page, table, JSON, sheets and videos.")] = Path("evaluation"),
    prompts_seed: Annotated[int, typer.Option(help="Another number, another set of prompts.")] = 0,
    count: Annotated[
        list[str] | None, typer.Option(metavar="GROUP=N", help="Prompts in a group, for instance two=40. Repeatable.")
    ] = None,
    inserts: Annotated[str | None, typer.Option(help="off: only the image model inside a video model, frame by frame.")] = None,
    num_frames: Annotated[int | None, typer.Option(help="Length in frames; 1 for what stills can show.", min=1)] = None,
    num_inference_steps: Annotated[int | None, typer.Option(help="Steps of the sampler.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="Pull of the words; 1 is no guidance.")] = None,
    best_of: Annotated[int | None, typer.Option(help="Candidates for each video, of which the model keeps one.", min=1)] = None,
    sampler: Annotated[str | None, typer.Option(help="For instance euler, heun, dpmpp_2m, unipc.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 or bfloat16. Default: what is fast here.")] = None,
    batch_size: Annotated[int, typer.Option(help="Videos made together.", min=1)] = 4,
    compile: Annotated[bool, typer.Option("--compile", help="Compile first: slow to start, faster after.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the videos that an earlier run has made.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON, no progress bar.")] = False,
) -> None:
    """Score a model on fresh sentences of the plain vocabulary: colour, shape, size, motion, background, first frames.

    Groups: seen, held-out, two, first-frame (judged), sky, figures, satellite (to look at).
    """
    from flipbook.cli.output import progress_bar
    from flipbook.metrics.evaluate import evaluate as run
    from flipbook.metrics.prompts import make_prompts
    from flipbook.metrics.table import markdown_table
    from flipbook.model import asker, load

    prompts = make_prompts(prompts_seed, _counts(count or []))
    loaded = load(model, compile=compile, inserts=inserts)
    asked = {
        "num_frames": num_frames, "num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale,
        "best_of": best_of, "sampler": sampler, "dtype": dtype,
    }  # fmt: skip
    settings = loaded.system.defaults | {name: value for name, value in asked.items() if value is not None}
    with progress_bar("evaluating", show=not json) as progress:
        results = run(
            asker(loaded, batch_size), prompts, output, settings=settings, model=loaded.identity,
            batch_size=batch_size, resume=resume, on_progress=progress,
        )  # fmt: skip
    if json:
        from json import dumps

        typer.echo(dumps(results, indent=1))
        return
    typer.echo(markdown_table(results))
    typer.echo(f"page: {output / 'index.html'}")


def _counts(items: list[str]) -> dict[str, int]:
    counts = {}
    for item in items:
        group, equals, number = item.partition("=")
        if not equals or not number.strip().isdigit():
            raise ValueError(f"--count {item!r} is not GROUP=N. Try --count two=40")
        counts[group.strip()] = int(number)
    return counts
