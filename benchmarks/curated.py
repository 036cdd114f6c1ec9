"""Is it worth curating? The same training on raw takes and on what `flipbook curate` keeps of them, scored by truth.

    python benchmarks/curated.py FOLDER [--takes 300] [--steps 400] [--prompts 60] [--init thumb]

Takes of the procedural world are mixed: cuts, dissolves, slides, stretches that stand, writing over the picture, near-copies,
broken captions. Both sides start from `--init` and make equal updates of equal batches by one recipe; then both models are asked
for the same plain sentences, and the truth reader says how many videos show what was asked for. The last line is the difference
in "all right", with a 95 % interval of paired sentences. Whatever is in FOLDER already is gone on with.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml

SEED = 70000          # of the first take: none of those that thresholds were set on or measured with


def flipbook(*arguments: object) -> None:
    """One command of flipbook's own, as a person would give it."""
    print("flipbook", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "flipbook", *map(str, arguments)], check=True)


def prepare(folder: Path, takes: int) -> dict[str, Path]:
    """Raw takes, and the clips that curation keeps of them, each with its captions."""
    raw, curated = folder / "raw", folder / "curated"
    if not raw.exists():
        flipbook("world", raw, "--domain", "takes", "--num-clips", takes, "--seed", SEED, "--no-truth", "--no-sheet")
    flipbook("curate", raw, "--output", curated, "--recipe", "world", "--json")
    return {"raw": raw, "curated": curated / "clips"}


def recipe(side: str, data: Path, folder: Path, init: str, steps: int) -> Path:
    """One recipe for both sides; only the data differ."""
    plan = {
        "init": init, "output": str(folder / f"run-{side}"), "data": [{"folder": str(data)}], "num_frames": 16, "batch_size": 8,
        "random_start": True, "clip_frames": 16, "steps": steps, "optimizer": {"name": "muon", "lr": 1.5e-3, "muon_lr": 3.0e-3},
        "warmup": 20, "ema": 0.98, "objective": {"name": "denoising", "given": 0.3}, "validation": {"every": 0},
        "samples": {"every": 0}, "checkpoint": {"minutes": 2, "keep": 1}, "seed": 0,
    }  # fmt: skip
    path = folder / f"{side}.yaml"
    path.write_text(yaml.safe_dump(plan, sort_keys=False), encoding="utf-8")
    return path


def score(folder: Path, side: str, model: str | Path, prompts: int) -> dict[str, bool]:
    """Sentence to whether its video shows all of it."""
    output = folder / f"scores-{side}"
    flipbook("evaluate", "--model", model, "--output", output, "--resume", "--json", *(
        word for group in ("held-out", "two", "first-frame", "sky", "figures", "satellite") for word in ("--count", f"{group}=0")
    ), "--count", f"seen={prompts}")  # fmt: skip
    lines = (output / "videos.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["name"]: bool(row["right"]) for row in map(json.loads, lines)}


def difference(raw: dict[str, bool], curated: dict[str, bool]) -> tuple[float, float, float]:
    """Mean of curated less raw over the same sentences, with the ends of its 95 % bootstrap interval."""
    gains = np.array([float(curated[name]) - float(raw[name]) for name in sorted(raw)])
    drawn = np.random.default_rng(0).choice(gains, (2000, len(gains))).mean(1)
    return float(gains.mean()), *map(float, np.percentile(drawn, [2.5, 97.5]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--takes", type=int, default=300)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--init", default="thumb")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    scores = {}
    for side, data in prepare(arguments.folder, arguments.takes).items():
        flipbook("train", recipe(side, data, arguments.folder, arguments.init, arguments.steps), "--resume")
        scores[side] = score(arguments.folder, side, arguments.folder / f"run-{side}" / "model", arguments.prompts)
    print("| trained on | all right |\n|---|---:|")
    for side, right in scores.items():
        print(f"| {side} | {100 * np.mean(list(right.values())):.1f} % |")
    gain, low, high = difference(scores["raw"], scores["curated"])
    print(f"curated less raw: {100 * gain:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})")
    return int(low <= 0)


if __name__ == "__main__":
    sys.exit(main())
