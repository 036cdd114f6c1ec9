"""How far a percentage from a few trials can be trusted."""

from __future__ import annotations

import math


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
