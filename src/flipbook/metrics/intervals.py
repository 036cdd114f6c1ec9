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


def student(dof: int, level: float = 0.95) -> float:
    """The t with P(|T| < t) = level for Student's T of whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4).

    Raises ValueError for dof below 1 or a level outside (0, 1).
    """
    if dof < 1 or not 0 < level < 1:
        raise ValueError(f"dof={dof}, level={level}: Student's t needs one degree of freedom or more and a level within (0, 1).")
    low, high = 0.0, math.pi / 2                                           # of the angle atan(t / sqrt(dof))
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_within(middle, dof) < level else (low, middle)
    return math.sqrt(dof) * math.tan(low)


def _student_within(angle: float, dof: int) -> float:
    """P(|T| < sqrt(dof) tan(angle))."""
    term, series, odd = (math.cos(angle), 0.0, True) if dof % 2 else (1.0, 0.0, False)
    for k in range(1 if odd else 0, dof - 1, 2):                           # powers of the cosine: 1, 3, ... or 0, 2, ...
        series += term
        term *= math.cos(angle) ** 2 * (k + 1) / (k + 2)
    return 2 / math.pi * (angle + math.sin(angle) * series) if odd else math.sin(angle) * series


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Student's interval for the mean that these values scatter around. Raises ValueError for fewer than two."""
    if len(values) < 2:
        raise ValueError(f"{len(values)} value(s) do not say how far they scatter. Give two or more.")
    reach = student(len(values) - 1, level) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return float(np.mean(values)) - reach, float(np.mean(values)) + reach


def paired_shares(lost: int, won: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Interval for the difference of two shares of the same trials: `won` came right in the second alone, `lost` in the first alone.

    Wald's interval with half a trial more of each of the four outcomes (Agresti and Min 2005), so that no disagreement at all does
    not look like certainty.
    """
    if min(lost, won) < 0 or lost + won > trials:
        raise ValueError(f"lost={lost} and won={won} of trials={trials} are no shares of the same trials.")
    b, c, n = lost + 0.5, won + 0.5, trials + 2
    reach = z * math.sqrt(max(0.0, b + c - (c - b) ** 2 / n)) / n
    return max(-1.0, (c - b) / n - reach), min(1.0, (c - b) / n + reach)
