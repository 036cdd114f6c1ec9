"""What is true of each place of a clip of the world, coarsely: which kind of object is seen there, where it is moving, how far it is turned."""

from __future__ import annotations

import numpy as np

from flipbook.data.world.clip import Clip
from flipbook.data.world.shapes_motion import turned
from flipbook.data.world.vocabulary import SHAPES

LABEL_SIDE = 4
"""Pixels of the side of the square that one label speaks of: its middle counts."""

KINDS = ("nothing", *SHAPES, "figure")
MOVES = ("nothing", "at rest", "right", "down right", "down", "down left", "left", "up left", "up", "up right")
ORDERS = {"square": 4, "triangle": 3, "star": 5}
"""Turning by 1 / order leaves a shape as it was."""
TURNS = ("nothing", *(f"{n} eighths on the way to the next equal turn" for n in range(8)))
SPINS = ("nothing", "keeps its turn", "clockwise", "anticlockwise")
LABELS = {"kinds": len(KINDS), "moves": len(MOVES), "turns": len(TURNS), "spins": len(SPINS)}
"""Name of a map to its number of classes."""

_AT_REST = 0.25  # pixels a frame of the whole clip, for a picture of 64


def label_maps(clip: Clip) -> dict[str, np.ndarray]:
    """Indices of `KINDS`, `TURNS` and, for two frames or more, of `MOVES` and `SPINS`: uint8 (T, H/4, W/4) each, 0 where no object is seen.

    What has no corners has neither a turn nor a spin.
    """
    frames, height, width = clip.video.shape[:3]
    corner = slice(LABEL_SIDE // 2, None, LABEL_SIDE)
    maps = {name: np.zeros((frames, -(-height // LABEL_SIDE), -(-width // LABEL_SIDE)), np.uint8) for name in LABELS}
    if things := clip.scene.get("objects", ()):
        moves = directions(clip.tracks, np.array(clip.frame_index), min(height, width)) if frames > 1 else None
        for n, (thing, mask) in enumerate(zip(things, clip.masks[:, :, corner, corner], strict=True)):
            maps["kinds"][mask] = KINDS.index(thing.get("shape", "figure"))
            if order := ORDERS.get(thing.get("shape", "figure")):
                turns = order * turned(thing, np.array(clip.frame_index) / max(clip.num_frames - 1, 1))
                maps["turns"][mask] = np.broadcast_to(1 + np.floor(8 * turns).astype(int)[:, None, None] % 8, mask.shape)[mask]
                maps["spins"][mask] = 1 if thing["motion"] != "spins" else 2 if thing["turns"] > 0 else 3
            if moves is not None:
                maps["moves"][mask] = np.broadcast_to(moves[n, :, None, None], mask.shape)[mask]
    return maps if frames > 1 else {name: maps[name] for name in ("kinds", "turns")}


def directions(tracks: np.ndarray, frame_index: np.ndarray, size: int) -> np.ndarray:
    """Indices of `MOVES` for centres (N, T, 2) in pixels at the given frames: the mean of the steps before and after, in eighths of a turn."""
    speed = np.gradient(tracks, frame_index.astype(np.float64), axis=1)                 # (N, T, 2), pixels a frame
    eighth = np.round(np.arctan2(speed[..., 1], speed[..., 0]) / (np.pi / 4)).astype(int) % 8
    moving = np.hypot(speed[..., 0], speed[..., 1]) >= _AT_REST * size / 64
    return np.where(moving, 2 + eighth, 1)
