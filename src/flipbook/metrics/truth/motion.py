"""Which of the world's motions a path is: each motion's law is fitted to the centres, and the best fit wins."""

from __future__ import annotations

import numpy as np

from flipbook.metrics.truth.silhouette import ORDERS, Silhouettes, read_turns

# All lengths in units of S, the short side. Each law may be off by this much (root mean square) and still be believed.
TOLERANCE = 0.045
STILL_PATH = 0.13         # a centre that strays less than this from end to end stays where it is
DRIFT = 0.20              # and one that only changes colour or size may stray this far while it does
SHORTEST_PATH = 0.25      # the world's shortest straight way is 0.40
LOWEST_BOUNCE = 0.18      # the world's lowest is 0.30
ORBIT_RADIUS = (0.11, 0.40)
GROWTH = 1.45             # last radius over first; the world's growth is at least 1.9
GROWTH_AT_MOST = 1.6      # of something that travels
SPIN_AGREEMENT = 0.7      # length of the mean of unit arrows, one per frame, after turning them back
SPIN_TURNS = 0.35         # turns over the clip from which a person says that it spins


def read_motion(
    u: np.ndarray, outlines: Silhouettes, whole: np.ndarray, shape: str | None, colours: tuple[str | None, str | None],
    short: int,
) -> tuple[str | None, float]:  # fmt: skip
    """Name the motion of one object, or None when no law fits, and give the fit's error in units of S.

    u: (N,) places in the clip in [0, 1] where it is seen.   whole: (N,) frames with nothing in the way.   colours: its
    first and last.   short: S in pixels.   The result is one of `MOTIONS`, with "turns COLOUR" written out.
    """
    if len(u) < 3:
        return None, float("inf")
    first_colour, last_colour = colours
    use = whole if whole.mean() > 0.7 else np.ones(len(whole), bool)
    x, y = (outlines.centres[use] / short).T
    growth = read_growth(u[use], outlines.radii[use])
    path = float(np.hypot(np.ptp(x), np.ptp(y)))
    if path < DRIFT:
        if first_colour != last_colour and first_colour and last_colour:
            return f"turns {last_colour}", path
        if not 1 / GROWTH < growth < GROWTH:
            return ("grows" if growth > 1 else "shrinks"), path
    if path < STILL_PATH:
        return ("spins" if shape and spun_turns(u, outlines, use, shape) > SPIN_TURNS else "stays still"), path
    if not 1 / GROWTH_AT_MOST < growth < GROWTH_AT_MOST or first_colour != last_colour:
        return None, path                                                  # travels and changes: none of our motions
    errors = path_errors(u[use], x, y)
    best = min(errors, key=errors.__getitem__)
    return (best if errors[best] < TOLERANCE else None), errors[best]


def read_growth(u: np.ndarray, radii: np.ndarray) -> float:
    """Last radius over first, from a straight line through all of them."""
    slope, start = np.polyfit(u, radii, 1)
    return float(np.clip((start + slope) / max(start, 1e-3), 0.01, 100)) if start > 0 else 100.0


def spun_turns(u: np.ndarray, outlines: Silhouettes, use: np.ndarray, shape: str) -> float:
    """Turns about its own centre over the whole clip, without sign; 0 when the turning has no steady rate.

    The rate is the one at which all frames, turned back by rate * u, point the same way.
    """
    if shape == "circle":
        return 0.0
    order = ORDERS[shape]
    turns, clearness = read_turns(outlines, order)
    rates = np.arange(-1.4, 1.41, 0.02)
    arrows = clearness[use] * np.exp(2j * np.pi * order * (turns[use] - rates[:, None] * u[use]))
    agreement = np.abs(arrows.sum(1)) / clearness[use].sum()
    best = int(agreement.argmax())
    return abs(float(rates[best])) if agreement[best] > SPIN_AGREEMENT else 0.0


def path_errors(u: np.ndarray, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Root mean square distance between a path (N,), (N,) in units of S and the best path of each motion's law."""
    errors: dict[str, float] = {}
    still_x, still_y = _rms(x - x.mean()), _rms(y - y.mean())
    across, residual_x = _fit(u, x)
    down, residual_y = _fit(u, y)
    if abs(across) > SHORTEST_PATH:
        errors["moves right" if across > 0 else "moves left"] = float(np.hypot(residual_x, still_y))
    if abs(down) > SHORTEST_PATH:
        errors["moves down" if down > 0 else "moves up"] = float(np.hypot(residual_y, still_x))
    drop, residual = _fit(u**2, y)
    if drop > SHORTEST_PATH:
        errors["falls"] = float(np.hypot(residual, still_x))
    errors["bounces"] = float(np.hypot(bounce_error(u, y), still_x))
    errors["orbits"] = orbit_error(u, x, y)
    return errors


def bounce_error(u: np.ndarray, y: np.ndarray) -> float:
    """Distance to the best chain of parabolas, 1.3 to 2.7 of them in the clip, from any height; infinite without one.

    The world's bounces start from rest at the top, but one that is already on its way is a bounce to the eye too.
    """
    arcs, start = np.meshgrid(np.arange(1.3, 2.75, 0.05), np.arange(0, 1, 0.1))
    place = (arcs.reshape(-1, 1) * u + start.reshape(-1, 1)) % 1.0         # (K, N), 0 and 1 on the floor, 1/2 at the top
    height = 1 - (2 * place - 1) ** 2
    height -= height.mean(1, keepdims=True)
    fall = y - y.mean()
    slope = height @ fall / np.maximum((height**2).sum(1), 1e-12)          # two sights may stand at one height of an arc
    residual = np.sqrt(np.mean((fall - slope[:, None] * height) ** 2, axis=1))
    return float(residual[slope < -LOWEST_BOUNCE].min(initial=np.inf))


def orbit_error(u: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Distance to the best circle run through at a steady rate, 0.6 to 1.6 turns in the clip; infinite without one."""
    best = np.inf
    for turns in np.concatenate([np.arange(-1.6, -0.55, 0.05), np.arange(0.6, 1.65, 0.05)]):
        angle = 2 * np.pi * turns * u
        cos, sin, one, nil = np.cos(angle), np.sin(angle), np.ones_like(u), np.zeros_like(u)
        # x = cx + a cos - b sin, y = cy + a sin + b cos: a circle of radius hypot(a, b) from any starting angle.
        design = np.concatenate([np.stack([one, nil, cos, -sin], 1), np.stack([nil, one, sin, cos], 1)])
        target = np.concatenate([x, y])
        solution, *_ = np.linalg.lstsq(design, target, rcond=None)
        if ORBIT_RADIUS[0] < np.hypot(solution[2], solution[3]) < ORBIT_RADIUS[1]:
            best = min(best, np.sqrt(2) * _rms(design @ solution - target))
    return float(best)


def _fit(basis: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Slope and root mean square residual of values = a + slope * basis."""
    centred = basis - basis.mean()
    slope = float(centred @ (values - values.mean()) / max(float(centred @ centred), 1e-9))
    return slope, _rms(values - values.mean() - slope * centred)


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))
