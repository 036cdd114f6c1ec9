"""Which frames a request means: clips, rates and clocks as arithmetic on presentation times, without any file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from flipbook.files.errors import VideoError

LONGEST_FRAME = 3600.0  # seconds; a stated length beyond is damage
MOST_FRAMES = 100_000_000


@dataclass(frozen=True)
class Clock:
    """When the frames of a file appear.

    times: (N,) seconds, rising, the first one 0.   end: seconds at which the last frame disappears.
    fps:   the rate, or the mean rate where `constant` is False.
    """

    times: np.ndarray
    end: float
    fps: float
    constant: bool


@dataclass(frozen=True)
class Selection:
    """indices (n,) into the file's frames, non-decreasing; their clock; the seconds [start, end) that they cover."""

    indices: np.ndarray
    fps: float
    times: np.ndarray | None
    start: float
    end: float


def frame_times(num_frames: int, fps: float, times: np.ndarray | None = None) -> np.ndarray:
    """Seconds (T,) at which frames appear."""
    return np.arange(num_frames) / fps if times is None else times


def nice_rate(rate: float) -> Fraction:
    """The rate a float means: 29.97003 is 30000/1001, 12.5 is 25/2. Within 1e-5 of `rate`."""
    for nice in simple_rates(rate):
        if nice and abs(float(nice) - rate) < 1e-5 * rate:
            return nice
    return Fraction(rate).limit_denominator(100_000)


def simple_rates(rate: float) -> list[Fraction]:
    """Rates near `rate` that people use, simplest first: whole numbers, NTSC's n * 1000/1001, small fractions."""
    ntsc = Fraction(round(rate * 1.001) * 1000, 1001)
    return [Fraction(round(rate)), ntsc, *(Fraction(rate).limit_denominator(d) for d in (2, 3, 4, 10, 100, 1001))]


def clock_of(
    times: np.ndarray, last_length: float | None, tick: float, hints: Iterable[float | Fraction | None]
) -> Clock:
    """Decide whether frames are evenly spaced, up to the file's own time grid.

    times: (N,) seconds, rising, any origin.   last_length: seconds the last frame stays, if the file says.
    tick:  seconds of one step of the file's time grid (1 ms in mkv, 10 ms in gif): jitter below it means nothing.
    hints: rates the file claims; one of them is believed if the frames agree with it.
    """
    times = times - times[0]
    n = len(times)
    if last_length is None or not 0 < last_length < LONGEST_FRAME:
        last_length = None
    if n == 1:
        length = last_length or next((1 / float(h) for h in hints if h and h > 1 / LONGEST_FRAME), 1.0)
        return Clock(times, length, float(nice_rate(1 / length)), True)
    measured = (n - 1) / times[-1]
    grid = np.arange(n)
    for rate in (*hints, *simple_rates(measured), measured):
        if rate and np.abs(times - grid / float(rate)).max() <= 1.01 * tick:
            return Clock(grid / float(rate), n / float(rate), float(rate), True)
    end = times[-1] + (last_length or 1 / measured)
    return Clock(times, end, n / end, False)


def frames_on_screen(times: np.ndarray, end: float, fps: float, start: float = 0.0) -> np.ndarray:
    """Indices of the frames on screen at start, start + 1/fps, ... up to `end`: at least one, with repeats and gaps."""
    if not 0 < fps < 100_000:
        raise VideoError(f"fps={fps}: frames per second are a positive number, such as 8 or 29.97.")
    count = max(1, round((end - start) * fps))
    if count > MOST_FRAMES:
        raise VideoError(f"fps={fps}: {end - start:.4g} seconds make {count} frames. Try a window (start, num_frames).")
    moments = start + np.arange(count) / fps
    return np.maximum(np.searchsorted(times, moments + 1e-6, side="right") - 1, 0)


def select(
    clock: Clock,
    *,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
    start_frame: int | None = None,
    num_frames: int | None = None,
) -> Selection:
    """Turn the window of `Video.read` into frame indices. Raises VideoError for a window that is not there."""
    if start is not None and start_frame is not None:
        raise VideoError("start and start_frame were both given: say the start once, in seconds or in frames.")
    if end is not None and num_frames is not None:
        raise VideoError("end and num_frames were both given: say the length once, in seconds or in frames.")
    begin, stop = start or 0.0, clock.end if end is None else min(end, clock.end)
    if not 0 <= begin < stop:
        raise VideoError(f"start={start}, end={end}: the video runs from 0 to {clock.end:.3f} seconds.")
    if end is not None and end > clock.end + 1 / clock.fps:
        raise VideoError(f"end={end}: the video ends at {clock.end:.3f} seconds. Try end={clock.end:.3f} or no end.")

    if fps is None or (clock.constant and abs(fps - clock.fps) < 1e-6 * fps):
        inside = (clock.times >= begin - 1e-6) & (clock.times < stop - 1e-6)
        indices = np.flatnonzero(inside)
        moments = clock.times[indices]
        rate, even = clock.fps, clock.constant
    else:
        indices = frames_on_screen(clock.times, stop, fps, begin)
        moments = begin + np.arange(len(indices)) / fps
        rate, even = float(fps), True
    if not len(indices):
        raise VideoError(f"start={start}, end={end}: no frame begins between them (one every {1 / rate:.3f} s).")

    first = start_frame or 0
    last = len(indices) if num_frames is None else first + num_frames
    if first < 0 or (num_frames is not None and num_frames < 1) or first >= len(indices) or last > len(indices):
        raise VideoError(
            f"frames {first} to {last - 1} were asked for, but there are {len(indices)} (0 to {len(indices) - 1})"
            f"{'' if fps is None else f' at {fps:g} fps'}. Try a window inside them."
        )
    tail = moments[last] if last < len(moments) else (stop if even is False and end is None else None)
    indices, moments = indices[first:last], moments[first:last]
    if even:
        return Selection(indices, rate, None, float(moments[0]), float(moments[0] + len(indices) / rate))
    if tail is None:
        following = int(indices[-1]) + 1
        tail = clock.times[following] if following < len(clock.times) else clock.end
    return Selection(indices, len(indices) / (tail - moments[0]), moments - moments[0], float(moments[0]), float(tail))
