"""The readings of a video as one picture: frames on top, below them every probe over time with what it marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from flipbook.files.sheet import CAPTION, MARGIN, NUMBER, PAGE, enlarge, spread
from flipbook.video import Video

from .base import Reading

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

FAULT, FINE, LIMIT, PANEL = (235, 96, 92), (96, 178, 255), (150, 120, 60), (27, 30, 36)
WIDTH, LABEL, SCALE = 1180, 320, 46   # pixels: of the page, of the words on the left, of the scale on the right
HEIGHT, GAP = 58, 8                   # of a panel, between panels
FRAMES = 10                           # thumbnails in the strip


def draw_readings(video: Video, readings: Sequence[Reading], title: str) -> Image.Image:
    """RGB picture: the title, a strip of frames (marked ones framed in red), one panel per probe, faults in red first."""
    from PIL import Image, ImageDraw, ImageFont

    ordered = sorted(readings, key=lambda reading: not reading.fired)
    marks = {mark for reading in readings for mark in reading.marks}
    thumb_width = (WIDTH - 2 * MARGIN - (FRAMES - 1) * GAP) // FRAMES
    thumb_height = max(8, min(round(thumb_width * video.height / video.width), 2 * thumb_width))
    top = MARGIN + 30
    panels = top + thumb_height + 30
    page = Image.new("RGB", (WIDTH, panels + len(ordered) * (HEIGHT + GAP) + MARGIN), PAGE)
    pen = ImageDraw.Draw(page)
    pen.text((MARGIN, MARGIN), title, fill=CAPTION, font=ImageFont.load_default(16))
    for k, index in enumerate(worth_seeing(len(video), sorted(marks))):
        left = MARGIN + k * (thumb_width + GAP)
        picture = enlarge(video.frames[index], thumb_height, thumb_width)
        page.paste(picture, (left, top))
        if index in marks:
            pen.rectangle((left - 2, top - 2, left + picture.width + 1, top + picture.height + 1), outline=FAULT, width=2)
        pen.text((left, top + thumb_height + 5), str(index), fill=FAULT if index in marks else NUMBER, font=ImageFont.load_default(11))
    for k, reading in enumerate(ordered):
        draw_panel(pen, reading, panels + k * (HEIGHT + GAP))
    return page


def worth_seeing(num_frames: int, marks: Sequence[int]) -> list[int]:
    """Frames for the strip: up to half of it marked ones, the others evenly spread."""
    marked = [marks[i] for i in spread(len(marks), FRAMES // 2)] if marks else []
    others = [int(i) for i in spread(num_frames, FRAMES) if i not in marked]
    room = FRAMES - len(marked)
    return sorted([*marked, *(others[i] for i in spread(len(others), room))]) if others else sorted(marked)


def draw_panel(pen: ImageDraw.ImageDraw, reading: Reading, y: int) -> None:
    from PIL import ImageFont

    colour = FAULT if reading.fired else FINE
    left, right, low = MARGIN + LABEL, WIDTH - MARGIN - SCALE, y + HEIGHT - 4
    pen.rectangle((MARGIN, y, WIDTH - MARGIN, y + HEIGHT), fill=PANEL)
    pen.text((MARGIN + 10, y + 5), reading.probe, fill=colour, font=ImageFont.load_default(15))
    value = f"{reading.value:.3g} {reading.unit}, fault above {reading.threshold:g}"
    pen.text((MARGIN + 10, y + 25), value, fill=CAPTION, font=ImageFont.load_default(11))
    pen.text((MARGIN + 10, y + 40), reading.reason[:64], fill=NUMBER, font=ImageFont.load_default(10))
    series = np.asarray(reading.series, float)
    top = max(float(series.max(initial=0)), 1.15 * (reading.line or 0), 1e-9)
    height = HEIGHT - 12

    def place(t: float, value: float) -> tuple[float, float]:
        return left + (right - left - 8) * (t + 0.5) / len(series), low - height * min(max(value / top, 0), 1)

    for mark in reading.marks:
        x, _ = place(mark, 0)
        pen.line((x, y + 3, x, low), fill=(110, 48, 50), width=max(1, min(6, (right - left) // len(series))))
    if reading.line is not None:
        _, level = place(0, reading.line)
        for x in range(left, right, 10):
            pen.line((x, level, min(x + 5, right), level), fill=LIMIT)
    points = [place(t, value) for t, value in enumerate(series)]
    if len(points) > 1:
        pen.line(points, fill=colour, width=2)
    if top > 1e-9:
        pen.text((right + 6, y + 4), f"{top:.3g}", fill=NUMBER, font=ImageFont.load_default(10))
