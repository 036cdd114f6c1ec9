"""Long clips, read in stretches as long as the clips of training: what benchmarks of length and of streaming share."""

from __future__ import annotations

import numpy as np

from flipbook.metrics.truth.reader import read_clip
from flipbook.metrics.truth.score import Score, score_reading
from flipbook.video import Video

SENTENCES = (
    "a red circle bounces on a gray background", "a large blue square stays still on a black background",
    "a yellow circle orbits on a brown background", "a small purple star stays still on a cloudy background",
    "an orange square bounces on a striped background", "a white triangle orbits on a teal background",
)  # fmt: skip
"""Of motions that have no end, so that any stretch of them says the same."""
TRAINED, FPS = 16, 8.0


def stretches(video: Video) -> list[np.ndarray]:
    """The clip at training's rate, cut into stretches as long as training's clips; the last one ends with the clip."""
    frames = video.frames[np.arange(0, video.num_frames - 0.5, video.fps / FPS).round().astype(int)]
    starts = [*range(0, len(frames) - TRAINED, TRAINED), len(frames) - TRAINED]
    return [frames[start : start + TRAINED] for start in starts]


def scores(video: Video, sentence: str) -> list[Score]:
    """What is right in each stretch."""
    return [score_reading(read_clip(part), sentence) for part in stretches(video)]
