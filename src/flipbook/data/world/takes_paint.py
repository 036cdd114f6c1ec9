"""The frames of a take: its shots by their own domains, dissolved, changed if it is a copy, and written over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .domains import PICTURES
from .font import bitmap
from .geometry import resample
from .layers import paint
from .rng import hash_lattice
from .takes import shots_at


def paint_take(scene: Mapping[str, Any], index: tuple[int, ...], height: int, width: int) -> np.ndarray:
    """Frames number `index` of a take, uint8 (T, H, W, 3)."""
    picture = np.zeros((len(index), height, width, 3), np.float32)
    for shot in scene["shots"]:
        rows = [row for row, frame in enumerate(index) if shot["start"] <= frame < shot["end"]]
        if not rows:
            continue
        u = np.array([shot["times"][index[row] - shot["start"]] for row in rows])
        inner = shot["scene"]
        frames = paint(PICTURES[inner["domain"]].build_stack(inner, u, height, width))
        for row, frame in zip(rows, frames, strict=True):
            share = next(share for seen, share in shots_at(scene, index[row]) if seen is shot)
            picture[row] += frame * np.float32(share)
    if scene["change"]:
        picture = _changed(picture, scene["change"], scene["seed"], index)
    for overlay in scene["overlays"]:
        rows = [row for row, frame in enumerate(index) if overlay["start"] <= frame < overlay["end"]]
        if rows:
            _write(picture, rows, overlay)
    return (np.clip(picture, 0.0, 255.0) + np.float32(0.5)).astype(np.uint8)


def _write(picture: np.ndarray, rows: list[int], overlay: Mapping[str, Any]) -> None:
    """Letters in the overlay's box, on a darkened plate if it has one."""
    ink = bitmap(overlay["text"])
    height, width = picture.shape[1:3]
    left, top, right, bottom = overlay["box"]
    x = ((np.arange(width) + 0.5) / width - left) / (right - left) * ink.shape[1]
    y = ((np.arange(height) + 0.5) / height - top) / (bottom - top) * ink.shape[0]
    inside_x, inside_y = np.nonzero((x >= 0) & (x < ink.shape[1]))[0], np.nonzero((y >= 0) & (y < ink.shape[0]))[0]
    cells = ink[y[inside_y].astype(np.int64)][:, x[inside_x].astype(np.int64)][..., None]
    for row in rows:
        area = picture[row, inside_y[0] : inside_y[-1] + 1, inside_x[0] : inside_x[-1] + 1]
        if overlay["plate"]:
            area *= np.float32(0.35)
        area[...] = np.where(cells, np.array(overlay["rgb"], np.float32), area)


def _changed(picture: np.ndarray, change: Mapping[str, Any], seed: int, index: tuple[int, ...]) -> np.ndarray:
    """What a copy suffers: up to 14 levels brighter, up to 8 % cropped, up to 8 levels of noise, or mirrored."""
    amount, (height, width) = change["amount"], picture.shape[1:3]
    if change["kind"] == "brighter":
        return picture + np.float32(14.0 * amount)
    if change["kind"] == "mirrored":
        return picture[:, :, ::-1].copy()
    if change["kind"] == "noisy":
        for row, frame in enumerate(index):
            grain = hash_lattice(seed + frame, np.arange(height), np.arange(width))
            picture[row] += (grain[..., None] - np.float32(0.5)) * np.float32(16.0 * amount)
        return picture
    keep = 1.0 - 0.08 * amount
    xs = (np.arange(width) + 0.5) * keep + width * (1.0 - keep) / 2.0 - 0.5
    ys = (np.arange(height) + 0.5) * keep + height * (1.0 - keep) / 2.0 - 0.5
    for row in range(len(picture)):
        planes = [resample(picture[row, :, :, c], xs[None], ys[None], (0, 0))[0] for c in range(3)]
        picture[row] = np.stack(planes, axis=-1)
    return picture
