"""Contact sheets: what a video shows, on one page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flipbook.files.temporary import written_whole
from flipbook.video import PathLike, Video

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

PAGE, CAPTION, NUMBER = (18, 20, 24), (232, 234, 238), (140, 146, 156)
MARGIN, GAP = 20, 8
SMALLEST_CELL, LARGEST_CELL = 112, 256  # longer side of a frame on the page, pixels
ROW_FRAMES = 8  # frames of each video where several are shown


def contact_sheet(
    videos: Video | Sequence[Video], *, columns: int | None = None, titles: str | Sequence[str] | None = None
) -> Image.Image:
    """One video: all its frames (up to 64, evenly chosen) as a grid. Several: one row of `columns` frames each.

    Every frame carries its number, counted from 0; a title stands above the grid, or above each row. Tiny frames are
    enlarged by whole factors, so that pixels stay pixels. Returns an RGB image.
    """
    rows = [videos] if isinstance(videos, Video) else list(videos)
    if not rows:
        raise ValueError("a contact sheet of no videos: give one Video or a list of them.")
    names = [titles] if isinstance(titles, str) else list(titles or [""] * len(rows))
    if len(names) != len(rows):
        raise ValueError(f"{len(names)} titles for {len(rows)} videos: give one each.")
    if columns is not None and columns < 1:
        raise ValueError(f"columns={columns}: a sheet has at least one column.")
    if len(rows) == 1:
        columns = columns or pleasant_columns(min(len(rows[0]), 64))
        chosen = [spread(len(rows[0]), max(64, columns))]
    else:
        columns = columns or min(ROW_FRAMES, max(len(v) for v in rows))
        chosen = [spread(len(v), columns) for v in rows]
    return draw(rows, chosen, columns, names)


def pleasant_columns(count: int) -> int:
    """Wider than high, without a nearly empty last row if it can be helped."""
    best = max(1, round(math.sqrt(count * 2)))
    if count <= 6:
        return count
    return min(range(max(1, best - 2), best + 3), key=lambda c: (-count % c, abs(c - best), -c))


def spread(count: int, at_most: int) -> np.ndarray:
    """At most so many indices, even over 0..count - 1, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, at_most)).round().astype(int))


def draw(videos: Sequence[Video], chosen: list[np.ndarray], columns: int, titles: Sequence[str]) -> Image.Image:
    from PIL import Image, ImageDraw, ImageFont

    cell_h, cell_w = cell_size(videos)
    number_font, title_font = ImageFont.load_default(11), ImageFont.load_default(15)
    width = 2 * MARGIN + columns * (cell_w + GAP) - GAP
    line = 16  # the number under a frame
    blocks = [wrap(title, title_font, width - 2 * MARGIN) for title in titles]
    heights = [
        len(b) * 21 + (6 if b else 0) + math.ceil(len(c) / columns) * (cell_h + line + GAP)
        for b, c in zip(blocks, chosen, strict=True)
    ]
    page = Image.new("RGB", (width, 2 * MARGIN + sum(heights) + 10 * (len(videos) - 1) - GAP), PAGE)
    pen = ImageDraw.Draw(page)
    y = MARGIN
    for video, indices, block in zip(videos, chosen, blocks, strict=True):
        y = write_lines(pen, block, y, title_font)
        for k, index in enumerate(indices):
            left, top = MARGIN + k % columns * (cell_w + GAP), y + k // columns * (cell_h + line + GAP)
            picture = enlarge(video.frames[index], cell_h, cell_w)
            page.paste(picture, (left, top + (cell_h - picture.height) // 2))
            pen.text((left, top + cell_h + 3), str(index), fill=NUMBER, font=number_font)
        y += math.ceil(len(indices) / columns) * (cell_h + line + GAP) + 10
    return page


def cell_size(videos: Sequence[Video]) -> tuple[int, int]:
    """(height, width) that each frame gets: whole enlargements of small frames, large ones shrunk."""
    height, width = max(v.height for v in videos), max(v.width for v in videos)
    longest = max(height, width)
    if longest < SMALLEST_CELL:
        factor: float = math.ceil(SMALLEST_CELL / longest)
    else:
        factor = min(1.0, LARGEST_CELL / longest)
    return max(1, round(height * factor)), max(1, round(width * factor))


def enlarge(frame: np.ndarray, height: int, width: int) -> Image.Image:
    from PIL import Image

    factor = min(height / frame.shape[0], width / frame.shape[1])
    size = max(1, round(frame.shape[1] * factor)), max(1, round(frame.shape[0] * factor))
    method = Image.Resampling.NEAREST if factor >= 1 and factor == int(factor) else Image.Resampling.LANCZOS
    return Image.fromarray(frame).resize(size, method)


def wrap(text: str, font: object, width: int) -> list[str]:
    """Break a title into lines that fit."""
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(joined) <= width:  # type: ignore[attr-defined]
            lines[-1] = joined
        else:
            lines.append(word)
    return lines


def write_lines(pen: ImageDraw.ImageDraw, lines: list[str], y: int, font: object) -> int:
    for text in lines:
        pen.text((MARGIN, y), text, fill=CAPTION, font=font)  # type: ignore[arg-type]
        y += 21
    return y + (6 if lines else 0)


def write_sheet(sheet: Image.Image, path: PathLike) -> Path:
    """Write a contact sheet; the format follows the suffix (.png, .jpg, .webp). Returns the path."""
    path = Path(path)
    with written_whole(path) as temporary:
        sheet.save(temporary)
    return path
