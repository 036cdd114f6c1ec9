"""From a long video to clips for a predictor or a codebook: mended, normalised, cut into pieces of one length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flipbook.editing.restorers.chain import Step, cuts_behind, restore
from flipbook.footage import find_cuts, shots
from flipbook.video import Video

PREPARING: tuple[Step, ...] = ("denoise", "auto-levels")


def split(video: Video, num_frames: int, *, hop: int | None = None, cuts: Sequence[int] | None = None) -> list[Video]:
    """Clips of `num_frames` frames, each within one shot, without sound. What is left over at the end of a shot is dropped.

    hop:  frames from the start of a clip to that of the next; None: `num_frames`, so that no frame is in two.
    cuts: first frames of new shots; None: found.
    Raises ValueError for lengths below 1.
    """
    step = num_frames if hop is None else hop
    if num_frames < 1 or step < 1:
        raise ValueError(f"num_frames={num_frames}, hop={hop}: both count from 1. Try num_frames=16.")
    found = find_cuts(video.frames) if cuts is None else list(cuts)
    starts = [start for shot in shots(len(video), found) for start in range(shot.start, shot.stop - num_frames + 1, step)]
    return [replace(video, frames=video.frames[start : start + num_frames], audio=None, times=None) for start in starts]


def prepared_clips(
    video: Video, num_frames: int, *, steps: Sequence[Step] = PREPARING, hop: int | None = None, cuts: Sequence[int] | None = None
) -> list[Video]:
    """The clips of `split`, of the video after `steps` of restorers; shots are found once, before anything is changed."""
    found = find_cuts(video.frames) if cuts is None else list(cuts)
    return split(restore(video, steps, cuts=found), num_frames, hop=hop, cuts=cuts_behind(steps, found))
