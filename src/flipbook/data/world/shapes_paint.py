"""The picture of a `shapes` scene: its background on the canvas and one layer per object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .geometry import (
    CIRCUMRADIUS,
    cos_turns,
    coverage,
    resample,
    shape_distance,
    sin_turns,
    smoothstep,
    value_noise,
)
from .layers import Layer, Stack, pixel_box
from .shapes_motion import colour_at, grown, offset, turned

_SQRT_HALF = 0.7071067811865476
_STRIPES = ((1.0, 0.0), (0.0, 1.0), (_SQRT_HALF, _SQRT_HALF), (_SQRT_HALF, -_SQRT_HALF))
_CLOUD_CELLS = (0.34, 0.17, 0.085)


def build_stack(scene: Mapping[str, Any], u: np.ndarray, height: int, width: int) -> Stack:
    """Layers of the frames at times u (T,), float64 in [0, 1]."""
    unit = min(height, width)
    view = _camera_pose(scene["camera"], u, height, width)
    canvas, pose = _background(scene, u, view, height, width)
    far_to_near = sorted(enumerate(scene["objects"]), key=lambda item: -item[1]["depth"])
    layers = tuple(_object_layer(index, thing, u, view, unit, height, width) for index, thing in far_to_near)
    centres = np.stack([next(layer.pose[:, :2] for layer in layers if layer.object == i) for i in range(len(layers))])
    return Stack(canvas, pose, layers, view, centres)


def _camera_pose(camera: Mapping[str, Any], u: np.ndarray, height: int, width: int) -> np.ndarray:
    """(T, 4) pose that brings world pixels into view: zoom about the middle, pan centred on the middle of the clip."""
    unit = min(height, width)
    zoom = camera["zoom"][0] + (camera["zoom"][1] - camera["zoom"][0]) * u
    x = width / 2.0 * (1.0 - zoom) + camera["pan"][0] * unit * (u - 0.5)
    y = height / 2.0 * (1.0 - zoom) + camera["pan"][1] * unit * (u - 0.5)
    return np.stack([x, y, zoom, np.zeros_like(u)], axis=1)


def _object_layer(
    index: int, thing: Mapping[str, Any], u: np.ndarray, view: np.ndarray, unit: int, height: int, width: int
) -> Layer:
    dx, dy = offset(thing, u)
    zoom = view[:, 2]
    x = view[:, 0] + zoom * (thing["centre"][0] + dx) * unit
    y = view[:, 1] + zoom * (thing["centre"][1] + dy) * unit
    scale = zoom * grown(thing, u) * unit
    turns = turned(thing, u)
    pose = np.stack([x, y, scale * cos_turns(turns), scale * sin_turns(turns)], axis=1)

    reach = scale * (thing["radius"] * CIRCUMRADIUS[thing["shape"]])
    box = pixel_box((x - reach).min(), (y - reach).min(), (x + reach).max(), (y + reach).max(), height, width)
    y0, y1, x0, x1 = box
    across = (np.arange(x0, x1) + 0.5 - x[:, None]).astype(np.float32)[:, None, :]  # (T, 1, w) pixels from the centre
    down = (np.arange(y0, y1) + 0.5 - y[:, None]).astype(np.float32)[:, :, None]  # (T, h, 1)
    radius = (scale * thing["radius"]).astype(np.float32)[:, None, None]
    distance = shape_distance(thing["shape"], across, down, radius, turns[:, None, None])
    colour = colour_at(thing, u)
    if thing["texture"] != "plain":
        colour = _textured(thing["texture"], colour, across, down, radius, turns[:, None, None])
    return Layer(coverage(distance), colour, pose, thing["depth"], box, index)


def _textured(
    texture: str, colour: np.ndarray, across: np.ndarray, down: np.ndarray, radius: np.ndarray, turns: np.ndarray
) -> np.ndarray:
    """The colour (3,) or (T, 3) as (3, T, h, w): darker towards the lower edge, or banded; both turn along."""
    sin, cos = sin_turns(turns).astype(np.float32), cos_turns(turns).astype(np.float32)
    below = ((cos / radius) * down) - ((sin / radius) * across)  # -1 top to 1 bottom, roughly
    if texture == "shaded":
        shade = np.float32(1.0) - np.float32(0.13) * smoothstep(-1.0, 1.2, below)
    else:
        beat = below * np.float32(1.25)
        wave = np.abs(beat - np.floor(beat) - np.float32(0.5))  # 0 in the middle of a band, 0.5 between
        shade = np.float32(1.0) - np.float32(0.20) * smoothstep(0.32, 0.18, wave)
    per_frame = np.broadcast_to(colour, (len(shade), 3))
    return np.stack([shade * per_frame[:, c, None, None] for c in range(3)])


def _background(
    scene: Mapping[str, Any], u: np.ndarray, view: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """The canvas, float32 (3, T, H, W), and its pose (T, 4)."""
    name, paint, unit = scene["background"], scene["background_paint"], min(height, width)
    canvas = np.empty((3, len(u), height, width), np.float32)
    moving = bool(scene["camera"]["move"])
    pose = view
    if name == "cloudy":
        pose = view.copy()
        pose[:, 0] += view[:, 2] * paint["drift"] * unit * (u - 0.5)
        moving = moving or paint["drift"] != 0.0
    seen = pose if moving else pose[:1]
    xs = (np.arange(width) + 0.5 - seen[:, 0:1]) / seen[:, 2:3]  # (T or 1, W) world pixels
    ys = (np.arange(height) + 0.5 - seen[:, 1:2]) / seen[:, 2:3]  # (T or 1, H)

    if name == "striped":
        _mix_into(canvas, paint["rgb"], _stripes(paint, xs / unit, ys / unit, seen[:, 2] * unit))
    elif name == "cloudy":
        _mix_into(canvas, paint["rgb"], _clouds(paint["seed"], xs, ys, unit, moving))
    elif paint["slope"]:
        along_x, along_y = _STRIPES[paint["direction"]]
        ramp = along_x * (xs / width - 0.5)[:, None, :] + along_y * (ys / height - 0.5)[:, :, None]
        for c in range(3):
            canvas[c] = np.float32(paint["rgb"][0][c]) + (paint["slope"] * ramp).astype(np.float32)
    else:
        for c in range(3):
            canvas[c] = paint["rgb"][0][c]
    return canvas, pose


def _mix_into(canvas: np.ndarray, ends: list[list[int]], share: np.ndarray) -> None:
    for c in range(3):
        canvas[c] = np.float32(ends[0][c]) + np.float32(ends[1][c] - ends[0][c]) * share


def _stripes(paint: Mapping[str, Any], xs: np.ndarray, ys: np.ndarray, scale: np.ndarray) -> np.ndarray:
    along_x, along_y = _STRIPES[paint["direction"]]
    beat = (along_x * xs)[:, None, :] + (along_y * ys)[:, :, None]
    beat = beat / paint["width"] + paint["phase"]
    place = beat - 2.0 * np.floor(beat / 2.0)  # [0, 2): one dark and one light stripe
    inside = (0.5 - np.abs(place - 1.0)) * (paint["width"] * scale)[:, None, None]  # pixels inside the light one
    return coverage((-inside).astype(np.float32))


def _clouds(seed: int, xs: np.ndarray, ys: np.ndarray, unit: int, moving: bool) -> np.ndarray:
    """Share of cloud in [0, 1], (T or 1, H, W): one texture, looked at through every frame's window."""
    if not moving:
        return smoothstep(0.36, 0.66, value_noise(seed, xs[0] / unit, ys[0] / unit, _CLOUD_CELLS))[None]
    left, top = int(np.floor(xs.min())), int(np.floor(ys.min()))
    columns, rows = np.arange(left, int(np.floor(xs.max())) + 2), np.arange(top, int(np.floor(ys.max())) + 2)
    texture = smoothstep(0.36, 0.66, value_noise(seed, columns / unit, rows / unit, _CLOUD_CELLS))
    return resample(texture, xs, np.broadcast_to(ys, (len(xs), ys.shape[1])), (left, top))
