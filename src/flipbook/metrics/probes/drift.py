"""What changes slowly over a clip: the colours, and with them all that a long clip may lose."""

from __future__ import annotations

import itertools

import numpy as np

from flipbook.footage import palette

from .base import Footage, Reading
from .sharpness import blur_of_frames

SLOPE = 5.0      # CIELAB units per 100 frames
VISIBLE = 3.0    # CIELAB units from the first frames to the last, below which nobody sees it
UNIFORM = 0.6    # spread of the change over the picture, as a share of it
ENDS = 3         # frames averaged at both ends


def colour_drift(footage: Footage) -> Reading:
    """How fast the colours leave those of the shot's first frames, in CIELAB units per 100 frames; the worst shot counts.

    The median over 8 x 8 cells of the change since the first frames, so that what moves in less than half of the picture does not
    count; the slope of a straight line through the origin; a dissolve ends the shot. 0 for a shot whose colours end less than 3 units away, and for one in
    which they move differently from place to place, as they do when a camera pans.
    """
    series = np.zeros(len(footage.frames))
    value = moved = 0.0
    for shot in footage.pure_shots:
        lab = footage.cell_lab[shot]
        ends = min(ENDS, len(lab))
        way = np.median(lab - lab[:ends].mean(0), axis=1)                            # (t, 3)
        series[shot] = np.linalg.norm(way, axis=1)
        time = np.arange(len(lab)) - (ends - 1) / 2
        slope = float(np.linalg.norm((time[:, None] * way).sum(0) / max((time**2).sum(), 1)) * 100)
        last = float(np.linalg.norm(way[-ends:].mean(0)))
        spread = float(np.median(np.linalg.norm(way[-1] - (lab[-1] - lab[:ends].mean(0)), axis=1)))
        if last > VISIBLE and spread <= UNIFORM * last and slope > value:
            value, moved = slope, last
    fired = value > SLOPE
    reason = f"colours move by {moved:.1f} CIELAB units, {value:.1f} per 100 frames" if fired else "colours stay"
    return Reading("colour drift", value, "CIELAB units per 100 frames", SLOPE, fired, reason, series, (), {"moved": moved}, VISIBLE)


def drift_report(footage: Footage) -> dict[str, np.ndarray]:
    """A long clip as functions of time, each (T,): what an extension method loses, it loses in one of these.

    blur:       0 sharp to 1 blurred, as in `sharpness`.     lightness, a, b: mean CIELAB colour.
    saturation: mean chroma, CIELAB units.                   contrast: standard deviation of luma, grey levels.
    motion:     mean change from the frame before, grey levels; 0 in the first frame of a shot.
    identity:   overlap in [0, 1] of the colours with those of the first frames, 64 bins: 1 is the same palette.
    """
    lab, y = footage.cell_lab, footage.luma
    motion = np.zeros(len(y))
    motion[1:] = [255 * np.abs(b - a).mean() for a, b in itertools.pairwise(y)]
    motion[footage.is_new_shot] = 0
    colours = np.stack([palette(frame) for frame in footage.frames])
    first = colours[:ENDS].mean(0)
    return {
        "blur": blur_of_frames(y),
        "lightness": lab[..., 0].mean(1), "a": lab[..., 1].mean(1), "b": lab[..., 2].mean(1),
        "saturation": np.hypot(lab[..., 1], lab[..., 2]).mean(1),
        "contrast": 255 * y.std((1, 2)),
        "motion": motion,
        "identity": np.minimum(colours, first).sum(1),
    }  # fmt: skip

