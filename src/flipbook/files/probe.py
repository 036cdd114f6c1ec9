"""What a video file is: the facts that `flipbook info` prints."""

from __future__ import annotations

import itertools
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flipbook.files.audio import hears
from flipbook.files.container import Container, orientation
from flipbook.files.images import Animation, Folder
from flipbook.files.read import open_source
from flipbook.files.recipe import read_recipe

if TYPE_CHECKING:
    from flipbook.video import PathLike

# ITU-T H.273 code points
MATRICES = {0: "rgb", 1: "bt709", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020-cl"}
PRIMARIES = {1: "bt709", 5: "bt470bg", 6: "smpte170m", 9: "bt2020", 12: "display-p3"}
TRANSFERS = {1: "bt709", 6: "smpte170m", 13: "srgb", 14: "bt2020-10", 15: "bt2020-12", 16: "pq", 18: "hlg"}
RANGES = {1: "limited", 2: "full"}


@dataclass(frozen=True)
class VideoFacts:
    """Facts about one file or folder.

    height, width: as shown, so after rotation.   num_frames: counted by decoding.   seconds: to the last frame's end.
    rotation: degrees clockwise that a player turns the stored picture.   colour: {"matrix", "range", "primaries",
    "transfer"}, "unspecified" where the file does not say.   audio: {"codec", "channels", "rate"} or None.
    """

    path: str
    bytes: int
    container: str
    codec: str
    pixel_format: str
    height: int
    width: int
    num_frames: int
    fps: float
    constant_rate: bool
    seconds: float
    rotation: int
    mirrored: bool
    colour: dict[str, str] | None
    audio: dict[str, Any] | None
    recipe: dict[str, Any] | None


def probe(path: PathLike) -> VideoFacts:
    """Look at a video file, an image or a folder of images. Decodes every frame once. Raises VideoError."""
    with closing(open_source(path)) as source:
        return container_facts(source) if isinstance(source, Container) else image_facts(source)


def image_facts(source: Animation | Folder) -> VideoFacts:
    path = source.path
    clock = source.clock()
    files = [path] if isinstance(source, Animation) else source.names
    return VideoFacts(
        path=str(path),
        bytes=sum(f.stat().st_size for f in files),
        container="folder" if isinstance(source, Folder) else source.codec,
        codec=source.codec,
        pixel_format=source.pixel_format,
        height=source.height,
        width=source.width,
        num_frames=source.count,
        fps=clock.fps,
        constant_rate=clock.constant,
        seconds=clock.end,
        rotation=0,
        mirrored=False,
        colour=None,
        audio=None,
        recipe=read_recipe(path),
    )


def container_facts(source: Container) -> VideoFacts:
    if sum(1 for _ in source.decode()) != source.count:  # packets promised another number than the decoder shows
        source.stamps, source.last_length = source.list_frames()
    first = next(source.decode())
    turns, mirrored = orientation(first)
    clock = source.clock()
    names = source.file.format.name.split(",")  # "mov,mp4,m4a,...": one reader, many names
    sides = (first.height, first.width)
    return VideoFacts(
        path=str(source.path),
        bytes=source.path.stat().st_size,
        container=suffix if (suffix := source.path.suffix[1:].lower()) in names else names[0],
        codec=source.codec,
        pixel_format=first.format.name,
        height=sides[turns % 2],
        width=sides[1 - turns % 2],
        num_frames=source.count,
        fps=clock.fps,
        constant_rate=clock.constant,
        seconds=clock.end,
        rotation=90 * turns,
        mirrored=mirrored,
        colour={
            "matrix": MATRICES.get(int(first.colorspace), "unspecified"),
            "range": RANGES.get(int(first.color_range), "unspecified"),
            "primaries": PRIMARIES.get(int(first.color_primaries), "unspecified"),
            "transfer": TRANSFERS.get(int(first.color_trc), "unspecified"),
        },
        audio=hears(source.file),
        recipe=read_recipe(source.path),
    )


def lines(facts: VideoFacts) -> list[tuple[str, str]]:
    """(label, value) pairs for people."""
    rate = f"{facts.fps:.5g} fps" + ("" if facts.constant_rate else " on average, variable")
    rows = [
        ("file", f"{facts.path} ({size(facts.bytes)})"),
        ("size", f"{facts.width} x {facts.height} pixels"),
        ("frames", f"{facts.num_frames} at {rate}, {facts.seconds:.3f} s"),
        ("codec", f"{facts.codec} in {facts.container}, {facts.pixel_format}"),
    ]
    if facts.colour:
        rows.append(("colour", ", ".join(f"{k} {v}" for k, v in facts.colour.items())))
    if facts.rotation or facts.mirrored:
        rows.append(("turned", f"{facts.rotation} degrees clockwise" + (", mirrored" if facts.mirrored else "")))
    if facts.audio:
        rows.append(
            ("sound", f"{facts.audio['codec']}, {facts.audio['channels']} channel(s), {facts.audio['rate']} Hz")
        )
    else:
        rows.append(("sound", "none"))
    rows.extend(("recipe" if i == 0 else "", line) for i, line in enumerate(recipe_lines(facts.recipe)))
    return rows


def recipe_lines(recipe: dict[str, Any] | None, limit: int = 100) -> list[str]:
    """One line per entry of the recipe, long values cut."""
    if recipe is None:
        return ["none"]
    texts = (f"{key}: {value}" for key, value in recipe.items())
    return [text if len(text) <= limit else text[: limit - 1] + "…" for text in itertools.islice(texts, 40)]


def size(num_bytes: int) -> str:
    """1536 to '1.5 kB'."""
    amount = float(num_bytes)
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB"
