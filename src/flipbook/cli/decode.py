"""`flipbook decode FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def decode(
    file: Annotated[Path, typer.Argument(help="NAME.latents.safetensors, as a failed flipbook generate names it.")],
    chunk: Annotated[int | None, typer.Option(help="Frames at a time; fewer need less memory. Default: as many as fit.", min=1)] = None,
    tile: Annotated[int | None, typer.Option(help="Cut pictures into tiles of so many latent cells, say 32: less memory, may show seams.", min=1)] = None,
    model: Annotated[str | None, typer.Option(help="Another model than the one it was sampled by, by name or folder.")] = None,
    output: Annotated[Path | None, typer.Option(help="File or folder. Default: outputs/WORDS-SEED.mp4")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Decode what was sampled before decoding failed, without sampling it again. FILE stays where it is.

    flipbook decode outputs/a-small-star-spins-0-0.latents.safetensors --chunk 1 --tile 32
    """
    from flipbook.autoencoders.rescue import read_latents
    from flipbook.cli.output import output_path, slug, write_video
    from flipbook.conditions import from_json, text_of
    from flipbook.generate import finish
    from flipbook.interop.folder import from_pretrained, model_folder
    from flipbook.replay import source_of

    recipes = read_latents(file)[1]
    source, options = source_of(recipes[0], file, model)
    videos = finish(from_pretrained(model_folder(source), device=device, **options), file, chunk=chunk, tile=tile)
    written = []
    for video, recipe in zip(videos, recipes, strict=True):
        prompt = text_of(from_json(recipe["conditions"])).prompt
        one, line = write_video(video, output_path(output, slug(prompt), len(videos), recipe["seed"]), prompt or None)
        written.append(one)
        if not json:
            typer.echo(line)
    if json:
        from json import dumps

        typer.echo(dumps(written, indent=1))
