"""How far a number from a few trials can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from flipbook.data.seeds import generator


def wilson(right: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval (1927) for a share: (low, high) in [0, 1], 95 % by default; (0, 1) without trials."""
    if not 0 <= right <= trials:
        raise ValueError(f"right={right} of trials={trials} is no share. Try 0 <= right <= trials.")
    if trials == 0:
        return 0.0, 1.0
    share = right / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    reach = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2)) / (1 + z * z / trials)
    return max(0.0, centre - reach), min(1.0, centre + reach)


def bootstrap(
    statistic: Callable[..., float], samples: Sequence[np.ndarray], *, draws: int = 200, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """An interval for statistic(*samples) from redrawing the rows of each sample with replacement.

    Distances between sets grow when rows repeat, so the redrawn values lie too high as a whole; their spread is right. The interval
    is that spread around the value itself (redrawn values minus their mean). draws < 2 gives an interval of no width.
    """
    value = statistic(*samples)
    if draws < 2:
        return value, value
    rng = generator(seed, "bootstrap")
    redrawn = np.array([statistic(*(s[rng.integers(len(s), size=len(s))] for s in samples)) for _ in range(draws)])
    low, high = np.quantile(redrawn - redrawn.mean(), [(1 - level) / 2, (1 + level) / 2])
    return float(value + low), float(value + high)
