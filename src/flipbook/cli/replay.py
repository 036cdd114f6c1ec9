"""`flipbook replay FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def replay(
    file: Annotated[Path, typer.Argument(help="A video that flipbook generated.")],
    model: Annotated[str | None, typer.Option(help="Another model than the recipe names, by name or folder.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the new video here as well.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make a video again from the recipe inside its file and say whether it is identical.

    Exits with 1 if the frames differ.
    """
    from flipbook.cli.output import free_path, progress_bar
    from flipbook.replay import replay as run

    with progress_bar("replaying", show=not json) as progress:
        again = run(file, model=model, progress=progress)
    written = None
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        written = str(again.video.write(free_path(output)))
    if json:
        from json import dumps

        result = {"same_frames": again.same_frames, "same_file": again.same_file, "differences": again.differences}
        typer.echo(dumps(result | {"path": written}, indent=1))
    else:
        verdicts = ("NOT identical: the frames differ", "the same frames, bit for bit; the file's bytes differ",
                    "identical: the same frames and the same file")  # fmt: skip
        typer.echo(f"{file}: {verdicts[again.same_frames + again.same_file]}")
        for difference in again.differences:
            typer.echo(f"  {difference}")
        if written:
            typer.echo(f"  written to {written}")
    if not again.same_frames:
        raise typer.Exit(1)
