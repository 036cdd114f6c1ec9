"""`flipbook world FOLDER`: procedural clips on disk, with captions and the truth about them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from flipbook.data.world import Clip
    from flipbook.video import Video

_SHEET_ROWS = 12


def world(
    output: Annotated[Path, typer.Argument(help="Folder to write; it must not hold a set already.", file_okay=False)],
    domain: Annotated[str, typer.Option(help="shapes, sky, figures or takes.")] = "shapes",
    num_clips: Annotated[int, typer.Option(min=1, help="How many clips.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of the first clip; the next one has seed + 1.")] = 0,
    num_frames: Annotated[int | None, typer.Option(min=1, help="Frames per clip: 16, or 96 for takes.")] = None,
    height: Annotated[int, typer.Option(min=8, help="Height in pixels.")] = 64,
    width: Annotated[int, typer.Option(min=8, help="Width in pixels.")] = 64,
    fps: Annotated[float, typer.Option(min=0.1, help="Frames per second.")] = 8.0,
    truth: Annotated[bool, typer.Option(help="Write the truth arrays (NAME.truth.npz) and the sound too.")] = True,
    sheet: Annotated[bool, typer.Option(help="Write sheet.png, the first clips in rows.")] = True,
    lossless: Annotated[bool, typer.Option(help="Keep every pixel exactly; the files grow.")] = False,
) -> None:
    """Draw clips from seeds: NAME.mp4, NAME.scene.json, NAME.truth.npz, and metadata.jsonl with the captions.

    The folder is ready for `flipbook train`. metadata.jsonl appears last, so a folder that has one is whole.
    """
    from flipbook.cli.output import progress_bar
    from flipbook.data.world import draw

    table = output / "metadata.jsonl"
    if table.exists():
        raise ValueError(f"{output} already holds a set of clips. Try another folder, or remove its metadata.jsonl.")
    options: dict[str, Any] = {"num_frames": num_frames, "height": height, "width": width, "fps": fps}
    draw(domain, seed, **options, frames=[0])      # a wrong domain or size stops here, before a folder is made
    output.mkdir(parents=True, exist_ok=True)
    rows, shown = [], []
    with progress_bar(domain) as advance:
        for k in range(num_clips):
            clip = draw(domain, seed + k, **options)
            name = f"{domain}-{seed + k:06d}"
            video = _write_clip(clip, output, name, truth=truth, lossless=lossless)
            rows.append(_row(clip, name, domain, seed + k))
            if k < _SHEET_ROWS:
                shown.append((video, clip.caption))
            if advance:
                advance(k + 1, num_clips)
    if sheet:
        _write_sheet(shown, output / "sheet.png")
    _replace(table, "".join(json.dumps(row) + "\n" for row in rows).encode())
    typer.echo(f"{output}: {num_clips} clips of {domain}, {rows[0]['num_frames']} frames of {height} x {width}")


def _write_clip(clip: Clip, output: Path, name: str, *, truth: bool, lossless: bool) -> Video:
    import io

    import numpy as np

    from flipbook.data.world.audio import SAMPLE_RATE
    from flipbook.video import Audio, Video

    facts = clip.truth() if truth else {}
    sound = Audio(facts["audio"][None], SAMPLE_RATE) if "audio" in facts else None
    video = Video(clip.frames, clip.fps, audio=sound)
    video.write(output / f"{name}.mp4", lossless=lossless)
    _replace(output / f"{name}.scene.json", json.dumps(clip.scene, indent=1).encode())
    if facts:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **facts)       # type: ignore[arg-type]
        _replace(output / f"{name}.truth.npz", buffer.getvalue())
    return video


def _row(clip: Clip, name: str, domain: str, seed: int) -> dict[str, Any]:
    return {
        "file_name": f"{name}.mp4",
        "caption": clip.caption,
        "seed": seed,
        "domain": domain,
        "fps": clip.fps,
        "num_frames": clip.num_frames,
    }


def _write_sheet(shown: list[tuple[Video, str]], path: Path) -> None:
    from flipbook.files.sheet import contact_sheet, write_sheet

    write_sheet(contact_sheet([video for video, _ in shown], titles=[caption for _, caption in shown]), path)


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that it is there in full or not at all."""
    beside = path.with_name(f".{path.name}.part")
    beside.write_bytes(content)
    os.replace(beside, path)
