"""Where an object of the `shapes` domain is at time u: the numbers of `vocabulary.MOTIONS` as functions.

A thing is a plain dict of its scene. Places are in units of S with x to the right and y downwards, angles in turns
(clockwise), u in [0, 1] over the clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .geometry import cos_turns, sin_turns
from .rng import Random

_DIRECTIONS = {"moves right": (1, 0), "moves left": (-1, 0), "moves up": (0, -1), "moves down": (0, 1)}


def draw_motion(motion: str, rng: Random, eagerness: float) -> dict[str, float]:
    """Numbers of one motion inside its band; `eagerness` in [0, 1] limits how far it travels, 0 the least."""
    far = lambda low, high: low + (high - low) * rng.uniform() * eagerness
    if motion in _DIRECTIONS:
        return {"travel": far(0.40, 0.60)}
    if motion == "bounces":
        return {"travel": far(0.30, 0.45), "arcs": rng.uniform(1.5, 2.5)}
    if motion == "falls":
        return {"travel": far(0.50, 0.65)}
    if motion == "orbits":
        return {"travel": far(0.17, 0.26), "turns": rng.sign() * rng.uniform(0.9, 1.2), "phase": rng.uniform()}
    if motion == "spins":
        return {"turns": rng.sign() * rng.uniform(0.45, 0.8)}
    if motion in ("grows", "shrinks"):
        return {"factor": rng.uniform(1.9, 2.4)}
    return {}


def offset(thing: Mapping[str, Any], u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Displacement (dx, dy) from the thing's `centre`, float64 (T,) each."""
    motion, still = thing["motion"], np.zeros_like(u)
    if motion in _DIRECTIONS:
        along_x, along_y = _DIRECTIONS[motion]
        far = thing["travel"] * (u - 0.5)
        return far * along_x, far * along_y
    if motion == "falls":
        return still, thing["travel"] * (u * u - 0.5)
    if motion == "bounces":  # at rest in the highest point at u = 0
        beat = thing["arcs"] * u + 0.5
        part = beat - np.floor(beat)
        return still, thing["travel"] * (0.5 - 4.0 * part * (1.0 - part))
    if motion == "orbits":
        angle = thing["phase"] + thing["turns"] * u
        return thing["travel"] * cos_turns(angle), thing["travel"] * sin_turns(angle)
    return still, still


def turned(thing: Mapping[str, Any], u: np.ndarray) -> np.ndarray:
    """Angle in turns, float64 (T,)."""
    return thing["tilt"] + (thing["turns"] * u if thing["motion"] == "spins" else np.zeros_like(u))


def grown(thing: Mapping[str, Any], u: np.ndarray) -> np.ndarray:
    """Radius over the radius of the first frame, float64 (T,)."""
    if thing["motion"] == "grows":
        return 1.0 + (thing["factor"] - 1.0) * u
    if thing["motion"] == "shrinks":
        return 1.0 + (1.0 / thing["factor"] - 1.0) * u
    return np.ones_like(u)


def colour_at(thing: Mapping[str, Any], u: np.ndarray) -> np.ndarray:
    """8-bit levels as float32: (3,), or (T, 3) for a thing that turns into another colour between u = 0.3 and 0.7."""
    first = np.asarray(thing["rgb"], np.float64)
    if thing["motion"] != "turns":
        return first.astype(np.float32)
    share = np.clip((u - 0.3) / 0.4, 0.0, 1.0)[:, None]
    return (first + (np.asarray(thing["turns_rgb"]) - first) * share).astype(np.float32)
