"""`flipbook data plan`: what would become of each clip."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from flipbook.data.buckets import Buckets
    from flipbook.data.framing import Framing
    from flipbook.data.options import FolderOptions

data = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


@data.callback()
def main() -> None:
    """Look at sets of clips before any training."""


@data.command()
def plan(
    sources: Annotated[list[Path], typer.Argument(help="Folders, tables, shards, arrays; or one training recipe.")],
    num_frames: Annotated[int, typer.Option(min=1, help="Frames per sample.")] = 16,
    frame_stride: Annotated[int, typer.Option(min=1, help="Frames of the clip per frame of the sample.")] = 1,
    height: Annotated[int, typer.Option(min=1, help="Height of a sample in pixels.")] = 64,
    width: Annotated[int, typer.Option(min=1, help="Width of a sample in pixels.")] = 64,
    fps: Annotated[float | None, typer.Option(help="Show clips at this rate. Default: as they are.")] = None,
    stride: Annotated[int, typer.Option(min=1, help="Frames of the file per frame of the clip.")] = 1,
    side: Annotated[
        list[int] | None, typer.Option(help="Sort into buckets of about SIDE x SIDE pixels, any aspect. Repeatable.")
    ] = None,
    length: Annotated[list[int] | None, typer.Option(help="Frames of a bucket, with --side. Repeatable.")] = None,
    layout: Annotated[str | None, typer.Option(help="How to read the sources, where that is not seen.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(metavar="ROLE=NAME", help="Which column is what, e.g. caption=long_text.")
    ] = None,
    split: Annotated[str, typer.Option(help="Rows of this split train; all: every row.")] = "train",
    val_share: Annotated[float, typer.Option(help="Share of source videos held back for validation.")] = 0.0,
    filter: Annotated[str | None, typer.Option(help="Only names that contain this.")] = None,
    max_upscale: Annotated[float | None, typer.Option(help="Drop clips that would be enlarged more.")] = None,
    look: Annotated[
        str, typer.Option(help="open: every file; declared: the table's word; auto: open up to 5,000 clips.")
    ] = "auto",
    check: Annotated[str, typer.Option(help="open: decode first and last frame; decode: every frame.")] = "open",
    time_limit: Annotated[float, typer.Option(help="Seconds after which looking at a file is ended.")] = 30.0,
    page: Annotated[Path | None, typer.Option(help="Write a web page with a picture of each clip.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Tell the fate of every clip: kept, cut, shown at another rate, cropped, or dropped and by which rule.

    Give a training recipe instead of folders to plan its own sources, sizes and buckets. The exit status is 1 when no
    clip would be left to train on.
    """
    import json

    from flipbook.cli.output import progress_bar
    from flipbook.data.plan import make_plan, summary

    if look not in ("auto", "open", "declared"):
        raise ValueError(f"--look {look!r} is none of auto, open, declared.")
    if sources[0].suffix in (".yaml", ".yml"):
        planned = _of_recipe(sources)
    else:
        from flipbook.data.framing import Framing
        from flipbook.data.options import FolderOptions

        options = {
            "fps": fps, "stride": stride, "layout": layout, "columns": _columns(column or []), "split": split,
            "val_share": val_share, "filter": filter, "max_upscale": max_upscale, "check": check, "time_limit": time_limit,
        }  # fmt: skip
        span = (num_frames - 1) * frame_stride + 1
        framing = Framing(num_frames=num_frames, frame_stride=frame_stride, clip_frames=span, height=height, width=width)
        parsed = [FolderOptions.parse({"folder": path, **options}, str(path)) for path in sources]
        planned = parsed, framing, _buckets(side or [], length or [num_frames])
    with progress_bar("opening files", show=not as_json) as advance:
        made = make_plan(*planned, look=look, thumbnail=page is not None, on_progress=advance)  # type: ignore[arg-type]
    facts = summary(made)
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
    else:
        from rich.console import Console

        from flipbook.data.plan.table import print_plan

        print_plan(facts, Console(highlight=False))
    if page is not None:
        from flipbook.data.plan.page import write_page

        typer.echo(f"page: {write_page(facts, made.fates, page)}", err=as_json)
    if made.error:
        raise ValueError(made.error)


def _of_recipe(sources: list[Path]) -> tuple[list[FolderOptions], Framing, Buckets | None]:
    from flipbook.data.plan import sources_of_recipe
    from flipbook.training.recipe import load_recipe

    if len(sources) > 1:
        raise ValueError(f"{sources[0]} is a recipe and names its own sources. Give it alone.")
    return sources_of_recipe(load_recipe(sources[0]))


def _columns(items: list[str]) -> dict[str, str]:
    columns = {}
    for item in items:
        role, equals, name = item.partition("=")
        if not equals or not name:
            raise ValueError(f"--column {item!r} is not ROLE=NAME. Try --column caption=long_text")
        columns[role] = name
    return columns


def _buckets(sides: list[int], lengths: list[int]) -> Any:
    from flipbook.data.buckets import Buckets

    if not sides:
        return None
    return Buckets.model_validate({"levels": [{"side": s, "num_frames": n} for s in sides for n in lengths]})
