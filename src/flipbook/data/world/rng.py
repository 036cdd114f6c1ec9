"""Randomness from explicit integers, the same on every machine: splitmix64 for a clip's choices, its hash for textures.

Pixels must not depend on a library's generator version or on its vector unit, so everything here is 64-bit integer
arithmetic followed by one exact multiplication.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")
_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_MUL_1, _MUL_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * _MUL_1) & _MASK
    z = ((z ^ (z >> 27)) * _MUL_2) & _MASK
    return z ^ (z >> 31)


class Random:
    """A stream of choices named by integers, for instance `Random(domain, seed)`; equal names give equal streams."""

    def __init__(self, *key: int) -> None:
        self._state = 0
        for part in key:
            self._state = _mix((self._state + _STEP) & _MASK ^ (part & _MASK))

    def bits(self) -> int:
        """The next 64 bits (splitmix64, Steele, Lea and Flood 2014)."""
        self._state = (self._state + _STEP) & _MASK
        return _mix(self._state)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * ((self.bits() >> 11) * 2.0**-53)

    def integer(self, low: int, high: int) -> int:
        """A whole number in [low, high], both ends included."""
        return low + self.bits() % (high - low + 1)

    def chance(self, probability: float) -> bool:
        return self.uniform() < probability

    def sign(self) -> int:
        return 1 if self.bits() & 1 else -1

    def choice(self, items: Sequence[Item]) -> Item:
        return items[self.bits() % len(items)]

    def weighted(self, items: Sequence[Item], weights: Sequence[float]) -> Item:
        point = self.uniform(0.0, math.fsum(weights))
        for item, weight in zip(items, weights, strict=True):
            point -= weight
            if point < 0.0:
                return item
        return items[-1]

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        pool = list(items)
        for last in range(len(pool) - 1, 0, -1):
            other = self.bits() % (last + 1)
            pool[last], pool[other] = pool[other], pool[last]
        return pool

    def seed(self) -> int:
        """A 32-bit seed for a texture: small enough to travel through JSON unharmed."""
        return self.bits() >> 32


def hash_lattice(seed: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """A random float32 in [0, 1) for each crossing of integer `rows` (R,) and `columns` (C,), as (R, C)."""
    key = np.uint64(_mix(seed & _MASK))
    z = rows.astype(np.int64).astype(np.uint64)[:, None] * np.uint64(_STEP)
    z = z + columns.astype(np.int64).astype(np.uint64)[None, :] * np.uint64(0xD1B54A32D192ED03) + key
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_MUL_1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_MUL_2)
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
