"""Frame plans: which frames of a clip are known and which are made, pass by pass.

A plan is an iterator of `Pass`es over frame numbers 0..T-1. The frames of a pass are what one run of a network sees; a plan says
nothing about how the known ones enter it. `checked` holds any plan to its contract.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Pass:
    """observed: frames that are known by then.   generated: frames that this pass makes."""

    observed: tuple[int, ...]
    generated: tuple[int, ...]

    @property
    def frames(self) -> tuple[int, ...]:
        """All frames of the pass, in the order of time."""
        return tuple(sorted((*self.observed, *self.generated)))

    @property
    def places(self) -> tuple[int, ...]:
        """Where the observed frames stand among the frames of the pass, counted from 0."""
        return tuple(i for i, frame in enumerate(self.frames) if frame in self.observed)


FramePlan = Iterator[Pass]


def whole(num_frames: int, observed: Iterable[int] = ()) -> FramePlan:
    """All frames at once, around those that are known."""
    known = tuple(observed)
    yield Pass(known, tuple(f for f in range(num_frames) if f not in known))


def autoregressive(num_frames: int, window: int, overlap: int) -> FramePlan:
    """Chunks of `window` frames, each of which takes the last `overlap` frames before it as known.

    Where the chunks do not come out even, the last one starts earlier and knows more. Raises ValueError unless
    0 <= overlap < window <= num_frames.
    """
    if not 0 <= overlap < window <= num_frames:
        raise ValueError(
            f"chunks of window={window} with overlap={overlap} do not fit {num_frames} frames: "
            f"0 <= overlap < window <= num_frames. Try window={min(window, num_frames)}, overlap={min(window, num_frames) // 2}."
        )
    yield Pass((), tuple(range(window)))
    done = window
    while done < num_frames:
        end = min(done + window - overlap, num_frames)
        yield Pass(tuple(range(end - window if overlap else done, done)), tuple(range(done, end)))
        done = end


def between_keys(num_frames: int, gap: int) -> FramePlan:
    """One pass per pair of neighbouring keys, which stand at 0, gap, 2 gap, ... and are known: gap - 1 frames each.

    The passes do not depend on each other. Raises ValueError if the last frame is no key.
    """
    if gap < 2 or num_frames < 2 or (num_frames - 1) % gap:
        low = max(1, (num_frames - 1) // max(gap, 2)) * max(gap, 2) + 1
        raise ValueError(f"num_frames={num_frames} does not end on a key with one every {gap} frames. Try num_frames={low} or {low + max(gap, 2)}.")
    for key in range(0, num_frames - 1, gap):
        yield Pass((key, key + gap), tuple(range(key + 1, key + gap)))


def keys(num_frames: int, gap: int) -> tuple[int, ...]:
    """The frames that `between_keys` takes as known."""
    return tuple(range(0, num_frames, gap))


def num_predicted(first: int, passes: int, known: int) -> int:
    """Frames after `passes` predictions of windows of `first` frames that know `known` of them (LVDM, arXiv:2211.13221)."""
    return first + passes * (first - known)


def num_interpolated(num_keys: int, window: int) -> int:
    """Frames after every pair of neighbouring keys has become a window with both as its ends."""
    return (num_keys - 1) * (window - 1) + 1


def checked(plan: Iterable[Pass], num_frames: int, done: Iterable[int] = ()) -> FramePlan:
    """The same plan, held to its contract: nothing unknown is observed, nothing is made twice, in the end all is there.

    Raises ValueError where it is broken.
    """
    known = set(done)
    for step in plan:
        if unknown := sorted(set(step.observed) - known):
            raise ValueError(f"this frame plan observes frames {unknown} before they are made. Give them, or change the order of its passes.")
        if twice := sorted(set(step.generated) & known):
            raise ValueError(f"this frame plan makes frames {twice} twice. Let each pass make frames of its own.")
        if outside := [f for f in step.generated if not 0 <= f < num_frames]:
            raise ValueError(f"this frame plan makes frames {outside}, but the clip has {num_frames}, 0 to {num_frames - 1}.")
        known |= set(step.generated)
        yield step
    if missing := sorted(set(range(num_frames)) - known):
        raise ValueError(f"this frame plan ends without frames {missing[:8]}. Add a last pass that makes them.")
