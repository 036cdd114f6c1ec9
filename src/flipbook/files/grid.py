"""Several videos playing side by side, as one video."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from flipbook.files.sheet import CAPTION, GAP, MARGIN, PAGE, cell_size, enlarge, pleasant_columns, wrap
from flipbook.video import Video

LINE = 16  # of a title under its video, pixels


def video_grid(videos: Sequence[Video], *, columns: int | None = None, titles: Sequence[str] | None = None) -> Video:
    """One video of all of them in a grid, each with its title below; tiny frames are enlarged by whole factors.

    All play at one rate, without sound; a shorter one stays on its last frame until the longest ends. Both sides of the
    result are even, as codecs like them. Raises ValueError for no videos, for unequal rates and for titles of another number.
    """
    if not videos:
        raise ValueError("a grid of no videos: give at least one.")
    if len(rates := {video.fps for video in videos}) > 1:
        told = ", ".join(f"{rate:g}" for rate in sorted(rates))
        raise ValueError(f"videos of {told} fps in one grid: bring them to one rate first, with video.resample(fps).")
    if titles is not None and len(titles) != len(videos):
        raise ValueError(f"{len(titles)} titles for {len(videos)} videos: give one each.")
    if columns is not None and columns < 1:
        raise ValueError(f"columns={columns}: a grid has at least one column.")
    columns = min(columns or pleasant_columns(len(videos)), len(videos))
    page, corners, (cell_h, cell_w) = _page(videos, columns, titles or [""] * len(videos))
    frames = np.repeat(page[None], max(len(video) for video in videos), 0)
    for video, (top, left) in zip(videos, corners, strict=True):
        for t in range(len(frames)):
            picture = np.asarray(enlarge(video.frames[min(t, len(video) - 1)], cell_h, cell_w))
            y, x = top + (cell_h - picture.shape[0]) // 2, left + (cell_w - picture.shape[1]) // 2
            frames[t, y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return Video(frames, videos[0].fps)


def _page(videos: Sequence[Video], columns: int, titles: Sequence[str]) -> tuple[np.ndarray, list[tuple[int, int]], tuple[int, int]]:
    """The page with its titles, (H, W, 3); the corner (top, left) of each video's cell; height and width of a cell."""
    from PIL import Image, ImageDraw, ImageFont

    cell_h, cell_w = cell_size(videos)
    font = ImageFont.load_default(12)
    lines = [wrap(title, font, cell_w) for title in titles]
    step_x, step_y = cell_w + GAP, cell_h + GAP + LINE * max(map(len, lines))
    rows = math.ceil(len(videos) / columns)
    size = 2 * MARGIN + columns * step_x - GAP, 2 * MARGIN + rows * step_y - GAP
    page = Image.new("RGB", (size[0] + size[0] % 2, size[1] + size[1] % 2), PAGE)
    pen = ImageDraw.Draw(page)
    corners = [(MARGIN + n // columns * step_y, MARGIN + n % columns * step_x) for n in range(len(videos))]
    for (top, left), block in zip(corners, lines, strict=True):
        for n, text in enumerate(block):
            pen.text((left, top + cell_h + 2 + n * LINE), text, fill=CAPTION, font=font)
    return np.asarray(page), corners, (cell_h, cell_w)
