"""Which code of time holds beyond the length of training: thumb takes up each of them for a while, and is asked for longer clips.

    OMP_NUM_THREADS=1 python benchmarks/positions.py runs/positions [--steps 160] [--only alibi xpos] [--lengths 16,24,32,48,64] [--seeds 2]
        [--markdown docs/positions.md]

Every arm begins with thumb's weights, its rotary places in time exchanged for another code (`nn/time_codes.py`), and learns as many updates on the same
clips of 16 frames; so does the arm that keeps them, which knows its code from long before. Then each makes longer clips, its frames as far apart as in
training ("as it is") or moved together until they span as much ("moved together"); learned places end where training did. What is measured is that
of `lengths.py`. What is trained is not trained again, and what is measured is kept beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lengths import measured
from stretches import FPS, TRAINED
from tables import replace_table

from flipbook import systems
from flipbook.denoisers.dit import DiT
from flipbook.generate import generate
from flipbook.nn.time_codes import CODES, TimeCode
from flipbook.objectives.base import build_objective
from flipbook.sampling import prepare
from flipbook.systems.base import System
from flipbook.train import train
from flipbook.training.recipe import Recipe, parse_recipe
from flipbook.video import Video

WAYS: dict[str, Callable[[int], float]] = {"as it is": lambda n: FPS, "moved together": lambda n: FPS * (n - 1) / (TRAINED - 1)}
"""The frame rate that a clip of n frames is told."""


def with_code(code: TimeCode) -> System:
    """thumb, told the time in another way. What the code brings along is new; all else are thumb's weights."""
    torch.manual_seed(0)
    system: System = systems.load("thumb")
    denoiser = DiT(replace(system.denoiser.config, time_code=code, max_frames=TRAINED))
    missing, unexpected = denoiser.load_state_dict(system.denoiser.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith("code.") for name in missing)
    system.denoiser = denoiser
    return system


def recipe_of(home: Path, steps: int) -> Recipe:
    """Single objects of the world, at a rate from which a network can still change its mind."""
    return parse_recipe({
        "output": str(home), "objective": {"name": "denoising", "drop_text": 0.1, "given": 0.0, "time_std": 1.0},
        "data": [{"world": "shapes", "num_objects": 1}], "num_frames": TRAINED, "batch_size": 16, "steps": steps,
        "optimizer": {"name": "muon", "lr": 1.5e-3, "muon_lr": 3e-3, "weight_decay": 0.01}, "warmup": 10, "schedule": "wsd", "decay": 0.6, "ema": 0.97,
        "num_workers": 0, "threads": 1, "validation": {"every": steps, "clips": 64, "repeats": 2}, "samples": {"every": 0},
        "checkpoint": {"keep": 1}, "log": {"every": 20, "tensorboard": False},
    })  # fmt: skip


def learned(code: TimeCode, home: Path, steps: int) -> System:
    """The system that has taken up the code."""
    system, recipe = with_code(code), recipe_of(home, steps)
    options = dict(recipe.objective)
    result = train(recipe, objective=build_objective(options.pop("name"), system, options), resume=True)
    if result.stopped:
        raise SystemExit(f"{result.stopped}, {home} is saved at update {result.step}. The same command goes on from there.")
    made: System = systems.load(home / "model")
    return made


def found(code: TimeCode, home: Path, asked: argparse.Namespace) -> dict[str, dict[str, float]]:
    """'way, length' to what was measured there."""
    record = home / "lengths.json"
    known: dict[str, dict[str, float]] = json.loads(record.read_text()) if record.is_file() else {}
    ready = prepare(learned(code, home, asked.steps))
    for way, rate in WAYS.items():
        if code == "none" and way != "as it is":                           # it is told nothing, however far apart
            continue
        for length in map(int, asked.lengths.split(",")):
            key = f"{way}, {length}"
            if key in known or (length == TRAINED and way != "as it is") or (code == "learned" and way == "as it is" and length > TRAINED):
                continue

            def make(sentence: str, n: int, seed: int, rate: Callable[[int], float] = rate) -> Video:
                return generate(ready, sentence, num_frames=n, fps=rate(n), seed=seed, num_inference_steps=asked.num_inference_steps)[0]

            known[key] = measured(make, length, asked.seeds)[0]
            record.write_text(json.dumps(known, indent=1) + "\n")
            print(code, key, {name: round(value, 3) for name, value in known[key].items()}, flush=True)
    return known


def table(results: dict[str, dict[str, dict[str, float]]], lengths: list[int]) -> list[str]:
    """A line for each code and way: shape and motion right, and flicker, by length."""
    lines = ["| code of time | frames | " + " | ".join(f"{n}" for n in lengths) + " |", "|---|---|" + "---|" * len(lengths)]
    for code, known in results.items():
        for way in WAYS:
            cells = [known.get(f"{way}, {n}") or (known.get(f"as it is, {n}") if n == TRAINED else None) for n in lengths]
            if not any(cells[1:]):
                continue
            told = [
                "-" if one is None else f"{100 * one['shape']:.0f} %, {100 * one['motion']:.0f} %, {one['flicker']:.2f}" for one in cells
            ]  # fmt: skip
            lines.append(f"| {code} | {way} | " + " | ".join(told) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--only", nargs="*", default=list(CODES), choices=list(CODES))
    parser.add_argument("--lengths", default="16,24,32,48,64")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--num-inference-steps", type=int, default=12)
    parser.add_argument("--train-only", action="store_true", help="measure nothing yet")
    parser.add_argument("--markdown", type=Path, help="write the table into this page, in the place of the last one")
    asked = parser.parse_args()
    results: dict[str, Any] = {}
    for code in asked.only:
        if asked.train_only:
            learned(code, asked.output / code, asked.steps)
            continue
        results[code] = found(code, asked.output / code, asked)
    lines = table(results, [int(n) for n in asked.lengths.split(",")])
    print(*lines, sep="\n")
    if asked.markdown and not asked.train_only:
        replace_table(asked.markdown, "codes", lines, sys.argv)


if __name__ == "__main__":
    main()
