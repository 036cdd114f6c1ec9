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
_ENDS = {name: (rgb, rgb) for name, rgb in BACKGROUNDS.items()} | {"striped": STRIPES_RGB, "cloudy": CLOUDS_RGB}
_SEGMENTS_RGB = {name: np.array(ends, np.uint8) for name, ends in _ENDS.items()}
_SEGMENTS_LAB = {name: rgb_to_lab(ends) for name, ends in _SEGMENTS_RGB.items()}

OBJECT_MARGIN = 14.0      # CIELAB: pixels this close to an object's colour are not asked about the background
NAME_TOLERANCE = 17.0     # CIELAB: a background further than this from all six has no name
PATTERN_SPREAD = 8.0      # CIELAB lightness, 10th to 90th percentile: more is a pattern, not a plain colour
STRIPE_SHARE = 0.40       # share of the variance in lightness that straight stripes in one direction explain
MIN_STRIPES = 4           # fewer are an edge or a slope


@dataclass(frozen=True)
class Background:
    """`name`: one of `BACKGROUNDS`, or None when it looks like none of them.

    The segment's two ends, each (2, 3): `lab` in CIELAB, where colours compare as to an eye, and `rgb` in 8-bit levels,
    where a soft edge mixes in straight lines.
    """

    name: str | None
    lab: np.ndarray
    rgb: np.ndarray


def read_background(frames: np.ndarray, lab: np.ndarray) -> Background:
    """Read the background of a clip, uint8 (T, H, W, 3), given again in CIELAB."""
    step = max(1, len(lab) // 4)
    frames, lab = frames[::step], lab[::step]
    _, to_colour = nearest_colour(lab)
    free = to_colour > OBJECT_MARGIN
    chosen = free if free.mean() > 0.1 else np.ones_like(free)
    chosen[chosen] = _largest_part(lab[chosen])
    pixels = lab[chosen]
    name = _name_background(pixels, lab[..., 0], free)
    spaces = (lab, _SEGMENTS_LAB), (frames.astype(np.float32), _SEGMENTS_RGB)
    lab_ends, rgb_ends = (_fit_segment(space[chosen], segments[name] if name else None) for space, segments in spaces)
    return Background(name, lab_ends, rgb_ends)


def _name_background(pixels: np.ndarray, lightness: np.ndarray, free: np.ndarray) -> str | None:
    """The background's name from its CIELAB pixels (N, 3), and from where they are: lightness and free, (T, H, W)."""
    scores = {name: float(np.median(distance_to_segment(pixels, *ends))) for name, ends in _SEGMENTS_LAB.items()}
    plain = min((name for name in scores if name not in ("striped", "cloudy")), key=scores.__getitem__)
    patterned = min(("striped", "cloudy"), key=scores.__getitem__)
    low, high = np.percentile(pixels[:, 0], [10, 90])
    if high - low < PATTERN_SPREAD:                                        # one colour: a plain wall, or calm sky
        name = min((plain, "cloudy"), key=scores.__getitem__)
    elif patterned == "striped" and not _has_stripes(lightness, free):     # a stained wall
        name = plain
    else:
        name = plain if scores[plain] < min(scores[patterned], 4.0) else patterned
    return name if scores[name] < NAME_TOLERANCE else None


def _largest_part(lab: np.ndarray) -> np.ndarray:
    """Which pixels (N, 3) are near the median in hue, (N,): no rims of objects, no object whose colour has no name."""
    near = np.abs(lab - np.median(lab, axis=0))[:, 1:].max(-1) < 14
    return near if near.mean() > 0.3 else np.ones_like(near)


def _fit_segment(pixels: np.ndarray, nominal: np.ndarray | None) -> np.ndarray:
    """Move the nominal segment (2, 3) onto the colours that are really there; a plain background becomes its median."""
    if nominal is None or np.array_equal(nominal[0], nominal[1]):
        return np.tile(np.median(pixels, axis=0), (2, 1)).astype(np.float32)
    start, end = nominal.astype(np.float32)
    along = end - start
    place = np.clip((pixels - start) @ along / (along @ along), 0, 1)
    return np.stack([start, end]) + np.median(pixels - start - place[:, None] * along, axis=0)


def _has_stripes(lightness: np.ndarray, free: np.ndarray) -> bool:
    """Whether the pattern (T, H, W) is straight stripes: for some direction, place across it decides light or dark."""
    height, width = lightness.shape[1:]
    pattern = lightness - lightness[free].mean()
    power = (pattern[free] ** 2).mean()
    y, x = np.mgrid[:height, :width]
    for angle in np.arange(0, np.pi, np.pi / 8):
        across = x * np.cos(angle) + y * np.sin(angle)
        band = np.broadcast_to(np.rint(across - across.min()).astype(int), pattern.shape)[free]
        count = np.bincount(band)
        mean = np.bincount(band, weights=pattern[free])[count > 8] / count[count > 8]
        share = (mean**2 * count[count > 8]).sum() / (power * count[count > 8].sum())
        changes = np.count_nonzero(np.diff(np.sign(mean[np.abs(mean) > 0.3 * np.sqrt(power)])))
        if share > STRIPE_SHARE and changes >= MIN_STRIPES - 1:
            return True
    return False
