"""`flipbook restore VIDEO --with denoise,deflicker`: mend a video without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def restore(
    video: Annotated[Path, typer.Argument(help="A video, a gif, or a folder of images.")],
    steps: Annotated[
        str, typer.Option("--with", help="Restorers in order, with options: denoise,deblur:sigma=1.5,interpolate:factor=2")
    ],
    output: Annotated[Path | None, typer.Option(help="File to write. Default: NAME-restored beside the video; with --clips a folder, NAME-clips.")] = None,
    clips: Annotated[int | None, typer.Option(help="Cut the result into clips of so many frames, each within one shot, for training.")] = None,
    reference: Annotated[Path | None, typer.Option(help="The video whose colours match-colour takes.")] = None,
    cut: Annotated[list[int] | None, typer.Option(help="First frame of a new shot. Repeatable; default: found.")] = None,
    lossless: Annotated[bool, typer.Option("--lossless", help="Keep every pixel exactly; the file grows.")] = False,
    sheet: Annotated[bool, typer.Option("--sheet", help="Write a contact sheet, before above after.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Restorers: denoise, denoise-spatial, deflicker, hold-colour, match-colour, deblur, sharpen, levels, auto-levels,
    equalise, interpolate; this is also the order that serves best. They work shot by shot; sound, rate and recipe stay.
    """
    from flipbook.cli.output import free_path, sheet_path
    from flipbook.editing.restorers import cuts_behind, split
    from flipbook.editing.restorers import restore as run
    from flipbook.files.sheet import write_sheet
    from flipbook.footage import find_cuts
    from flipbook.video import Video, contact_sheet

    plan = parse_steps(steps)
    if any(name == "match-colour" for name, _ in plan):
        if reference is None:
            raise ValueError("match-colour takes the colours of another video. Say --reference FILE.")
        other = Video.read(reference, audio=False)
        plan = [(name, options | ({"reference": other} if name == "match-colour" else {})) for name, options in plan]
    before = Video.read(video)
    found = sorted(cut) if cut else find_cuts(before.frames)
    after = run(before, plan, cuts=found)
    pieces = None if clips is None else split(after, clips, cuts=cuts_behind(plan, found))
    if pieces == []:
        raise ValueError(f"no shot of {video} has {clips} frames: {len(after)} frames with cuts at {cuts_behind(plan, found)}. Try fewer frames in a clip.")
    target = free_path(output or default_output(video) if pieces is None else output or video.with_name(f"{video.stem}-clips"))
    files = [target] if pieces is None else [target / f"{number:04}.mp4" for number in range(1, len(pieces) + 1)]
    files[0].parent.mkdir(parents=True, exist_ok=True)
    for path, made in zip(files, pieces or [after], strict=True):
        made.write(path, lossless=lossless, odd="pad")
    names = [name for name, _ in plan]
    written: dict[str, Any] = {"path": str(target), "frames": clips or len(after), "fps": after.fps, "steps": names}
    if pieces is not None:
        written["clips"] = len(pieces)
    if sheet:
        page = contact_sheet([before, after], titles=["before", ", ".join(names)])
        written["sheet"] = str(write_sheet(page, sheet_path(target)))
    if json:
        from json import dumps

        typer.echo(dumps(written, indent=1))
    else:
        many = "" if pieces is None else f"{len(pieces)} clips, "
        typer.echo(f"{target}  ({many}{clips or len(after)} frames of {after.height}x{after.width} at {after.fps:g} fps)")


def default_output(video: Path) -> Path:
    """NAME-restored beside the video, in its own format where that can be written."""
    from flipbook.files.write import STILLS

    kept = video.suffix.lower() in (".mp4", ".mov", ".mkv", ".webm", ".gif", ".webp", *STILLS)
    return video.with_name(f"{video.stem}-restored{video.suffix if kept else '.mp4'}")


def parse_steps(text: str) -> list[tuple[str, dict[str, Any]]]:
    """`denoise,interpolate:factor=3` to names with options. Raises ValueError where it does not read so."""
    plan: list[tuple[str, dict[str, Any]]] = []
    for step in text.split(","):
        name, *pairs = (part.strip() for part in step.split(":"))
        options: dict[str, Any] = {}
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not equals:
                raise ValueError(f"{step.strip()!r} is not NAME or NAME:OPTION=VALUE. Try interpolate:factor=3")
            options[key.strip()] = number(value.strip(), pair)
        plan.append((name, options))
    return plan


def number(text: str, pair: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise ValueError(f"{pair!r}: options of restorers are numbers. Try sigma=1.5")
