"""What lies behind the objects: which of the world's backgrounds it is, and how far each pixel is from it.

A background is modelled as a straight segment in colour space: a point for a plain one, the way from the dark stripe to
the light one, from clear sky to cloud. Everything the world paints in front of it lies well away from that segment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flipbook.data.world.vocabulary import BACKGROUNDS
from flipbook.metrics.truth.colour import distance_to_segment, nearest_colour, rgb_to_lab

STRIPES_RGB = ((58, 64, 76), (110, 120, 132))
CLOUDS_RGB = ((92, 128, 176), (196, 206, 218))
_SEGMENTS_RGB = {name: (rgb, rgb) for name, rgb in BACKGROUNDS.items()} | {"striped": STRIPES_RGB, "cloudy": CLOUDS_RGB}
_SEGMENTS_LAB = {n: rgb_to_lab(np.array(ends, np.uint8)) for n, ends in _SEGMENTS_RGB.items()}

OBJECT_MARGIN = 14.0      # CIELAB: pixels this close to an object's colour are not asked about the background
NAME_TOLERANCE = 17.0     # CIELAB: a background further than this from all six has no name
PATTERN_SPREAD = 8.0      # CIELAB lightness, 10th to 90th percentile: more is a pattern, not a plain colour
STRIPE_POWER = 0.30       # share of the pattern's power that straight, regular stripes have in one direction and pitch


@dataclass(frozen=True)
class Background:
    """`name`: one of `BACKGROUNDS`, or None when it looks like none of them. `ends`: the segment in CIELAB, (2, 3)."""

    name: str | None
    ends: np.ndarray
    distance: float        # CIELAB, from the median background pixel to the named background

    def distance_from(self, lab: np.ndarray) -> np.ndarray:
        """CIELAB distance of pixels (..., 3) from the background, (...)."""
        return distance_to_segment(lab, self.ends[0], self.ends[1])


def read_background(lab: np.ndarray) -> Background:
    """Read the background of a clip given as CIELAB (T, H, W, 3)."""
    frames = lab[:: max(1, len(lab) // 4)]
    _, to_colour = nearest_colour(frames)
    free = to_colour > OBJECT_MARGIN
    pixels = frames[free] if free.mean() > 0.1 else frames.reshape(-1, 3)
    pixels = _largest_part(pixels)
    scores = {name: float(np.median(distance_to_segment(pixels, *ends))) for name, ends in _SEGMENTS_LAB.items()}
    low, high = np.percentile(pixels[:, 0], [10, 90])
    if high - low < PATTERN_SPREAD:                                        # one colour: the nearest plain one, or calm sky
        name = min((n for n in scores if n != "striped"), key=scores.__getitem__)
    else:
        name = min(("striped", "cloudy"), key=scores.__getitem__)
        plain = min((n for n in scores if n not in ("striped", "cloudy")), key=scores.__getitem__)
        if scores[plain] < min(scores[name], 4.0):                         # a plain wall with something on it
            name = plain
    middle = np.median(pixels, axis=0)
    if scores[name] > NAME_TOLERANCE or (name == "striped" and not _has_stripes(frames[..., 0], free)):
        return Background(None, np.stack([middle, middle]), scores[name])
    return Background(name, _fit_segment(pixels, _SEGMENTS_LAB[name]), scores[name])


def _largest_part(pixels: np.ndarray) -> np.ndarray:
    """Leave out pixels (N, 3) far in hue from the median: rims of objects, an object whose colour has no name."""
    away = np.abs(pixels - np.median(pixels, axis=0))[:, 1:].max(-1)
    near = away < 14
    return pixels[near] if near.mean() > 0.3 else pixels


def _fit_segment(pixels: np.ndarray, nominal: np.ndarray) -> np.ndarray:
    """Move the nominal segment (2, 3) onto the colours that are really there; a plain background becomes its median."""
    along = nominal[1] - nominal[0]
    length = float(along @ along)
    if length == 0:
        middle = np.median(pixels, axis=0)
        return np.stack([middle, middle])
    place = np.clip((pixels - nominal[0]) @ along / length, 0, 1)
    shift = np.median(pixels - nominal[0] - place[:, None] * along, axis=0)
    return nominal + shift


def _has_stripes(lightness: np.ndarray, free: np.ndarray) -> bool:
    """Whether the pattern (T, H, W) repeats along one direction: its spectrum then has one tall peak and its mirror image."""
    height, width = lightness.shape[1:]
    pattern = np.where(free, lightness - lightness[free].mean(), 0)
    window = np.hanning(height)[:, None] * np.hanning(width)
    power = (np.abs(np.fft.rfft2(pattern * window, (2 * height, 2 * width))) ** 2).sum(0)
    power[[0, 1, 2, -2, -1], :3] = 0                                       # what is left of the mean
    y, x = np.unravel_index(power[:, :-3].argmax(), power[:, :-3].shape)
    peak = power.take(range(y - 2, y + 3), 0, mode="wrap")[:, max(0, x - 2) : x + 3]
    return bool(peak.sum() > STRIPE_POWER * power.sum())
