"""Quality probes: closed-form numbers about a clip, with units, thresholds and the frames to look at. No network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flipbook.hints import nearest
from flipbook.video import Video

from .base import Footage, Reading
from .blocks import blockiness, checkerboard
from .drift import colour_drift, drift_report
from .flashes import flashes
from .flicker import flicker, local_flicker
from .frozen import frozen
from .seams import chunk_seams, seams
from .sharpness import sharpness
from .shots import cuts, dead

PROBES: dict[str, Callable[[Footage], Reading]] = {
    "flicker": flicker,
    "local flicker": local_flicker,
    "frozen": frozen,
    "flashes": flashes,
    "blockiness": blockiness,
    "checkerboard": checkerboard,
    "colour drift": colour_drift,
    "seams": seams,
    "chunk seams": chunk_seams,
    "sharpness": sharpness,
    "cuts": cuts,
    "dead": dead,
}

__all__ = ["PROBES", "Footage", "Reading", "drift_report", "probe_video"]


def probe_video(
    video: Video, names: Sequence[str] | None = None, *, shot_starts: Sequence[int] | None = None
) -> list[Reading]:
    """Run the probes named, or all, on a video. Raises ValueError for an unknown name.

    shot_starts: first frames of new shots where they are known; None: found.
    """
    for name in names or ():
        if name not in PROBES:
            raise ValueError(f"no probe is called {name!r}. {nearest(name, PROBES)}")
    footage = Footage.of(video.frames, video.fps, None if shot_starts is None else list(shot_starts))
    return [PROBES[name](footage) for name in (PROBES if names is None else names)]
