"""The Frechet distance against `scipy.linalg.sqrtm`, on the same features in one process, equal values first, then time, A/B/A/B.

    OMP_NUM_THREADS=1 python benchmarks/frechet.py [rounds]

Three sizes: FVD with many clips (2,048 of 400 dimensions), FVD with few (64 of 400), FID-like (2,048 of 768). Timed from features to number
(means and covariances are part of the work on both sides) and, as its own line, the square-root term alone, which is what differs.
Float64, process CPU time (one thread keeps it equal to work done); the floor is the time of the three products of D x D matrices that no method avoids.

The square-root term is what the promise of four times is about. From features to number the gain is smaller with many clips, because both sides
form the same two covariances, and NumPy's `x.T @ x` is a symmetric half product already (2,048 x 400: 6.4 ms, where a full product takes 11.1 in NumPy
and 11.4 in torch; L'SL and the eigenvalues are no faster in torch either). Float32 would be, at other digits.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import scipy
from scipy.linalg import sqrtm

from flipbook.metrics.frechet import frechet_distance, frechet_from_features
from flipbook.metrics.moments import Gaussian, moments

SIZES = ((2048, 400), (64, 400), (2048, 768))


def peer(a: Gaussian, b: Gaussian) -> float:
    """As the published FVD and FID scripts have it."""
    root = np.real(sqrtm(a.covariance @ b.covariance))
    return float(((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance + b.covariance - 2 * root))


def peer_from_features(x: np.ndarray, y: np.ndarray) -> float:
    return peer(*(Gaussian(z.mean(0), np.cov(z, rowvar=False), len(z)) for z in (x, y)))


def race(rounds: int, **runners: Callable[[], float]) -> dict[str, tuple[float, float]]:
    """Median and least CPU milliseconds of each, run in turns."""
    times: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, run in runners.items():
            start = time.process_time()
            run()
            times[name].append(1000 * (time.process_time() - start))
    return {name: (statistics.median(values), min(values)) for name, values in times.items()}


def main(rounds: int) -> None:
    n = 1024
    a = np.random.default_rng(0).standard_normal((n, n))
    speed = 2 * n**3 / race(3, product=lambda: float((a @ a)[0, 0]))["product"][1] / 1e6
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(f"numpy {np.__version__}, scipy {scipy.__version__}, float64, {threads} threads; products at {speed:.0f} GFLOP/s this minute")
    for count, dim in SIZES:
        rng = np.random.default_rng(dim + count)
        mix = rng.standard_normal((dim, dim)) / np.sqrt(dim)
        x, y = rng.standard_normal((count, dim)) @ mix, rng.standard_normal((count, dim)) @ mix * 1.1 + 0.1
        ours, theirs = frechet_from_features(x, y), peer_from_features(x, y)
        gaussians = moments(x).gaussian(), moments(y).gaussian()
        print(f"\n{count} clips, {dim} dimensions: {ours:.9g} and {theirs:.9g}, relative difference {abs(ours / theirs - 1):.1e}")
        whole = race(rounds, ours=lambda: frechet_from_features(x, y), sqrtm=lambda: peer_from_features(x, y))
        term = race(rounds, ours=lambda: frechet_distance(*gaussians), sqrtm=lambda: peer(*gaussians))
        for title, result in (("features to number", whole), ("square-root term", term)):
            if title == "square-root term" and count < dim:
                continue                                                        # there it is never formed
            (ours_ms, ours_best), (peer_ms, peer_best) = result["ours"], result["sqrtm"]
            print(
                f"  {title:20} ours {ours_ms:7.1f} ms (least {ours_best:.1f}), sqrtm {peer_ms:7.1f} ms (least {peer_best:.1f}): "
                f"{peer_ms / ours_ms:.1f} times as fast"
            )
        shared = race(rounds, both=lambda: float(moments(x).count + moments(y).count))["both"][0]
        print(f"  {'two covariances':20} {shared:7.1f} ms of the first line, on either side")
        print(f"  {'floor':20} {3 * 2 * dim**3 / speed / 1e6:7.1f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
