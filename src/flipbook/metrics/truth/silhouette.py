"""Which shape an outline is: overlap with each of the four shapes, drawn with the same area at the same place and turn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flipbook.data.world.geometry import shape_distance
from flipbook.data.world.vocabulary import SHAPES

ORDERS = {"square": 4, "triangle": 3, "star": 5}          # turning by 1 / order leaves the shape as it was
_POINTS_UP = {"square": 0.125, "triangle": 0.0, "star": 0.0}   # turns from "as painted at 0" to "a corner points up"
SHAPE_OVERLAP = 0.80      # intersection over union with the best shape: below it is a blob, whichever shape comes nearest
SHAPE_LEAD = 0.01         # the best shape must lead the next by this much
EDGE_WIDTH = 2.0          # pixels over which the edge of a drawn template rises: between a sharp and a compressed clip


@dataclass(frozen=True)
class Silhouettes:
    """Soft outlines of one object, one row per frame: `masks` (N, P, P) in [0, 1], x and y from the centre to its pixels
    `dx` (N, 1, P) and `dy` (N, P, 1), `centres` (N, 2) as x, y, `areas` (N,), all in pixels."""

    masks: np.ndarray
    dx: np.ndarray
    dy: np.ndarray
    centres: np.ndarray
    areas: np.ndarray

    @property
    def radii(self) -> np.ndarray:
        """The radius of the circle of the same area, pixels, (N,)."""
        return np.sqrt(self.areas / np.pi)


def cut_silhouettes(
    lab: np.ndarray, from_background: np.ndarray, regions: np.ndarray, frames: np.ndarray, numbers: np.ndarray,
    centres: np.ndarray, colours: np.ndarray, areas: np.ndarray,
) -> Silhouettes:  # fmt: skip
    """Cut one object's soft masks out of a clip.

    lab (T, H, W, 3), from_background and regions (T, H, W) of the clip; frames, numbers (N,) where the object is and its
    number in the region map; centres (N, 2), colours (N, 3) in CIELAB and areas (N,) pixels as first measured.
    """
    height, width = regions.shape[1:]
    reach = int(np.ceil(1.75 * np.sqrt(areas.max() / np.pi))) + 2          # a star's tip is 1.46 radii away
    offsets = np.arange(-reach, reach + 1)
    rows = np.rint(centres[:, 1]).astype(int)[:, None] + offsets           # (N, P)
    columns = np.rint(centres[:, 0]).astype(int)[:, None] + offsets
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    at = (frames[:, None, None], rows[:, :, None], columns[:, None, :])

    behind = from_background[at]
    difference = lab[at] - colours[:, None, None, :]
    front = np.sqrt(np.einsum("npqc,npqc->npq", difference, difference))
    masks = behind / np.maximum(behind + front, 1e-3)                      # straight along a blend of the two
    masks = np.clip((masks - 0.15) / 0.7, 0, 1)
    owner = regions[at]
    mine = (owner == numbers[:, None, None]) & inside
    near = mine.copy()                                                     # the soft rim just outside the region
    near[:, 1:] |= mine[:, :-1]
    near[:, :-1] |= mine[:, 1:]
    near[:, :, 1:] |= mine[:, :, :-1]
    near[:, :, :-1] |= mine[:, :, 1:]
    masks = np.where(near & inside & (mine | (owner == 0)), masks, 0.0)

    total = np.maximum(masks.sum((1, 2)), 1e-6)
    x = (masks * columns[:, None, :]).sum((1, 2)) / total
    y = (masks * rows[:, :, None]).sum((1, 2)) / total
    return Silhouettes(
        masks.astype(np.float32),
        (columns - x[:, None]).astype(np.float32)[:, None, :],
        (rows - y[:, None]).astype(np.float32)[:, :, None],
        np.stack([x, y], 1),
        total,
    )


def read_turns(outlines: Silhouettes, order: int) -> tuple[np.ndarray, np.ndarray]:
    """How far a corner is turned clockwise from pointing up, in turns modulo 1 / order, (N,), and how clearly, (N,)."""
    z = (outlines.dx + 1j * outlines.dy) / outlines.radii[:, None, None]
    moment = (outlines.masks * z**order).sum((1, 2)) / outlines.areas
    up = np.angle(moment) / (2 * np.pi * order) + 0.25                     # y points down, so angles run clockwise
    return up % (1 / order), np.abs(moment)


def shape_overlaps(outlines: Silhouettes) -> dict[str, np.ndarray]:
    """Soft intersection over union of each frame with each shape of the same area, best turn, (N,) per shape."""
    radius = outlines.radii.astype(np.float32)[:, None, None]
    overlaps = {}
    for shape in SHAPES:
        turns = np.zeros(len(radius))
        if shape != "circle":
            turns = read_turns(outlines, ORDERS[shape])[0] + _POINTS_UP[shape]
        distance = shape_distance(shape, outlines.dx, outlines.dy, radius, turns[:, None, None])
        template = np.clip(0.5 - distance / EDGE_WIDTH, 0, 1)
        both = np.minimum(template, outlines.masks).sum((1, 2))
        overlaps[shape] = both / np.maximum(template, outlines.masks).sum((1, 2))
    return overlaps


def read_shape(outlines: Silhouettes, whole: np.ndarray) -> tuple[str | None, float]:
    """The shape seen in most frames, or None for a blob, and its mean overlap. `whole` (N,) marks frames with nothing in the way."""
    use = whole if whole.sum() >= max(3, 0.2 * len(whole)) else np.ones(len(whole), bool)
    overlaps = {shape: values[use] for shape, values in shape_overlaps(outlines).items()}
    means = {shape: float(np.median(values)) for shape, values in overlaps.items()}
    best, second = sorted(means, key=means.__getitem__, reverse=True)[:2]
    won = np.max(list(overlaps.values()), axis=0) <= overlaps[best] + 1e-6
    if means[best] < SHAPE_OVERLAP or means[best] - means[second] < SHAPE_LEAD or won.mean() < 0.6:
        return None, means[best]
    return best, means[best]
