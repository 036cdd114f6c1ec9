"""Own sine and cosine, distances to the shapes, and coherent noise: what the painter needs from mathematics.

Only + - * /, square root, floor, minimum and maximum are used: IEEE 754 fixes their last bit, so every machine paints
the same bytes. Library sines differ between vector units, therefore they are not used here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .rng import hash_lattice

PI = 3.141592653589793
_SIN36, _COS36 = 0.5877852522924731, 0.8090169943749475
_SIN72, _COS72 = 0.9510565162951535, 0.30901699437494745
_SIN60 = 0.8660254037844386
STAR_WAIST = 0.5  # inner radius over outer radius of the five-pointed star

# Distance from centre to tip in units of the nominal radius: each shape has the area pi * radius**2.
CIRCUMRADIUS = {
    "circle": 1.0,
    "square": float(np.sqrt(PI / 2.0)),
    "triangle": float(np.sqrt(PI / (1.5 * _SIN60))),
    "star": float(np.sqrt(PI / (5.0 * STAR_WAIST * _SIN36))),
}


def sin_turns(turns: Any) -> Any:
    """sin(2 pi turns) of a float or array, to about 1e-11: the Taylor polynomial on a quarter turn."""
    offset = turns - np.floor(turns) - 0.5
    x = (0.25 - np.abs(0.25 - np.abs(offset))) * (2.0 * PI)
    square = x * x
    total = 1.0
    for n in (16, 14, 12, 10, 8, 6, 4, 2):
        total = 1.0 - square / (n * (n + 1.0)) * total
    return -np.copysign(x * total, offset)


def cos_turns(turns: Any) -> Any:
    """cos(2 pi turns) of a float or array."""
    return sin_turns(turns + 0.25)


def shape_extents(shape: str, turns: float) -> tuple[float, float, float, float]:
    """Bounds (left, top, right, bottom) of a shape of radius 1 around its centre when turned clockwise by `turns`."""
    tip = CIRCUMRADIUS[shape]
    if shape == "circle":
        return -1.0, -1.0, 1.0, 1.0
    count, first = {"square": (4, 0.125), "triangle": (3, 0.0), "star": (5, 0.0)}[shape]
    around = np.arange(count) / count + first + turns
    xs, ys = tip * sin_turns(around), -tip * cos_turns(around)
    return float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())


def shape_distance(shape: str, dx: np.ndarray, dy: np.ndarray, radius: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Signed distance to the edge (negative inside), float32 (T, h, w), on the grid dx (T, 1, w), dy (T, h, 1).

    dx, dy, radius: pixels (from the centre).  turns: clockwise, as radius (T, 1, 1); at 0 triangle and star point up.
    Outside a corner it is the distance to the nearest edge *line*, which is what one pixel of smoothing needs.
    """
    if shape == "circle":
        return np.sqrt(dx * dx + dy * dy) - radius
    sin, cos = sin_turns(turns).astype(np.float32), cos_turns(turns).astype(np.float32)
    f = np.float32
    if shape == "square":
        across, down = cos * dx + sin * dy, cos * dy - sin * dx
        return np.maximum(np.abs(across, out=across), np.abs(down, out=down), out=across) - radius * f(
            np.sqrt(PI) / 2.0
        )
    if shape == "triangle":  # three edge lines; each line's distance is a sum of a row and a column
        inner = radius * f(CIRCUMRADIUS["triangle"] / 2.0)
        distance = (cos * dy) - (sin * dx)  # (T, h, w): below the base
        for side in (1.0, -1.0):
            nx, ny = side * f(_SIN60), -f(0.5)
            np.maximum(distance, (nx * cos - ny * sin) * dx + (nx * sin + ny * cos) * dy, out=distance)
        return np.subtract(distance, inner, out=distance)
    # Star: reflect the plane onto one tenth of it, the wedge right of the upper tip, where the edge is one line.
    x, y = cos * dx + sin * dy, sin * dx - cos * dy
    np.abs(x, out=x)
    for mx, my in ((f(-_COS72), f(-_SIN72)), (f(_COS36), f(-_SIN36))):
        beyond = mx * x  # mirror lines 108 and 36 degrees from the tip
        beyond += my * y
        np.maximum(beyond, f(0.0), out=beyond)
        beyond *= f(2.0)
        x -= beyond * mx
        beyond *= my
        y -= beyond
    np.abs(x, out=x)
    ex, ey = STAR_WAIST * _SIN36, STAR_WAIST * _COS36 - 1.0
    length = float(np.sqrt(ex * ex + ey * ey))
    nx, ny = f(-ey / length), f(ex / length)
    x *= nx
    y *= ny
    x += y
    return np.subtract(x, radius * f(CIRCUMRADIUS["star"]) * ny, out=x)


def coverage(distance: np.ndarray) -> np.ndarray:
    """Share of a pixel inside an edge at signed `distance` in pixels, in [0, 1]; overwrites its argument."""
    np.subtract(np.float32(0.5), distance, out=distance)
    return np.clip(distance, np.float32(0.0), np.float32(1.0), out=distance)


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, 3 s^2 - 2 s^3 between."""
    s = np.clip((x - np.float32(low)) * np.float32(1.0 / (high - low)), np.float32(0.0), np.float32(1.0))
    return s * s * (np.float32(3.0) - np.float32(2.0) * s)


def value_noise(seed: int, xs: np.ndarray, ys: np.ndarray, cells: tuple[float, ...], gain: float = 0.5) -> np.ndarray:
    """Soft noise in [0, 1], float32 (H, W), at places xs (W,) by ys (H,): octaves of random lattices with these cells.

    Quadratic B-splines join the lattice values: linear or cosine joins leave flat tops in rows and columns, which show.
    """
    total = np.zeros((len(ys), len(xs)), np.float32)
    amplitude, norm = 1.0, 0.0
    for octave, cell in enumerate(cells):
        column, weights_x = _spline(xs / cell)
        row, weights_y = _spline(ys / cell)
        first_row, first_column = row.min(), column.min()
        lattice = hash_lattice(
            seed + octave, np.arange(first_row, row.max() + 3), np.arange(first_column, column.max() + 3)
        )
        row, column = row - first_row, column - first_column
        rows = sum(lattice[row + k] * weights_y[k][:, None] for k in range(3))
        total += sum(rows[:, column + k] * weights_x[k] for k in range(3)) * np.float32(amplitude)
        norm += amplitude
        amplitude *= gain
    total *= np.float32(1.0 / norm)
    return total


def _spline(place: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """First of the three lattice points that a place leans on, and its weights for them."""
    whole = np.floor(place)
    part = (place - whole).astype(np.float32)
    rest = np.float32(1.0) - part
    half = np.float32(0.5)
    return whole.astype(np.int64), (half * rest * rest, half + part * rest, half * part * part)


def resample(texture: np.ndarray, xs: np.ndarray, ys: np.ndarray, origin: tuple[int, int]) -> np.ndarray:
    """Bilinear views (T, H, W) of a float32 texture (h, w): frame i looks at columns xs[i] (W,) and rows ys[i] (H,).

    origin: column and row of texture[0, 0]; it is a whole number so that the views do not depend on what was cut away.
    """
    column, row = np.floor(xs), np.floor(ys)
    fx, fy = (xs - column).astype(np.float32), (ys - row).astype(np.float32)
    column, row = column.astype(np.int64) - origin[0], row.astype(np.int64) - origin[1]
    views = np.empty((len(xs), ys.shape[1], xs.shape[1]), np.float32)
    for i in range(len(xs)):
        top = texture[row[i]]
        rows = top + (texture[row[i] + 1] - top) * fy[i][:, None]
        left = rows[:, column[i]]
        views[i] = left + (rows[:, column[i] + 1] - left) * fx[i]
    return views


def slide(
    texture: np.ndarray, x: np.ndarray, y: np.ndarray, origin: tuple[int, int], height: int, width: int
) -> np.ndarray:
    """Bilinear windows (K, T, height, width) into float32 planes (K, h, w), corners at columns x, rows y (T,)."""
    views = np.empty((len(texture), len(x), height, width), np.float32)
    for i in range(len(x)):
        column, row = int(np.floor(x[i])), int(np.floor(y[i]))
        fx, fy = np.float32(x[i] - column), np.float32(y[i] - row)
        column, row = column - origin[0], row - origin[1]
        window = texture[:, row : row + height + 1, column : column + width + 1]
        window = window[:, :-1] + (window[:, 1:] - window[:, :-1]) * fy if fy else window[:, :-1]
        views[:, i] = window[..., :-1] + (window[..., 1:] - window[..., :-1]) * fx
    return views
