"""What is true of each place of a clip of the world, coarsely: which kind of object is seen there, and where it is moving."""

from __future__ import annotations

import numpy as np

from flipbook.data.world.clip import Clip
from flipbook.data.world.vocabulary import SHAPES

LABEL_SIDE = 4
"""Pixels of the side of the square that one label speaks of: its middle counts."""

KINDS = ("nothing", *SHAPES, "figure")
MOVES = ("nothing", "at rest", "right", "down right", "down", "down left", "left", "up left", "up", "up right")
LABELS = {"kinds": len(KINDS), "moves": len(MOVES)}
"""Name of a map to its number of classes."""

_AT_REST = 0.25  # pixels a frame of the whole clip, for a picture of 64


def label_maps(clip: Clip) -> dict[str, np.ndarray]:
    """Indices of `KINDS` and, for two frames or more, of `MOVES`: uint8 (T, H/4, W/4) each, 0 where no object is seen."""
    frames, height, width = clip.video.shape[:3]
    corner = slice(LABEL_SIDE // 2, None, LABEL_SIDE)
    maps = {name: np.zeros((frames, -(-height // LABEL_SIDE), -(-width // LABEL_SIDE)), np.uint8) for name in LABELS}
    if things := clip.scene.get("objects", ()):
        moves = directions(clip.tracks, np.array(clip.frame_index), min(height, width)) if frames > 1 else None
        for n, (thing, mask) in enumerate(zip(things, clip.masks[:, :, corner, corner], strict=True)):
            maps["kinds"][mask] = KINDS.index(thing.get("shape", "figure"))
            if moves is not None:
                maps["moves"][mask] = np.broadcast_to(moves[n, :, None, None], mask.shape)[mask]
    return maps if frames > 1 else {"kinds": maps["kinds"]}


def directions(tracks: np.ndarray, frame_index: np.ndarray, size: int) -> np.ndarray:
    """Indices of `MOVES` for centres (N, T, 2) in pixels at the given frames: the mean of the steps before and after, in eighths of a turn."""
    speed = np.gradient(tracks, frame_index.astype(np.float64), axis=1)                 # (N, T, 2), pixels a frame
    eighth = np.round(np.arctan2(speed[..., 1], speed[..., 0]) / (np.pi / 4)).astype(int) % 8
    moving = np.hypot(speed[..., 0], speed[..., 1]) >= _AT_REST * size / 64
    return np.where(moving, 2 + eighth, 1)
