"""Seams: between tiles of a picture, and between chunks of a clip."""

from __future__ import annotations

import numpy as np

from .base import Footage, Reading

STEP = 1.0        # grey levels: a straight line from border to border steps by more
COVERED = 0.9     # share of its pixels that step the same way
JUMP = 1.5        # CIELAB units: the colours of a shot change for good from one frame to the next by more
NEIGHBOURS = 4    # frames on each side that tell what change is usual
BEFORE_AND_AFTER = 3


def seams(footage: Footage) -> Reading:
    """The largest step, in grey levels, across a straight line that runs through the whole picture.

    For every border between two columns (or rows) the mean step over the line and all frames, less the larger of the steps beside it
    and of the step that a tenth of all lines exceed: a seam is one pixel wide, lonely, and steps the same way along its
    whole length, while an outline is softer, shorter, or moves. marks are empty; details say where: axis and position.
    """
    found = [line_steps(footage.luma, axis) for axis in (2, 1)]
    best = [(float(steps.max(initial=0.0)), int(steps.argmax()) if len(steps) else 0) for steps in found]
    axis = 0 if best[0][0] >= best[1][0] else 1
    value, place = best[axis]
    position = place + 1
    along = np.abs(np.diff(footage.luma, axis=2 - axis).take(place, axis=2 - axis)).mean(axis=1) * 255
    fired = value > STEP
    name = ("column", "row")[axis]
    reason = f"a step of {value:.1f} grey levels before {name} {position}" if fired else "no line through the picture"
    details = {name: float(position)} if fired else {}
    return Reading("seams", value, "grey levels", STEP, fired, reason, along, (), details)


def line_steps(y: np.ndarray, axis: int) -> np.ndarray:
    """How much each line between neighbours along `axis` of (T, H, W) steps like a seam, in grey levels."""
    steps = np.diff(y.mean(0), axis=axis - 1) * 255                                  # in the mean picture: motion blurs, seams stay
    steps = steps if axis == 2 else steps.T                                          # (length, lines)
    mean = steps.mean(0)
    same_way = (np.sign(mean) * steps > 0.25 * np.abs(mean)).mean(0)
    size = np.abs(mean)
    padded = np.pad(size, 1)
    beside = np.maximum(padded[:-2], padded[2:])
    usual = np.percentile(size, 90)
    excess = size - np.maximum(beside, usual)
    excess[:1] = excess[-1:] = 0                                                     # a border line of the picture is no seam
    return np.where(same_way >= COVERED, np.maximum(excess, 0), 0)


def chunk_seams(footage: Footage) -> Reading:
    """The largest lasting jump of colour from one frame to the next within a shot, in CIELAB units.

    The median over 8 x 8 cells of the change from frame to frame, which ignores what moves, less what is usual around it;
    only if the three frames after differ as much from the three before, so that flicker, which returns, is none.
    """
    lab = footage.cell_lab                                                           # (T, N, 3)
    change = np.zeros((len(lab), 3))
    change[1:] = np.median(np.diff(lab, axis=0), axis=1)
    change[footage.is_new_shot] = 0
    series = np.zeros(len(lab))
    for shot in footage.shots:
        for t in range(shot.start + 1, shot.stop):
            series[t] = lasting_jump(lab, change, t, shot)
    value = float(series.max(initial=0))
    fired = value > JUMP
    marks = tuple(int(t) for t in np.flatnonzero(series > JUMP))
    where = ", ".join(str(t) for t in marks[:6])
    reason = f"the colours jump for good at frame {where}" if fired else "colours go on from frame to frame"
    return Reading("chunk seams", value, "CIELAB units", JUMP, fired, reason, series, marks)


def lasting_jump(lab: np.ndarray, change: np.ndarray, t: int, shot: slice) -> float:
    """The jump before frame t that is neither usual nor taken back."""
    around = [k for k in range(max(t - NEIGHBOURS, shot.start + 1), min(t + NEIGHBOURS + 1, shot.stop)) if k != t]
    usual = max((float(np.linalg.norm(change[k])) for k in around), default=0.0)
    jump = float(np.linalg.norm(change[t]))
    after = lab[t : min(t + BEFORE_AND_AFTER, shot.stop)].mean(0)
    before = lab[max(t - BEFORE_AND_AFTER, shot.start) : t].mean(0)
    lasting = float(np.linalg.norm(np.median(after - before, axis=0)))
    return max(0.0, min(jump, lasting) - usual)
