"""The dark land at the foot of a `sky` scene: hills, mountains, or the roofs of a city."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .geometry import coverage, value_noise
from .rng import hash_lattice


def land_coverage(land: Mapping[str, Any], unit: int, height: int, width: int) -> np.ndarray:
    """Share of land in each pixel, float32 (H, W)."""
    xs = (np.arange(width) + 0.5) / unit
    skyline = (height / unit - land["height"] * _SKYLINES[land["kind"]](land["seed"], xs)) * unit  # pixels from the top
    distance = skyline[None, :] - (np.arange(height) + 0.5)[:, None]
    return coverage(distance.astype(np.float32))


def _hills(seed: int, xs: np.ndarray) -> np.ndarray:
    return 0.35 + value_noise(seed, xs, np.zeros(1), (0.5, 0.2), gain=0.35)[0].astype(np.float64)


def _mountains(seed: int, xs: np.ndarray) -> np.ndarray:
    """Peaks: straight slopes between random heights, two sizes of them."""
    total = np.full_like(xs, 0.25)
    for octave, (cell, height) in enumerate(((0.30, 0.95), (0.13, 0.30))):
        place = xs / cell + 0.37 * octave
        whole = np.floor(place)
        first = int(whole.min())
        peaks = hash_lattice(seed + octave, np.zeros(1), np.arange(first, int(whole.max()) + 2))[0].astype(np.float64)
        index = (whole - first).astype(np.int64)
        total += height * (peaks[index] + (peaks[index + 1] - peaks[index]) * (place - whole))
    return total


def _city(seed: int, xs: np.ndarray) -> np.ndarray:
    place = np.floor(xs / 0.085)
    first = int(place.min())
    roofs = hash_lattice(seed, np.zeros(1), np.arange(first, int(place.max()) + 1))[0].astype(np.float64)
    return 0.25 + roofs[(place - first).astype(np.int64)] * roofs[(place - first).astype(np.int64)] * 1.1


_SKYLINES = {"hills": _hills, "mountains": _mountains, "a city": _city}
