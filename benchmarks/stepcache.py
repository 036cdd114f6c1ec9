"""What a step cache buys: time and error against the exact run, threshold by threshold, on a shipped model; and what fewer steps buy.

    python benchmarks/stepcache.py [MODEL] [--videos 8] [--steps 24] [--dtype bfloat16] [--json FILE]

One process; each threshold in turn with the exact run, interleaved, so that a busy machine slows both. The ratio is of processor time, with
the decoder in it; the error is that of the frames, in dB, the mean over videos and the worst of them.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

import flipbook
from flipbook.generate import generate
from flipbook.sampling import prepare

SENTENCES = (
    "a red circle moves right on a black background", "a large blue square falls on a cloudy background",
    "a small yellow star spins on a striped background", "a green triangle orbits on a brown background and a white circle moves left on a brown background",
    "white clouds drift left over a blue sky", "a figure in green walks right on a gray background", "hurricane clouds seen from a satellite",
    "a purple square bounces on a teal background",
)
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.3)
SHARES = (3 / 4, 1 / 2, 1 / 3)
"""Of the sampler's steps, without any cache: what a cache has to be better than."""


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = float(np.square(a.astype(np.float64) - b).mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="thumb")
    parser.add_argument("--videos", type=int, default=len(SENTENCES))
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--dtype", default=None)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    ready = prepare(flipbook.load(asked.model).system, dtype=asked.dtype)
    sentences = [SENTENCES[i % len(SENTENCES)] for i in range(asked.videos)]

    def run(sentence: str, seed: int, **how: Any) -> tuple[np.ndarray, float]:
        before = time.process_time()
        [video] = generate(ready, sentence, seed=seed, **{"num_inference_steps": asked.steps, **how})
        return video.frames, time.process_time() - before

    ways: dict[str, dict[str, Any]] = {f"cache {threshold:g}": {"step_cache": threshold} for threshold in THRESHOLDS}
    ways |= {f"{round(share * asked.steps)} steps": {"num_inference_steps": round(share * asked.steps)} for share in SHARES}
    run(sentences[0], 0)                                                    # warm up
    print(f"{asked.model}, {asked.steps} steps, {ready.dtype}\n\n| | times as fast | error, dB | worst |\n|---|---|---|---|")
    rows = []
    for name, how in ways.items():
        ratios, errors = [], []
        for seed, sentence in enumerate(sentences):
            exact, cost = run(sentence, seed)
            other, less = run(sentence, seed, **how)
            ratios.append(cost / less)
            errors.append(psnr(exact, other))
        rows.append({"way": name, "faster": statistics.median(ratios), "psnr": statistics.fmean(errors), "worst": min(errors)})
        print(f"| {name} | {rows[-1]['faster']:.2f} | {rows[-1]['psnr']:.1f} | {rows[-1]['worst']:.1f} |", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps({"model": asked.model, "steps": asked.steps, "dtype": str(ready.dtype), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
