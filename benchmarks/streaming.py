"""What streaming costs and what it keeps: frames per second, how much stays right, peak memory by length, and how colours, detail and flicker go.

    python benchmarks/streaming.py MODEL [--against thumb] [--frames 64] [--seeds 2] [--memory 200 2000] [--sheets FOLDER] [--json FILE]

MODEL is causal (`recipes/stream-1-causal.yaml`, `stream-2-distilled.yaml`, `stream-3-eights.yaml`). The model it is set against sees whole clips: it
goes on as it can, in windows as long as what the causal model reads, each of which is given the frames it shares with the one before. Speeds are frames
per second of processor time, decoder included; peaks are those of a process of its own for each length. What is right is read in stretches of two seconds
of videos whose motion has no end, `--seeds` for each of six sentences: objects, their colours, shapes and motions, and the background.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import stretches

import flipbook
from flipbook.conditions import Frames, Text
from flipbook.generate import generate
from flipbook.metrics.probes.base import Footage
from flipbook.metrics.probes.drift import drift_report
from flipbook.metrics.probes.flicker import flicker
from flipbook.sampling import Prepared, prepare
from flipbook.streaming import causal, stream
from flipbook.video import Video, contact_sheet

SENTENCES = (
    "a red circle bounces on a gray background", "a green triangle spins on a striped background",
    "white clouds drift left over a blue sky", "hurricane clouds seen from a satellite",
)
SEGMENTS = 4


def streamed(ready: Prepared, sentence: str, frames: int, seed: int, how: dict[str, Any]) -> np.ndarray:
    return np.concatenate(list(stream(ready, sentence, num_frames=frames, seed=seed, **how)))


def rolled(ready: Prepared, sentence: str, frames: int, seed: int, how: dict[str, Any], *, window: int, new: int) -> np.ndarray:
    """A model of whole clips, window after window: the last `window - new` frames are given, `new` are made."""
    made = generate(ready, sentence, num_frames=window, seed=seed, **how)[0].frames
    while len(made) < frames:
        given = Frames(dict(enumerate(made[new - window :])))
        seed += 1
        made = np.concatenate([made, generate(ready, [Text(sentence), given], num_frames=window, seed=seed, **how)[0].frames[-new:]])
    return made[:frames]


def timed(make: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    before = time.process_time()
    frames = make()
    return frames, len(frames) / (time.process_time() - before)


def drift(clips: list[np.ndarray], fps: float) -> list[dict[str, float]]:
    """Means over clips for each quarter of the time: change of colour since the first frames, and what it keeps of the first quarter's detail."""
    rows = []
    for part in np.array_split(np.arange(len(clips[0])), SEGMENTS):
        numbers = []
        for clip in clips:
            report = drift_report(Footage.of(clip, fps, cuts=[]))
            lab = np.stack([report[name] for name in ("lightness", "a", "b")], axis=1)             # (T, 3)
            numbers.append({
                "colour": np.linalg.norm(lab[part].mean(0) - lab[:3].mean(0)), "saturation": report["saturation"][part].mean(),
                "contrast": report["contrast"][part].mean(), "blur": report["blur"][part].mean(), "motion": report["motion"][part].mean(),
                "flicker": flicker(Footage.of(clip[part], fps, cuts=[])).value, "identity": report["identity"][part].mean(),
            })  # fmt: skip
        rows.append({"from": int(part[0]), "to": int(part[-1])} | {name: float(np.mean([n[name] for n in numbers])) for name in numbers[0]})
    return rows


def right(make: Callable[[str, int], np.ndarray], fps: float, seeds: int) -> list[float]:
    """Share of videos in which everything is right, for each stretch of two seconds."""
    rows = [[one.all for one in stretches.scores(Video(make(sentence, seed), fps=fps), sentence)] for sentence in stretches.SENTENCES for seed in range(seeds)]
    return [float(share) for share in np.mean(rows, axis=0)] if rows else []


def peak(model: str, frames: int, how: dict[str, Any]) -> float:
    """MiB that a process needs at most for a stream that nobody keeps."""
    command = [sys.executable, __file__, model, "--peak", str(frames), "--how", json.dumps(how)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1024


def print_peak(model: str, frames: int, how: dict[str, Any]) -> None:
    for _ in stream(prepare(flipbook.load(model).system), SENTENCES[0], num_frames=frames, **how):
        pass
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--against", default="thumb")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=2, help="videos of each sentence that are read for what is right; 0: none")
    parser.add_argument("--memory", type=int, nargs="*", default=[200, 2000])
    parser.add_argument("--num-inference-steps", type=int)
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--how", default="{}", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    how: dict[str, Any] = json.loads(asked.how) | ({"num_inference_steps": asked.num_inference_steps} if asked.num_inference_steps else {})
    if asked.peak:
        print_peak(asked.model, asked.peak, how)
        return
    ready, other = (prepare(flipbook.load(name).system) for name in (asked.model, asked.against))
    reads, fps = causal(ready.system), ready.system.defaults["fps"]
    window = reads.window + reads.chunk
    ways: dict[str, Callable[[str, int], np.ndarray]] = {
        asked.model: lambda s, seed: streamed(ready, s, asked.frames, seed, how),
        f"{asked.against}, {window} frames at a time, {reads.chunk} of them new":
            lambda s, seed: rolled(other, s, asked.frames, seed, how, window=window, new=reads.chunk),
    }  # fmt: skip
    results: dict[str, Any] = {"frames": asked.frames, "window": window, "ways": {}}
    print(f"{asked.frames} frames, {len(SENTENCES)} sentences, {ready.dtype}\n")
    print("| | frames/s | frames | colour | saturation | contrast | blur | motion | flicker | identity |\n|---|---|---|---|---|---|---|---|---|---|")
    for name, make in ways.items():
        made = [timed(lambda make=make, i=i: make(SENTENCES[i], i)) for i in range(len(SENTENCES))]  # type: ignore[misc]
        speed, rows = float(np.mean([rate for _, rate in made])), drift([frames for frames, _ in made], fps)
        results["ways"][name] = {"frames_per_second": speed, "drift": rows}
        for i, row in enumerate(rows):
            head = f"| {name} | {speed:.1f} |" if i == 0 else "| | |"
            print(f"{head} {row['from']}-{row['to']} | {row['colour']:.1f} | {row['saturation']:.1f} | {row['contrast']:.1f} | {row['blur']:.2f} | "
                  f"{row['motion']:.2f} | {row['flicker']:.2f} | {row['identity']:.2f} |")  # fmt: skip
        results["ways"][name]["right"] = right(make, fps, asked.seeds)
        if asked.sheets:
            asked.sheets.mkdir(parents=True, exist_ok=True)
            shown = [Video(frames[:: max(1, asked.frames // 16)], fps=fps) for frames, _ in made]
            contact_sheet(shown, titles=list(SENTENCES)).save(asked.sheets / f"{len(results['ways'])}.png")
    if asked.seeds:
        print("\n| | all right, by stretch of two seconds |\n|---|---|")
        for name, found in results["ways"].items():
            print(f"| {name} | " + ", ".join(f"{100 * share:.0f}" for share in found["right"]) + " % |")
    results["peak_mib"] = {frames: peak(asked.model, frames, how) for frames in asked.memory}
    if results["peak_mib"]:
        print("\n| frames | peak, MiB |\n|---|---|")
        for frames, size in results["peak_mib"].items():
            print(f"| {frames} | {size:.0f} |")
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
