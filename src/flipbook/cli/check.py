"""`flipbook check VIDEO...`: what is wrong with videos, without anything to compare them with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from flipbook.metrics.probes import Reading


def check(
    videos: Annotated[list[Path], typer.Argument(help="Videos, gifs, or folders of images.", metavar="VIDEO...")],
    output: Annotated[Path, typer.Option(help="Folder for the pictures, one NAME-check.png for each video.")] = Path("checks"),
    picture: Annotated[bool, typer.Option(help="Draw frames and probes over time.")] = True,
    only: Annotated[str | None, typer.Option(help="Probes to run, for instance flicker,frozen. Default: all.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if any probe finds a fault.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the readings, with their series, as JSON.")] = False,
) -> None:
    """Look for flicker, freezes, flashes, blocks, drift of colour, seams, blur, cuts and empty frames.

    Numbers come with units and with the threshold above which they count as a fault. Exits with 1 if a file cannot be read.
    """
    from flipbook.cli.output import free_path
    from flipbook.files.errors import VideoError
    from flipbook.files.sheet import write_sheet
    from flipbook.metrics.probes import PROBES, probe_video
    from flipbook.metrics.probes.picture import draw_readings
    from flipbook.video import Video

    names = None if only is None else [name.strip() for name in only.split(",")]
    if names is not None:
        _refuse_unknown(names, list(PROBES))
    reports: list[dict[str, Any]] = []
    for path in videos:
        try:
            video = Video.read(path, audio=False)
        except VideoError as error:
            typer.echo(f"error: {error}", err=True)
            reports.append({"path": str(path), "error": str(error)})
            continue
        readings = probe_video(video, names)
        drawn = None
        if picture:
            title = f"{path.name}: {len(video)} frames of {video.height}x{video.width} at {video.fps:.4g} fps"
            drawn = write_sheet(draw_readings(video, readings, title), free_path(output / f"{path.stem}-check.png"))
        faults = [reading.probe for reading in readings if reading.fired]
        reports.append({
            "path": str(path), "faults": faults, "picture": None if drawn is None else str(drawn),
            "readings": [reading.as_json() for reading in readings],
        })  # fmt: skip
        if not json:
            typer.echo("\n".join([f"{path}  ({', '.join(faults) or 'no faults'})", *table(readings)]))
            if drawn:
                typer.echo(f"  drawn in {drawn}")
    if json:
        from json import dumps

        typer.echo(dumps(reports, indent=1))
    if any("error" in report or (strict and report["faults"]) for report in reports):
        raise typer.Exit(1)


def table(readings: list[Reading]) -> list[str]:
    """One line per probe: a mark for faults, its value, the threshold, what it means."""
    return [
        f"  {'!' if r.fired else ' '} {r.probe:<14}{r.value:>9.3g}  {f'(fault above {r.threshold:g} {r.unit})':<50}{r.reason}"
        for r in readings
    ]


def _refuse_unknown(names: list[str], known: list[str]) -> None:
    from flipbook.hints import nearest

    for name in names:
        if name not in known:
            raise ValueError(f"no probe is called {name!r}. {nearest(name, known)}")
