"""Shots against PySceneDetect: F1 where the truth is known, and CPU seconds, the same files in one process, taking turns.

    python benchmarks/cuts.py FIRST_SEED NUM_TAKES [rounds] [FOLDER_OF_VIDEOS]

Takes of the procedural world, 96 frames at 8 a second and 64 pixels, written as H.264. A border is right within two frames of a
cut, or of the frames that a dissolve fills; each answers for one. Both sides read the files by themselves and decide with
the defaults of their documentation; PySceneDetect is also given `min_scene_len=5`, since its own 15 frames forbid short shots.
Seconds are those of the CPU with one thread; those of FOLDER, real footage of larger frames, come without an F1.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from curation import Tally

from flipbook.data.curation.cut import DECODE_SIDE, Cut
from flipbook.data.curation.frames import stream_frames
from flipbook.data.world import draw
from flipbook.files.read import open_source
from flipbook.video import Video

FPS, NEAR = 8.0, 2
Side = Callable[[Path], list[int]]


def ours(path: Path) -> list[int]:
    """What stage `cut` does with a whole file."""
    with closing(open_source(path)) as source:
        count, fps = source.count, source.clock().fps
    borders, _ = Cut().find(stream_frames(path, DECODE_SIDE, 0, count), fps)
    return [border.frame for border in borders]


def theirs(kind: str, **options: Any) -> Side:
    """`scenedetect.detect` as its documentation shows it."""
    from scenedetect import detect, detectors

    def side(path: Path) -> list[int]:
        scenes = detect(str(path), getattr(detectors, kind)(**options))
        return [scene[0].frame_num for scene in scenes[1:]]

    return side


def write_takes(first: int, count: int, folder: Path) -> dict[Path, list[dict[str, Any]]]:
    """Files of takes and their borders."""
    truth = {}
    for seed in range(first, first + count):
        clip = draw("takes", seed)
        path = folder / f"{seed:06d}.mp4"
        Video(clip.frames, FPS).write(path, sidecar=False)
        truth[path] = clip.scene["cuts"]
    return truth


def right(true: dict[str, Any], said: int) -> bool:
    return bool(true.get("start", true["frame"]) - NEAR <= said <= true.get("end", true["frame"]) + NEAR)


def score(side: Side, truth: dict[Path, list[dict[str, Any]]]) -> tuple[Tally, Tally]:
    """Of all borders, and of the dissolves alone, for which only what was found counts."""
    every, dissolves = Tally(), Tally()
    for path, borders in truth.items():
        said = side(path)
        every.match(borders, said, right)
        dissolves.match([b for b in borders if b["kind"] == "dissolve"], said, right)
    return every, dissolves


def race(sides: dict[str, Side], paths: list[Path], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each side over all files, sides taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.process_time()
            for path in paths:
                side(path)
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main(first: int, count: int, rounds: int, footage: Path | None) -> None:
    import cv2
    import scenedetect

    cv2.setNumThreads(1)
    sides = {
        "flipbook": ours, "content": theirs("ContentDetector"), "content, short shots": theirs("ContentDetector", min_scene_len=5),
        "adaptive": theirs("AdaptiveDetector"), "adaptive, short shots": theirs("AdaptiveDetector", min_scene_len=5),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        truth = write_takes(first, count, Path(folder))
        scores = {name: score(side, truth) for name, side in sides.items()}
        seconds = race(sides, list(truth), rounds)
    larger = race(sides, sorted(footage.glob("*.mp4")), rounds) if footage else {}
    print(f"PySceneDetect {scenedetect.__version__}, takes {first} to {first + count - 1}, {rounds} rounds")
    print("| detector | precision | recall | F1 | dissolves found | CPU s, takes | x flipbook | CPU s, footage | x flipbook |\n|---|" + "---:|" * 8)
    for name, (every, dissolves) in scores.items():
        cells = [f"{value:.3f}" for value in (*every.scores, dissolves.scores[1])]
        for times in (seconds, larger):
            cells += [f"{times[name]:.2f}", f"{times[name] / times['flipbook']:.2f}"] if times else ["", ""]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 3, Path(sys.argv[4]) if len(sys.argv) > 4 else None)
