"""What a step cache buys on the shipped models: time and error against the exact run, threshold by threshold; and what fewer steps buy.

    python benchmarks/stepcache.py [MODEL ...] [--videos 8] [--steps 24] [--sampler euler] [--dtype bfloat16] [--json FILE] [--markdown docs/performance.md]

Without a name: thumb, a transformer, and bench, a U-Net. One process; in each round, one sentence and one seed, the exact run comes first and last
and all ways between, so that a busy machine slows all of them. A ratio is of processor time, with the decoder in it, to the mean of the
round's two exact runs, and the table has its median over rounds; the error is that of the frames, in dB, the mean over videos and the worst of them.
Euler's steps unless another sampler is named: with noise between the steps, as `euler_ancestral` has it, the state never stands still.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from tables import replace_table

import flipbook
from flipbook.generate import generate
from flipbook.sampling import prepare

MODELS = ("thumb", "bench")
SENTENCES = (
    "a red circle moves right on a black background", "a large blue square falls on a cloudy background",
    "a small yellow star spins on a striped background", "a green triangle orbits on a brown background and a white circle moves left on a brown background",
    "white clouds drift left over a blue sky", "a figure in green walks right on a gray background", "hurricane clouds seen from a satellite",
    "a purple square bounces on a teal background",
)
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
SHARES = (3 / 4, 1 / 2, 1 / 3)
"""Of the sampler's steps, without any cache: what a cache has to be better than."""
GOOD = 30.0
"""dB: below it a difference is plain to see."""


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = float(np.square(a.astype(np.float64) - b).mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def measure(model: str, videos: int, steps: int, sampler: str, dtype: str | None) -> dict[str, Any]:
    """The curve of one model: a row for each way, in the order of THRESHOLDS, then SHARES."""
    ready = prepare(flipbook.load(model).system, dtype=dtype)

    def run(seed: int, **how: Any) -> tuple[np.ndarray, float]:
        before = time.process_time()
        [video] = generate(ready, SENTENCES[seed % len(SENTENCES)], seed=seed, **{"num_inference_steps": steps, "sampler": sampler, **how})
        return video.frames, time.process_time() - before

    ways: dict[str, dict[str, Any]] = {f"cache {threshold:g}": {"step_cache": threshold} for threshold in THRESHOLDS}
    ways |= {f"{round(share * steps)} steps": {"num_inference_steps": round(share * steps)} for share in SHARES}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    run(0)                                                                  # warm up
    for seed in range(videos):
        exact, first = run(seed)
        others = {name: run(seed, **how) for name, how in ways.items()}
        _, last = run(seed)
        for name, (frames, cost) in others.items():
            found[name].append(((first + last) / 2 / cost, psnr(exact, frames)))
    rows = [
        {"way": name, "faster": statistics.median(f for f, _ in pairs), "psnr": statistics.fmean(e for _, e in pairs), "worst": min(e for _, e in pairs)}
        for name, pairs in found.items()
    ]
    return {"model": model, "videos": videos, "steps": steps, "sampler": sampler, "dtype": str(ready.dtype).removeprefix("torch."), "rows": rows}


def table(result: dict[str, Any]) -> list[str]:
    """The curve in Markdown, and the fastest cache that keeps GOOD dB."""
    rows = result["rows"]
    good = [row for row in rows if row["way"].startswith("cache") and row["psnr"] >= GOOD]
    best = max(good, key=lambda row: row["faster"], default=None)
    said = "no cache keeps them" if best is None else f"{best['way']}, {best['faster']:.2f} times as fast"
    return [
        f"{result['model']}, {result['steps']} steps of {result['sampler']}, {result['dtype']}, {result['videos']} videos; "
        f"fastest cache at {GOOD:g} dB or better: {said}", "",
        "| way | times as fast | error, dB | worst |", "|---|---|---|---|",
        *(f"| {row['way']} | {row['faster']:.2f} | {row['psnr']:.1f} | {row['worst']:.1f} |" for row in rows), "",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--videos", type=int, default=len(SENTENCES))
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--sampler", default="euler")
    parser.add_argument("--dtype", default=None)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path, help="A page with a place for the table `stepcache`.")
    asked = parser.parse_args()
    results = []
    for model in asked.models:
        results.append(measure(model, asked.videos, asked.steps, asked.sampler, asked.dtype))
        print("\n".join(table(results[-1])), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1) + "\n")
    if asked.markdown:
        replace_table(asked.markdown, "stepcache", [line for result in results for line in table(result)], sys.argv)


if __name__ == "__main__":
    main()
