"""The stream of a run: sample k is a pure function of (recipe, seed, k), whoever asks for it and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from flipbook.data.batch import Sample
from flipbook.data.cache.store import LatentKeys
from flipbook.data.framing import Framing
from flipbook.data.seeds import derive_seed, permutation

BLOCK = 1024
"""Sources are mixed block by block: each block holds every source in exactly its share, in an order of its own."""


class Source(Protocol):
    """A place clips come from. `num_clips`: how many there are, None when endless."""

    name: str
    num_clips: int | None

    def sample(self, number: int, seed: int, index: int) -> Sample:
        """Sample `number` of this source. `index`, its number in the run, goes into it and seeds its chances."""


@dataclass(frozen=True)
class Stream:
    """Sources mixed by weight. `sample(k)` needs nothing but k: order, resume and several processes need no state."""

    sources: Sequence[Source]
    weights: Sequence[float]
    seed: int
    _shares: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_shares", shares(self.weights))

    def sample(self, k: int, index: int | None = None) -> Sample:
        """Sample k >= 0 of the stream, which calls itself `index` (k, if nothing is said) and has its chances."""
        block, place = divmod(k, BLOCK)
        which, rank = _block(self._shares, self.seed, block)
        source, number = self.sources[which[place]], block * self._shares[which[place]] + int(rank[place])
        if source.num_clips is not None:  # an epoch shows every clip once, in an order of its own
            epoch, position = divmod(number, source.num_clips)
            number = int(_epoch(source.num_clips, self.seed, source.name, epoch)[position])
        return source.sample(number, self.seed, k if index is None else index)


def build_stream(
    entries: Sequence[Mapping[str, Any]],
    framing: Framing,
    seed: int,
    split: str = "train",
    *,
    cached: LatentKeys | None = None,
) -> Stream:
    """The stream of a recipe's `data` list. Split "val" gives other clips than "train" wherever a source can tell.

    cached: where latents of folders' clips are kept; None: every sample is decoded and has chances of its own.
    Raises ValueError naming the entry that cannot be used.
    """
    sources, weights = [], []
    for number, options, weight in weighted(entries):
        sources.append(_build_source(number, options, framing, split, cached))
        weights.append(weight)
    return Stream(sources, weights, derive_seed(seed, "data", split))


def weighted(entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, dict[str, Any], float]]:
    """Number, options and weight of each entry of a `data` list. Raises ValueError for one that is no source."""
    for number, entry in enumerate(entries):
        options = dict(entry)
        weight = options.pop("weight", 1.0)
        if not isinstance(weight, (int, float)) or not weight > 0:
            raise ValueError(f"data.{number}: weight={weight!r} is not a number above 0.")
        if len({"world", "folder"} & options.keys()) != 1:
            raise ValueError(
                f"data.{number}: {options} is no source. Give one of {{world: DOMAIN}} or {{folder: PATH}}, with a weight."
            )
        yield number, options, float(weight)


def _build_source(
    number: int, options: dict[str, Any], framing: Framing, split: str, cached: LatentKeys | None
) -> Source:
    if "world" in options:
        from flipbook.data.sources.world import WorldSource

        return WorldSource(options.pop("world"), options, framing, split)
    from flipbook.data.sources.folder import FolderOptions, FolderSource, prepare

    parsed = FolderOptions.parse(options, f"data.{number}")
    return FolderSource(parsed, framing, prepare(parsed, framing, split), plain=split == "val", cached=cached)


def shares(weights: Sequence[float]) -> tuple[int, ...]:
    """Whole numbers in proportion to the weights that sum to BLOCK (largest remainders), each at least 1."""
    exact = np.asarray(weights, dtype=np.float64) / sum(weights) * BLOCK
    shares = np.maximum(np.floor(exact), 1).astype(int)
    order = np.argsort(shares - exact, kind="stable")  # the most short-changed first
    for i in range(BLOCK - int(shares.sum())):
        shares[order[i % len(order)]] += 1
    while shares.sum() > BLOCK:  # tiny weights were rounded up to 1
        shares[np.argmax(shares)] -= 1
    return tuple(int(share) for share in shares)


@lru_cache(maxsize=8)
def _block(shares: tuple[int, ...], seed: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """For each place of a block, which source, and how many of it came before in the block: int64 (BLOCK,) each."""
    which = np.repeat(np.arange(len(shares)), shares)[permutation(BLOCK, seed, "mix", block)]
    rank = np.empty(BLOCK, dtype=np.int64)
    for source, share in enumerate(shares):
        rank[which == source] = np.arange(share)
    return which, rank


@lru_cache(maxsize=64)
def _epoch(num_clips: int, seed: int, name: str, epoch: int) -> np.ndarray:
    return permutation(num_clips, seed, name, epoch)
