"""From a clip to what is to be seen in it: the background and, for each object, colour, shape, size and motion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from flipbook.data.world.vocabulary import SIZES, UNNAMED_SIZE
from flipbook.metrics.truth.background import read_background
from flipbook.metrics.truth.colour import COLOUR_NAMES, nearest_colour, rgb_to_lab
from flipbook.metrics.truth.motion import read_motion
from flipbook.metrics.truth.silhouette import cut_silhouettes, read_shape
from flipbook.metrics.truth.tracks import Track, find_tracks

READING_SIDE = 64         # pixels: larger clips are read from whole-block averages near this size
COLOUR_TOLERANCE = 32.0   # CIELAB: an object further than this from all seven colours has none of them
CLEAR_SHARE = 0.25        # of the frames: something seen in fewer is a flicker, not an object
STEADY_SHARE = 0.85       # of the frames: an object seen in fewer comes and goes


@dataclass(frozen=True)
class SeenObject:
    """One object as read. `colour` is the one it starts with; None stands for "cannot be said"."""

    colour: str | None
    shape: str | None
    size: str | None               # "small", "large", or None in between
    motion: str | None             # one of the world's motions, "turns COLOUR" written out
    steady: bool                   # there in (nearly) every frame
    radius: float                  # of the circle of the same area, in units of S, median over the clip
    shape_overlap: float           # intersection over union with the best shape, [0, 1]
    motion_error: float            # distance from the best law of motion, in units of S
    frames: tuple[int, ...]
    track: tuple[tuple[float, float], ...]   # centre (x, y) in units of width and height, one per frame seen


@dataclass(frozen=True)
class Reading:
    """What is to be seen in a clip, objects ordered by how long and how large they are seen."""

    objects: tuple[SeenObject, ...]
    background: str | None


def read_clip(clip: Any) -> Reading:
    """Read a clip: uint8 frames (T, H, W, 3) or a `Video`.

    Raises ValueError for anything else, and for frames smaller than 32 pixels.
    """
    frames = np.asarray(getattr(clip, "frames", clip))
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"a clip is uint8 frames (T, H, W, 3), got {frames.dtype} {frames.shape}. Try video.frames.")
    if min(frames.shape[1:3]) < 32:
        raise ValueError(f"frames of {frames.shape[2]} x {frames.shape[1]} are too small to read. Try 64 x 64.")
    lab = rgb_to_lab(_shrink(frames))
    background = read_background(lab)
    tracks, regions, from_background = find_tracks(lab, background)
    clear = [track for track in tracks if len(track.frames) >= max(1, CLEAR_SHARE * len(frames))]
    objects = tuple(_read_object(track, lab, regions, from_background) for track in clear)
    return Reading(objects, background.name)


def _shrink(frames: np.ndarray) -> np.ndarray:
    """Average whole blocks so that the short side comes near `READING_SIDE`; the margin that fills no block is cut."""
    num_frames, height, width, _ = frames.shape
    block = round(min(height, width) / READING_SIDE)
    if block <= 1:
        return frames
    height, width = height // block, width // block
    cut = frames[:, : height * block, : width * block].reshape(num_frames, height, block, width, block, 3)
    return np.rint(cut.mean((2, 4), dtype=np.float32)).astype(np.uint8)


def _read_object(track: Track, lab: np.ndarray, regions: np.ndarray, from_background: np.ndarray) -> SeenObject:
    num_frames, height, width = regions.shape
    frames = np.array(track.frames)
    colours = np.array(track.colours)
    whole = np.array(track.whole)
    outlines = cut_silhouettes(
        lab, from_background, regions, frames, np.array(track.regions), np.array(track.centres), colours, np.array(track.areas)
    )
    u = frames / max(num_frames - 1, 1)
    first, last = _name_colour(colours[: max(1, len(frames) // 5)]), _name_colour(colours[-max(1, len(frames) // 5) :])
    shape, overlap = read_shape(outlines, whole)
    motion, error = None, float("inf")
    if len(frames) >= 3:
        motion, error = read_motion(u, outlines, whole, shape, first, last, (height, width))
    radii = outlines.radii[whole] if whole.any() else outlines.radii
    radius = float(np.median(radii)) / min(height, width)
    return SeenObject(
        colour=first if motion and motion.startswith("turns") else _name_colour(colours),
        shape=shape,
        size=_name_size(radius),
        motion=motion,
        steady=len(frames) >= STEADY_SHARE * num_frames,
        radius=radius,
        shape_overlap=overlap,
        motion_error=error,
        frames=tuple(track.frames),
        track=tuple((float((x + 0.5) / width), float((y + 0.5) / height)) for x, y in outlines.centres),
    )


def _name_colour(colours: np.ndarray) -> str | None:
    """The name of the median of CIELAB colours (N, 3), or None when no name is near."""
    index, distance = nearest_colour(np.median(colours, axis=0))
    return COLOUR_NAMES[int(index)] if distance < COLOUR_TOLERANCE else None


def _name_size(radius: float) -> str | None:
    """The size word for a radius in units of S: the borders lie in the middle of the gaps between the world's bands."""
    if radius < (SIZES["small"][1] + UNNAMED_SIZE[0]) / 2:
        return "small"
    if radius > (UNNAMED_SIZE[1] + SIZES["large"][0]) / 2:
        return "large"
    return None
