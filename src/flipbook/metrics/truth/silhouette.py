"""Which shape an outline is: its overlap with each of the four, drawn with the same area at the same place and turn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flipbook.data.world.geometry import coverage, shape_distance
from flipbook.data.world.vocabulary import SHAPES
from flipbook.metrics.truth.background import Background
from flipbook.metrics.truth.colour import distance_to_segment
from flipbook.metrics.truth.regions import box_mean, neighbourhood
from flipbook.metrics.truth.tracks import Track

ORDERS = {"square": 4, "triangle": 3, "star": 5}          # turning by 1 / order leaves the shape as it was
CORNER_AT = {"square": 0.125, "triangle": 0.0, "star": 0.0}   # turns clockwise from up to a corner, as painted
# Intersection over union with the best shape: below it is a blob, whichever shape comes nearest. An ellipse reaches 0.81
# with the circle at an aspect of 4 : 3; a star's tips take away much as soon as they bend.
LEAST_OVERLAP = {"circle": 0.86, "square": 0.83, "triangle": 0.80, "star": 0.76}
UNSURE_RIM = 0.3          # pixels by which every outline is uncertain, so a small one may overlap less
SHAPE_LEAD = 0.01         # the best shape must lead the next by this much
HIDDEN_PART = 0.12        # of overlap, lost where something else stands in front in every frame
WIDEST_EDGE = 6.0         # pixels from outside to inside: more is a glow; compression and blur give 4 at most
MASK_NOISE = 0.12         # of the way between background and object: as much is noise, not a soft edge


@dataclass(frozen=True)
class Silhouettes:
    """Soft outlines of one object, one row per frame in which it is seen; lengths in pixels."""

    masks: np.ndarray          # (N, P, P) in [0, 1]
    dx: np.ndarray             # (N, 1, P) from the centre to each column
    dy: np.ndarray             # (N, P, 1) from the centre to each row
    centres: np.ndarray        # (N, 2) as x, y
    areas: np.ndarray          # (N,)

    @property
    def radii(self) -> np.ndarray:
        """The radius of the circle of the same area, pixels, (N,)."""
        return np.sqrt(self.areas / np.pi)


def cut_silhouettes(frames: np.ndarray, background: Background, regions: np.ndarray, track: Track) -> Silhouettes:
    """Cut one object's soft masks out of a clip, uint8 (T, H, W, 3), with its region map (T, H, W)."""
    height, width = regions.shape[1:]
    reach = int(1.75 * np.sqrt(max(sight.area for sight in track) / np.pi)) + 3        # a star's tip is 1.46 radii away
    corner = np.array([np.rint(sight.centre).astype(int) - reach for sight in track])  # (N, 2) as x, y
    columns, rows = (corner[:, axis, None] + np.arange(2 * reach + 1) for axis in (0, 1))
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    at = (
        np.array([sight.frame for sight in track])[:, None, None],
        np.clip(rows, 0, height - 1)[:, :, None],
        np.clip(columns, 0, width - 1)[:, None, :],
    )
    owner = np.where(inside, regions[at], -1)
    mine = owner == np.array([sight.region for sight in track])[:, None, None]

    crops = frames[at].astype(np.float32)                                  # (N, P, P, 3)
    own = np.array([np.median(crop[core], axis=0) for crop, core in zip(crops, _cores(mine), strict=True)], np.float32)
    difference = crops - own[:, None, None, :]
    front = np.sqrt(np.einsum("npqc,npqc->npq", difference, difference))
    behind = distance_to_segment(crops, *background.rgb)
    share = behind / np.maximum(behind + front, 1e-3)                      # of the object in a blend of the two
    share = np.clip((share - MASK_NOISE) / (1 - 2 * MASK_NOISE), 0, 1)
    masks = np.where(mine | (neighbourhood(mine, np.maximum) & (owner == 0)), share, 0)
    if np.any(masks.sum((1, 2)) == 0):
        masks = np.where(mine, np.maximum(masks, 1e-3), masks)

    areas = masks.sum((1, 2))
    x = (masks * columns[:, None, :]).sum((1, 2)) / areas
    y = (masks * rows[:, :, None]).sum((1, 2)) / areas
    return Silhouettes(
        masks=masks.astype(np.float32),
        dx=(columns - x[:, None]).astype(np.float32)[:, None, :],
        dy=(rows - y[:, None]).astype(np.float32)[:, :, None],
        centres=np.stack([x, y], 1),
        areas=areas,
    )


def _cores(mine: np.ndarray) -> np.ndarray:
    """The inner pixels of each region (N, P, P), or all of them where it is too thin to have any."""
    inner = neighbourhood(mine, np.minimum)
    return np.where(inner.any((1, 2), keepdims=True), inner, mine)


def read_turns(outlines: Silhouettes, order: int) -> tuple[np.ndarray, np.ndarray]:
    """How far a corner is turned clockwise from pointing up, in turns modulo 1 / order, (N,), and how clearly, (N,)."""
    z = (outlines.dx + 1j * outlines.dy) / outlines.radii[:, None, None]
    moment = (outlines.masks * z**order).sum((1, 2)) / outlines.areas
    up = np.angle(moment) / (2 * np.pi * order) + 0.25                     # y points down, so angles run clockwise
    return up % (1 / order), np.abs(moment)


def shape_overlaps(outlines: Silhouettes) -> dict[str, np.ndarray]:
    """Soft intersection over union of each frame with each shape of the same area, best turn, (N,) per shape.

    Each shape is drawn sharp and blurred over 3 x 3 pixels, and the better one counts: corners are lost in a blur.
    """
    radius = outlines.radii.astype(np.float32)[:, None, None]
    overlaps = {}
    for shape in SHAPES:
        turns = np.zeros(len(radius))
        if shape != "circle":
            turns = read_turns(outlines, ORDERS[shape])[0] - CORNER_AT[shape]
        sharp = coverage(shape_distance(shape, outlines.dx, outlines.dy, radius, turns[:, None, None]))
        blurred = box_mean(sharp[..., None])[..., 0]
        overlaps[shape] = np.maximum(_overlap(sharp, outlines.masks), _overlap(blurred, outlines.masks))
    return overlaps


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.minimum(a, b).sum((1, 2)) / np.maximum(a, b).sum((1, 2))


def edge_width(outlines: Silhouettes) -> float:
    """Pixels from fully outside to fully inside, taking the outline for a circle: the median over the frames.

    A straight ramp m(x) of width w has w / 6 as the integral of m (1 - m) across it.
    """
    grey = (outlines.masks * (1 - outlines.masks)).sum((1, 2))
    return float(np.median(6 * grey / (2 * np.pi * outlines.radii)))


def read_shape(outlines: Silhouettes, clear: np.ndarray, hidden: bool) -> tuple[str | None, float]:
    """The shape seen in most of the `clear` (N,) frames, or None for a blob, and its median overlap.

    hidden: even in those frames a part may be behind something else.
    """
    overlaps = {shape: values[clear] for shape, values in shape_overlaps(outlines).items()}
    means = {shape: float(np.median(values)) for shape, values in overlaps.items()}
    best, second = sorted(means, key=means.__getitem__, reverse=True)[:2]
    won = np.max(list(overlaps.values()), axis=0) <= overlaps[best] + 1e-6
    least = LEAST_OVERLAP[best] - UNSURE_RIM / float(np.median(outlines.radii[clear])) - HIDDEN_PART * hidden
    sure = means[best] > least and means[best] - means[second] > SHAPE_LEAD and won.mean() > 0.6
    return (best if sure and edge_width(outlines) < WIDEST_EDGE else None), means[best]
