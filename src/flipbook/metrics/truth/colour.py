"""Colours as an eye compares them: CIELAB coordinates and the named colours of the world in them."""

from __future__ import annotations

import numpy as np

from flipbook.data.world.vocabulary import COLOURS

# sRGB (IEC 61966-2-1) to CIE XYZ, divided by the D65 white point, as columns for `rgb @ matrix`.
_RGB_TO_XYZ = np.array(
    [[0.412391, 0.212639, 0.019331], [0.357584, 0.715169, 0.119195], [0.180481, 0.072192, 0.950532]], np.float32
) / np.array([0.950456, 1.0, 1.089058], np.float32)
_VALUES = np.arange(256, dtype=np.float32) / 255
_LINEAR = np.where(_VALUES <= 0.04045, _VALUES / 12.92, ((_VALUES + 0.055) / 1.055) ** 2.4).astype(np.float32)


def rgb_to_lab(rgb: np.ndarray) -> np.ndarray:
    """8-bit sRGB (..., 3), any dtype with values in [0, 255], to CIELAB (..., 3), float32, L in [0, 100]."""
    index = rgb if rgb.dtype == np.uint8 else np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
    xyz = _LINEAR[index] @ _RGB_TO_XYZ
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + np.float32(16 / 116))
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


COLOUR_NAMES = tuple(COLOURS)
COLOURS_LAB = rgb_to_lab(np.array(list(COLOURS.values()), np.uint8))                       # (7, 3)


def nearest_colour(lab: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The named colour next to each CIELAB point (..., 3): its index in `COLOUR_NAMES` and its distance, both (...)."""
    # |p - c|^2 = |p|^2 - 2 p.c + |c|^2, one matrix product instead of seven differences.
    squares = (lab**2).sum(-1, keepdims=True) - 2 * lab @ COLOURS_LAB.T + (COLOURS_LAB**2).sum(-1)
    index = squares.argmin(-1)
    return index, np.sqrt(np.maximum(np.take_along_axis(squares, index[..., None], -1)[..., 0], 0))


def distance_to_segment(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Distance from points (..., 3) to the straight segment from `start` to `end`, (3,) each, which may be equal."""
    along = end - start
    length = float(along @ along)
    offset = points - start
    if length > 0:
        place = np.clip(offset @ along / length, 0, 1)
        offset = offset - place[..., None] * along
    return np.sqrt(np.einsum("...c,...c->...", offset, offset))
