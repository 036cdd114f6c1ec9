"""A stream whose updates have different shapes: each update sees one bucket, in an order fixed by the seed.

Within a bucket the samples are a `Stream` of their own, so every clip comes once before any comes again, and which bucket
an update has is a function of its number. Nothing needs to be saved to go on in the middle of an epoch, and all processes
work on the same shape at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

from flipbook.data.batch import Sample
from flipbook.data.buckets import Bucket, Buckets
from flipbook.data.cache.store import LatentKeys
from flipbook.data.framing import Framing
from flipbook.data.seeds import derive_seed, permutation
from flipbook.data.sources.folder import FolderOptions, FolderSource, prepare, restrict
from flipbook.data.sources.stream import BLOCK, Stream, shares, weighted


@dataclass(frozen=True)
class BucketStream:
    """Updates of `sizes[b]` samples of `streams[b]`, each bucket in proportion to its weight over its size.

    A sample's number is `update * room + place`, with `room` for the largest batch: some numbers name no sample.
    """

    streams: Sequence[Stream]
    sizes: Sequence[int]
    weights: Sequence[float]  # of samples
    seed: int
    room: int = field(init=False)
    _shares: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "room", max(self.sizes))
        object.__setattr__(self, "_shares", shares([w / n for w, n in zip(self.weights, self.sizes, strict=True)]))

    def update(self, number: int) -> tuple[int, int]:
        """The bucket of an update, and how many updates of that bucket came before it."""
        block, place = divmod(number, BLOCK)
        which, rank = _order(self._shares, self.seed, block)
        return int(which[place]), block * self._shares[which[place]] + int(rank[place])

    def numbers(self, update: int) -> range:
        """The sample numbers of an update."""
        return range(update * self.room, update * self.room + self.sizes[self.update(update)[0]])

    def sample(self, number: int) -> Sample:
        """The sample of this number; like all samples, a function of (recipe, seed, number)."""
        update, place = divmod(number, self.room)
        bucket, turn = self.update(update)
        within = turn * self.sizes[bucket] + place
        return self.streams[bucket].sample(within, index=number)

    def first(self, count: int) -> list[int]:
        """The numbers of the first samples."""
        return list(islice(self._all(), count))

    def _all(self) -> Iterator[int]:
        update = 0
        while True:
            yield from self.numbers(update)
            update += 1


@lru_cache(maxsize=8)
def _order(parts: tuple[int, ...], seed: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """For each update of a block, its bucket, and how many updates of that bucket came before in the block."""
    which = np.repeat(np.arange(len(parts)), parts)[permutation(BLOCK, seed, "buckets", block)]
    rank = np.empty(BLOCK, dtype=np.int64)
    for bucket, share in enumerate(parts):
        rank[which == bucket] = np.arange(share)
    return which, rank


def build_bucketed(
    entries: Sequence[Mapping[str, Any]],
    framing: Framing,
    buckets: Buckets,
    batch_size: int,
    seed: int,
    split: str = "train",
    *,
    cached: LatentKeys | None = None,
) -> BucketStream:
    """The bucketed stream of a recipe's `data` list. Sources keep their weights over all buckets together.

    batch_size: samples per update of the run's own shape, `framing`; other shapes have as many as have its pixels.
    Raises ValueError naming the entry that cannot be used; worlds have no size of their own and go to the bucket of the
    run's shape, which must be one.
    """
    own = Bucket(framing.num_frames, framing.height, framing.width)
    found: dict[Bucket, list[tuple[Any, float]]] = {}
    for number, options, weight in weighted(entries):
        if "world" in options:
            from flipbook.data.sources.world import WorldSource

            if own not in buckets.all():
                raise ValueError(
                    f"data.{number}: the world is drawn at the run's {own}, which is no bucket. Buckets: "
                    f"{', '.join(map(str, buckets.all()))}. Change num_frames, height and width to one of them."
                )
            found.setdefault(own, []).append((WorldSource(options.pop("world"), options, framing, split), weight))
            continue
        parsed = FolderOptions.parse(options, f"data.{number}")
        chosen = prepare(parsed, framing, split, buckets=buckets)
        for bucket in sorted({fate.bucket for fate in chosen if fate.bucket}):
            part = restrict(chosen, bucket)
            source = FolderSource(
                parsed, framing_of(bucket, framing), part, plain=split == "val", cached=cached
            )
            found.setdefault(bucket, []).append((source, weight * len(part) / len(chosen)))
    order = sorted(found)
    return BucketStream(
        [Stream([s for s, _ in found[b]], [w for _, w in found[b]], derive_seed(seed, "data", split, *b)) for b in order],
        [buckets.batch_size(b, batch_size, own.pixels) for b in order],
        [sum(w for _, w in found[b]) for b in order],
        derive_seed(seed, "buckets", split),
    )


def framing_of(bucket: Bucket, framing: Framing) -> Framing:
    """The shape of a bucket's samples: anywhere in the clip, at the run's stride."""
    return Framing(
        num_frames=bucket.num_frames, frame_stride=framing.frame_stride, height=bucket.height, width=bucket.width,
        clip_frames=(bucket.num_frames - 1) * framing.frame_stride + 1,
    )  # fmt: skip
