"""Seams: between tiles of a picture, and between chunks of a clip."""

from __future__ import annotations

import numpy as np

from flipbook.files.sheet import spread

from .base import Footage, Reading

STEP = 4.0        # grey levels: a straight line from border to border steps by more
ALIKE = 0.97      # share of its pixels that step by about the same
TEXTURE = 3.0     # grey levels between the quartiles along the line, below which it is too plain to tell
SINGLE_FRAMES = 6
SAME = 0.9        # correlation of the picture on both sides
UNIFORM = 0.5     # spread of a jump over the picture, as a share of the jump: a camera that jerks spreads more
JUMP = 1.5        # CIELAB units: the colours of a shot change for good from one frame to the next by more
NEIGHBOURS = 4    # frames on each side that tell what change is usual
BEFORE_AND_AFTER = 3


def seams(footage: Footage) -> Reading:
    """The largest step, in grey levels, across a straight line through the whole picture, over which the picture goes on.

    Looked for between all neighbouring columns and rows of the mean picture (motion blurs there, seams stay). A seam is one
    pixel wide, lonely, and steps alike along its whole length, over a picture that has texture and is the same on both
    sides but for the step. An outline is softer, shorter, or parts different things. Between two plain areas a step may be a
    horizon as well as a seam, and is not called. details say where: column or row.
    """
    picture = 255 * footage.luma.mean(0)
    shown = 255 * footage.luma[spread(len(footage.luma), SINGLE_FRAMES)]
    found = [line_steps(picture, texture_along(shown)), line_steps(picture.T, texture_along(shown.transpose(0, 2, 1)))]
    axis = int(found[1].max(initial=0) > found[0].max(initial=0))
    place = int(found[axis].argmax())
    value = float(found[axis][place])
    fired = value > STEP
    name = ("column", "row")[axis]
    along = footage.luma if axis == 0 else footage.luma.transpose(0, 2, 1)
    series = 255 * np.abs((along[:, :, place + 1] - along[:, :, place]).mean(1))
    reason = f"a step of {value:.1f} grey levels before {name} {place + 1}" if fired else "no line through the picture"
    details = {name: place + 1.0} if fired else {}
    return Reading("seams", value, "grey levels", STEP, fired, reason, series, (), details)


def line_steps(picture: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """How much each line between two columns of (H, W) grey levels steps like a seam; 0 where it does not: (W - 1,).

    texture: (W,) of the columns in single frames; in the mean picture a passer-by would leave some.
    """
    steps = np.diff(picture, axis=1)                                                 # (H, W - 1)
    step = np.median(steps, axis=0)
    size = np.abs(step)
    padded = np.pad(size, 1)
    excess = size - np.maximum(np.maximum(padded[:-2], padded[2:]), np.percentile(size, 90))
    calm = np.median(np.abs(steps), axis=0)
    usual = np.pad(np.maximum(calm[:-2], calm[2:]), 1, mode="edge")                  # of the steps beside the line
    alike = (np.abs(steps - step) <= 0.5 * size + 2 * usual).mean(0)
    has_texture = np.minimum(texture[:-1], texture[1:]) > TEXTURE
    is_seam = (alike >= ALIKE) & has_texture & (correlations(picture) > SAME) & (excess > 0)
    is_seam[:2] = is_seam[-2:] = False                                               # the frame of a picture is no seam
    return np.where(is_seam, excess, 0.0)


def texture_along(frames: np.ndarray) -> np.ndarray:
    """Grey levels between the quartiles of each column of (T, H, W), in the frame that has least: (W,)."""
    low, high = np.percentile(frames, [25, 75], axis=1)
    return (high - low).min(0)


def correlations(picture: np.ndarray) -> np.ndarray:
    """Correlation of each column of (H, W) with the next: (W - 1,)."""
    free = picture - picture.mean(0)
    length = np.sqrt((free**2).sum(0)) + 1e-6
    return (free[:, :-1] * free[:, 1:]).sum(0) / (length[:-1] * length[1:])


def chunk_seams(footage: Footage) -> Reading:
    """The largest lasting jump of colour from one frame to the next within a shot, in CIELAB units.

    The median over 8 x 8 cells of the change from frame to frame, which ignores what moves, less what is usual around it;
    only if all the picture shares in it, and if the three frames after differ as much from the three before, so that flicker,
    which returns, is none.
    """
    lab = footage.cell_lab                                                           # (T, N, 3)
    change = np.zeros((len(lab), 3))
    change[1:] = np.median(np.diff(lab, axis=0), axis=1)
    change[footage.is_new_shot] = 0
    series = np.zeros(len(lab))
    for shot in footage.pure_shots:
        for t in range(shot.start + 1, shot.stop):
            series[t] = lasting_jump(lab, change, t, shot)
    value = float(series.max(initial=0))
    fired = value > JUMP
    marks = tuple(int(t) for t in np.flatnonzero(series > JUMP))
    where = ", ".join(str(t) for t in marks[:6])
    reason = f"the colours jump for good at frame {where}" if fired else "colours go on from frame to frame"
    return Reading("chunk seams", value, "CIELAB units", JUMP, fired, reason, series, marks, line=JUMP)


def lasting_jump(lab: np.ndarray, change: np.ndarray, t: int, shot: slice) -> float:
    """The jump before frame t that is neither usual nor taken back."""
    around = [k for k in range(max(t - NEIGHBOURS, shot.start + 1), min(t + NEIGHBOURS + 1, shot.stop)) if k != t]
    usual = max((float(np.linalg.norm(change[k])) for k in around), default=0.0)
    jump = float(np.linalg.norm(change[t]))
    spread = float(np.median(np.linalg.norm(lab[t] - lab[t - 1] - change[t], axis=1)))
    if spread > UNIFORM * jump:
        return 0.0
    after = lab[t : min(t + BEFORE_AND_AFTER, shot.stop)].mean(0)
    before = lab[max(t - BEFORE_AND_AFTER, shot.start) : t].mean(0)
    lasting = float(np.linalg.norm(np.median(after - before, axis=0)))
    return max(0.0, min(jump, lasting) - usual)
