"""From a clip to what is to be seen in it: the background and, for each object, colour, shape, size and motion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from flipbook.data.world.vocabulary import SIZES
from flipbook.metrics.truth.background import Background, read_background
from flipbook.metrics.truth.colour import COLOUR_NAMES, nearest_colour, rgb_to_lab
from flipbook.metrics.truth.motion import read_motion
from flipbook.metrics.truth.silhouette import cut_silhouettes, read_shape
from flipbook.metrics.truth.tracks import Track, find_tracks

READING_SIDE = 64         # pixels: larger clips are read from whole-block averages near this size
COLOUR_TOLERANCE = 32.0   # CIELAB: an object further than this from all seven colours has none of them
CLEAR_SHARE = 0.25        # of the frames: something seen in fewer is a flicker, not an object
CLEAR_AREA = 0.012        # of S * S: the world's smallest object, a shape about to grow, has 0.020
STEADY_SHARE = 0.85       # of the frames: an object seen in fewer comes and goes
STEADY_SHARE_TURNING = 0.65   # half-way between two colours a thing may look like the background for a moment
SIZE_DOUBT = 0.015        # of S: less than a pixel at 64 x 64


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
    frames = _shrink(frames)
    lab = rgb_to_lab(frames)
    background = read_background(frames, lab)
    tracks, regions = find_tracks(lab, background)
    clear = [track for track in tracks if _is_clear(track, regions.shape)]
    return Reading(tuple(_read_object(track, frames, background, regions) for track in clear), background.name)


def _is_clear(track: Track, clip: tuple[int, ...]) -> bool:
    """Whether a person would call it an object: there long enough, and large enough."""
    num_frames, height, width = clip
    area = np.median([sight.area for sight in track]) / min(height, width) ** 2
    return len(track) >= max(2, CLEAR_SHARE * num_frames) and bool(area > CLEAR_AREA)


def _shrink(frames: np.ndarray) -> np.ndarray:
    """Average whole blocks so that the short side comes near `READING_SIDE`; the margin that fills no block is cut."""
    num_frames, height, width, _ = frames.shape
    block = round(min(height, width) / READING_SIDE)
    if block <= 1:
        return frames
    height, width = height // block, width // block
    cut = frames[:, : height * block, : width * block].reshape(num_frames, height, block, width, block, 3)
    return np.rint(cut.mean((2, 4), dtype=np.float32)).astype(np.uint8)


def _read_object(track: Track, frames: np.ndarray, background: Background, regions: np.ndarray) -> SeenObject:
    num_frames, height, width = regions.shape
    short, num_seen = min(height, width), len(track)
    seen = np.array([sight.frame for sight in track])
    touching = np.array([sight.touching for sight in track])
    whole = touching <= 1
    clear = touching <= max(1, np.sort(touching)[num_seen // 5])           # at least a fifth of the frames
    labs = np.array([sight.lab for sight in track])
    ends = max(1, num_seen // 5)
    first, last = _name_colour(labs[:ends]), _name_colour(labs[-ends:])

    outlines = cut_silhouettes(frames, background, regions, track)
    shape, overlap = read_shape(outlines, clear, hidden=not whole.any())
    motion, error = read_motion(seen / max(num_frames - 1, 1), outlines, whole, shape, (first, last), short)
    turns = motion is not None and motion.startswith("turns")
    radius = float(np.median(outlines.radii[clear])) / short
    return SeenObject(
        colour=first if turns else _name_colour(labs),
        shape=shape,
        size=_name_size(radius),
        motion=motion,
        steady=num_seen >= (STEADY_SHARE_TURNING if turns else STEADY_SHARE) * num_frames,
        radius=radius,
        shape_overlap=overlap,
        motion_error=error,
        frames=tuple(seen.tolist()),
        track=tuple((float((x + 0.5) / width), float((y + 0.5) / height)) for x, y in outlines.centres),
    )


def _name_colour(colours: np.ndarray) -> str | None:
    """The name of the median of CIELAB colours (N, 3), or None when no name is near."""
    index, distance = nearest_colour(np.median(colours, axis=0))
    return COLOUR_NAMES[int(index)] if distance < COLOUR_TOLERANCE else None


def _name_size(radius: float) -> str | None:
    """The size word for a radius in units of S; a word is right up to a little beyond its band, where doubt begins."""
    if radius < SIZES["small"][1] + SIZE_DOUBT:
        return "small"
    return "large" if radius > SIZES["large"][0] - SIZE_DOUBT else None
