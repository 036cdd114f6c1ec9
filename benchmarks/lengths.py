"""Clips longer than those a model was trained on, made at once: what stays right, what flickers, and what it costs.

    python benchmarks/lengths.py [MODEL] [--lengths 16,24,32,48,64] [--seeds 2] [--sheets FOLDER] [--markdown docs/positions.md]

Three ways to a longer clip, for a model of rotary places in seconds such as thumb:
    as it is         frames stand where they would if training had gone on (extrapolation)
    moved together   all frames stand within the span of training (position interpolation): the model is told a higher frame rate
    in windows       16 frames at a time, of which the first 8 are given: the last of those before

The sentences are of motions that have no end: an object bounces, orbits or stays. The last rows are the world's own clips, which say what the reader can
find. One object throughout is a share of clips; shape and motion are shares of their stretches of two seconds, as long as training's clips, each read by
itself. Flicker is the local one of `flipbook check`, in grey levels; seconds are processor time for a frame.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from streaming import rolled
from stretches import FPS, SENTENCES, TRAINED, scores
from tables import replace_table

import flipbook
from flipbook.data.world import from_scene, scene_from_caption
from flipbook.generate import generate
from flipbook.metrics.probes.base import Footage
from flipbook.metrics.probes.flicker import local_flicker
from flipbook.metrics.truth.reader import read_clip
from flipbook.metrics.truth.score import score_reading
from flipbook.sampling import prepare
from flipbook.video import Video, contact_sheet

GIVEN = 8
Make = Callable[[str, int, int], Video]
"""(sentence, frames, seed) -> the clip."""


def ways_of(model: str) -> dict[str, Make]:
    """The three ways, and the world."""
    ready = prepare(flipbook.load(model).system)
    within = lambda n: FPS * (n - 1) / (TRAINED - 1)                       # the rate at which n frames last as long as training's
    at = lambda rate: lambda sentence, n, seed: generate(ready, sentence, num_frames=n, fps=rate(n), seed=seed)[0]
    world = lambda sentence, n, seed: from_scene(scene_from_caption(sentence, seed), num_frames=n, height=64, width=64, frames=range(n)).frames
    return {
        "as it is": at(lambda n: FPS),
        "moved together": at(within),
        "in windows": lambda sentence, n, seed: Video(rolled(ready, sentence, n, seed, {}, window=TRAINED, new=TRAINED - GIVEN), fps=FPS),
        "the world": lambda sentence, n, seed: Video(world(sentence, n, seed), fps=within(n)),    # it paces its motions by the clip
    }


def measured(make: Make, length: int, seeds: int, sentences: Sequence[str] = SENTENCES) -> tuple[dict[str, float], list[Video]]:
    """Means over sentences and seeds, and the clips of the first seed."""
    rows, shown = [], []
    for sentence in sentences:
        for seed in range(seeds):
            begun = time.process_time()
            video = make(sentence, length, seed)
            seconds = (time.process_time() - begun) / length
            parts = scores(video, sentence)
            rows.append({
                "objects": score_reading(read_clip(video.frames), sentence).objects, "shape": np.mean([one.shape for one in parts]),
                "motion": np.mean([one.motion for one in parts]), "flicker": local_flicker(Footage.of(video.frames, FPS, cuts=[])).value, "seconds": seconds,
            })  # fmt: skip
            if seed == 0:
                shown.append(video)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}, shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="thumb")
    parser.add_argument("--lengths", default="16,24,32,48,64")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--markdown", type=Path, help="write the table into this page, in the place of the last one")
    asked = parser.parse_args()
    lines = ["| way | frames | one object throughout | shape | motion | flicker | seconds a frame |", "|---|---|---|---|---|---|---|"]
    print(*lines, sep="\n")
    for name, make in ways_of(asked.model).items():
        for length in map(int, asked.lengths.split(",")):
            found, shown = measured(make, length, asked.seeds)
            shares = " | ".join(f"{100 * found[key]:.0f} %" for key in ("objects", "shape", "motion"))
            lines.append(f"| {name} | {length} | {shares} | {found['flicker']:.2f} | {found['seconds']:.3f} |")
            print(lines[-1], flush=True)
            if asked.sheets:
                asked.sheets.mkdir(parents=True, exist_ok=True)
                thinned = [replace(video, frames=video.frames[:: max(1, length // TRAINED)]) for video in shown]
                contact_sheet(thinned, titles=list(SENTENCES)).save(asked.sheets / f"{name.replace(' ', '-')}-{length}.png")
    if asked.markdown:
        replace_table(asked.markdown, "lengths", lines, sys.argv)


if __name__ == "__main__":
    main()
