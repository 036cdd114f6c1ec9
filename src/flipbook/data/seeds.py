"""Randomness as a function of explicit integers, so that nothing about chance needs to be saved, sent or resumed."""

from __future__ import annotations

import numpy as np

_MASK = (1 << 64) - 1


def _mix(x: int) -> int:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014): a 64-bit bijection that spreads every bit over all."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2**62) from numbers and words, the same on every machine: `derive_seed(seed, "crop", k)`."""
    state = 0x9E3779B97F4A7C15
    for part in parts:
        words = part.encode() if isinstance(part, str) else (int(part) & _MASK, int(part < 0))
        for word in words:
            state = _mix((state + word + 0x9E3779B97F4A7C15) & _MASK)
        state = _mix(state ^ len(words))
    return state >> 2


def generator(*parts: int | str) -> np.random.Generator:
    """A NumPy generator of its own for these parts."""
    return np.random.Generator(np.random.PCG64(derive_seed(*parts)))


def permutation(n: int, *parts: int | str) -> np.ndarray:
    """The numbers 0..n-1 in an order that depends only on `parts`: int64 (n,)."""
    x = np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(derive_seed(*parts))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(x ^ (x >> np.uint64(31)), kind="stable")
