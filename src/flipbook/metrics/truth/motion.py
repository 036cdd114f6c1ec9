"""Which of the world's motions a path is: the law of each one is fitted to the centres, and the law that explains them wins."""

from __future__ import annotations

import numpy as np

from flipbook.metrics.truth.silhouette import ORDERS, Silhouettes, read_turns

# All lengths in units of S, the short side. Each law may be off by this much (root mean square) and still be believed.
TOLERANCE = 0.045
STILL_PATH = 0.13         # a centre that strays less than this from end to end stays where it is
STRAIGHT_PATH = (0.25, 1.0)
GROWTH = 1.45             # last radius over first; the world's growth is at least 1.9
TURN_STEP = (0.018, 0.12)  # turns per frame of the world's 16; a spin is 0.6 to 1.2 turns over the clip
SPIN_TURNS = 0.35         # turns over the clip from which a person says that it spins


def read_motion(
    u: np.ndarray, outlines: Silhouettes, whole: np.ndarray, shape: str | None, first_colour: str | None,
    last_colour: str | None, size: tuple[int, int],
) -> tuple[str | None, float]:  # fmt: skip
    """Name the motion of one object, or None when no law fits, and give the fit's error in units of S.

    u: (N,) places in the clip in [0, 1] where it is seen. whole: (N,) frames with nothing in the way. size: height and
    width of the frame. The result is one of `MOTIONS`, with "turns COLOUR" written out.
    """
    short = min(size)
    use = whole if whole.sum() >= max(4, 0.4 * len(whole)) else np.ones(len(whole), bool)
    x, y = (outlines.centres[use] / short).T
    growth = read_growth(u[use], outlines.radii[use])
    path = float(np.hypot(np.ptp(x), np.ptp(y)))
    if path < STILL_PATH:
        if first_colour != last_colour and first_colour and last_colour:
            return f"turns {last_colour}", path
        if growth > GROWTH:
            return "grows", path
        if growth < 1 / GROWTH:
            return "shrinks", path
        return ("spins" if shape and spun_turns(u, outlines, use, shape) > SPIN_TURNS else "stays still"), path
    if not 1 / 1.6 < growth < 1.6 or first_colour != last_colour:          # travelling and changing: not one of our motions
        return None, path
    errors = path_errors(u[use], x, y)
    best = min(errors, key=errors.__getitem__)
    return (best if errors[best] < TOLERANCE else None), errors[best]


def read_growth(u: np.ndarray, radii: np.ndarray) -> float:
    """Last radius over first, from a straight line through all of them."""
    slope, start = np.polyfit(u, radii, 1)
    return float(np.clip((start + slope) / max(start, 1e-3), 0.01, 100)) if start > 0 else 100.0


def spun_turns(u: np.ndarray, outlines: Silhouettes, use: np.ndarray, shape: str) -> float:
    """Turns about its own centre over the whole clip, without sign; 0 when the turning has no steady direction."""
    if shape == "circle":
        return 0.0
    order = ORDERS[shape]
    turns = read_turns(outlines, order)[0][use]
    steps = (np.diff(turns) + 0.5 / order) % (1 / order) - 0.5 / order     # the shape looks the same every 1 / order turns
    rate = steps / np.maximum(np.diff(u[use]), 1e-6)                       # turns per clip
    middle = float(np.median(rate))
    steady = np.mean(np.abs(rate - middle) < 0.5 * abs(middle) + 0.1)
    return abs(middle) if steady > 0.6 else 0.0


def path_errors(u: np.ndarray, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Root mean square distance between a path (N,), (N,) in units of S and the best path of each motion's law."""
    errors: dict[str, float] = {}
    still_x, still_y = _rms(x - x.mean()), _rms(y - y.mean())
    across, residual_x = _fit(u, x)
    down, residual_y = _fit(u, y)
    if STRAIGHT_PATH[0] < abs(across) < STRAIGHT_PATH[1]:
        errors["moves right" if across > 0 else "moves left"] = float(np.hypot(residual_x, still_y))
    if STRAIGHT_PATH[0] < abs(down) < STRAIGHT_PATH[1]:
        errors["moves down" if down > 0 else "moves up"] = float(np.hypot(residual_y, still_x))
    drop, residual = _fit(u**2, y)
    if drop > STRAIGHT_PATH[0]:
        errors["falls"] = float(np.hypot(residual, still_x))
    bounce = min(
        (residual for arcs in np.arange(1.3, 2.75, 0.05) if (fit := _fit(_arcs(u, arcs), y))[0] < -0.18 and (residual := fit[1]) >= 0),
        default=np.inf,
    )
    errors["bounces"] = float(np.hypot(bounce, still_x))
    errors["orbits"] = orbit_error(u, x, y)
    return errors


def _arcs(u: np.ndarray, arcs: float) -> np.ndarray:
    """Height above the floor in units of the drop: starts at the top, parabola after parabola, `arcs` of them in the clip."""
    place = (u * arcs + 0.5) % 1.0                                         # 0 and 1 on the floor, 1/2 at the top
    return 1 - (2 * place - 1) ** 2


def orbit_error(u: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Distance to the best circle run through at a steady rate, 0.6 to 1.6 turns in the clip; infinite if there is none."""
    best = np.inf
    for turns in np.concatenate([np.arange(-1.6, -0.55, 0.05), np.arange(0.6, 1.65, 0.05)]):
        angle = 2 * np.pi * turns * u
        cos, sin, one, nil = np.cos(angle), np.sin(angle), np.ones_like(u), np.zeros_like(u)
        # x = cx + a cos - b sin, y = cy + a sin + b cos: a circle of radius hypot(a, b) from any starting angle.
        design = np.concatenate([np.stack([one, nil, cos, -sin], 1), np.stack([nil, one, sin, cos], 1)])
        target = np.concatenate([x, y])
        solution, *_ = np.linalg.lstsq(design, target, rcond=None)
        if 0.11 < np.hypot(solution[2], solution[3]) < 0.4:
            best = min(best, np.sqrt(2) * _rms(design @ solution - target))
    return float(best)


def _fit(basis: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Slope and root mean square residual of values = a + slope * basis."""
    centred = basis - basis.mean()
    slope = float(centred @ (values - values.mean()) / max(float(centred @ centred), 1e-9))
    return slope, _rms(values - values.mean() - slope * centred)


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))
