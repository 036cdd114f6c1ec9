"""A distance between two sets of clips, measured as a protocol says, with floor, interval and fingerprint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from flipbook.data.seeds import derive_seed, permutation
from flipbook.metrics.clips import ClipSet, clip_source
from flipbook.metrics.extractors import Extractor, build_extractor, extract
from flipbook.metrics.frechet import frechet_from_features
from flipbook.metrics.inception_score import inception_score
from flipbook.metrics.intervals import bootstrap
from flipbook.metrics.kernel import JEDI, KVD, polynomial_mmd
from flipbook.metrics.measurement import Fingerprint, Measurement
from flipbook.metrics.protocols import SetProtocol, protocol_fields, protocol_named
from flipbook.video import Video

Clips = str | Path | Sequence[np.ndarray] | Sequence[Video]
FLOOR_SPLITS = 5


def set_distance(
    real: Clips | None,
    fake: Clips,
    protocol: str | SetProtocol = "world-features",
    *,
    weights: str | Path | None = None,
    extractor: Extractor | None = None,
    allow_torchscript: bool = False,
    num_real: int | None = None,
    num_fake: int | None = None,
    split: str | None = None,
    codec: str | None = None,
    seed: int = 0,
    batch_size: int = 8,
    draws: int = 200,
) -> Measurement:
    """How far a set of clips is from a set of real ones, by a protocol's network and estimator.

    real, fake:  a folder of videos, an .npy of uint8 clips (N, T, H, W, 3), or clips. The inception score has no real side: None.
    weights:     file of the network, where the protocol needs one; or hand over an `extractor` that is built already.
    num_real, num_fake: use fewer or more clips than the protocol says. It then enters the fingerprint.
    split, codec: what the real clips are ("train", "test") and how both sides were encoded; kept in the fingerprint.
    draws:       redrawn sets behind the interval; fewer than 2 gives none.

    Raises ValueError for missing weights, clips of a wrong length, or too few of them.
    """
    protocol = protocol_named(protocol) if isinstance(protocol, str) else protocol
    extractor = extractor or build_extractor(protocol, weights, allow_torchscript=allow_torchscript)
    fakes = ClipSet(clip_source(fake), protocol, protocol.fake_window, num_fake or protocol.num_fake, seed)
    y = extract(fakes, extractor, protocol, batch_size)
    fields = {"extractor": extractor.sha256, "network": extractor.name, **protocol_fields(protocol)}
    fields |= {"num_fake": len(y), "codec": codec, "seed": seed, "range": "[-1, 1] from 8 bits"}
    remarks = _short_remarks(fakes, "fake")
    if protocol.estimator == "is":
        return _score(y, Fingerprint(protocol.name, fields | {"num_real": None}), draws, seed, remarks)
    if real is None:
        raise ValueError(f"{protocol.name} is a distance from real clips. Give a folder of them.")
    reals = ClipSet(clip_source(real), protocol, protocol.real_window, num_real or protocol.num_real, seed)
    x = extract(reals, extractor, protocol, batch_size)
    fields |= {"num_real": len(x), "real": split, "real_clips": reals.sha256, "source_size": _sizes(reals), "frames": _lengths(reals)}
    _check_counts(protocol, len(x), len(y), num_real, num_fake)
    statistic = estimator_of(protocol)
    low, high = bootstrap(statistic, (x, y), draws=draws, seed=seed)
    if len(x) <= x.shape[1] and protocol.estimator == "frechet":
        remarks += (f"{len(x)} clips do not determine a covariance of {x.shape[1]} dimensions: read the floor before the value.",)
    if len(x) != len(y):
        remarks += (f"{len(x)} real clips and {len(y)} fake ones: published numbers use as many of each.",)
    if reals.sizes != fakes.sizes:
        remarks += ("real and fake clips differ in size: the resizing is measured too.",)
    return Measurement(
        value=statistic(x, y), low=low, high=high, floor=real_floor(x, statistic, seed), fingerprint=Fingerprint(protocol.name, fields),
        remarks=_short_remarks(reals, "real") + remarks, details={"floor_clips": len(x) // 2, "fake_clips": fakes.sha256},
    )  # fmt: skip


def estimator_of(protocol: SetProtocol) -> Callable[[np.ndarray, np.ndarray], float]:
    """(real features, fake features) -> distance, as the protocol says."""
    if protocol.estimator == "frechet":
        return lambda x, y: frechet_from_features(x, y, protocol.divisor or "n-1")
    kernel = {"kvd": KVD, "jedi": JEDI}[protocol.estimator]
    return lambda x, y: polynomial_mmd(x, y, kernel)


def real_floor(features: np.ndarray, statistic: Callable[[np.ndarray, np.ndarray], float], seed: int = 0) -> float | None:
    """The distance of one half of the real clips from the other, a mean over random halvings; None for fewer than four clips.

    Halves are smaller than the sets that are compared, so for a Frechet distance this floor lies above that of the whole sets.
    """
    n = len(features) // 2
    if n < 2:
        return None
    orders = [permutation(len(features), seed, "halves", i) for i in range(FLOOR_SPLITS)]
    return float(np.mean([statistic(features[o[:n]], features[o[n : 2 * n]]) for o in orders]))


def _score(logits: np.ndarray, fingerprint: Fingerprint, draws: int, seed: int, remarks: tuple[str, ...]) -> Measurement:
    splits = min(10, len(logits))
    mean, deviation = inception_score(logits, splits)
    low, high = bootstrap(lambda rows: inception_score(rows, 1)[0], (logits,), draws=draws, seed=derive_seed(seed, "is"))
    whole = inception_score(logits, 1)[0]
    return Measurement(
        value=mean, low=mean + low - whole, high=mean + high - whole, fingerprint=fingerprint, higher_is_better=True,
        remarks=(*remarks, "the inception score speaks of UCF-101 alone, and rises with the number of clips in a split"),
        details={"deviation_over_splits": deviation, "splits": splits},
    )  # fmt: skip


def _check_counts(protocol: SetProtocol, real: int, fake: int, asked_real: int | None, asked_fake: int | None) -> None:
    for side, have, asked, published in (("real", real, asked_real, protocol.num_real), ("fake", fake, asked_fake, protocol.num_fake)):
        wanted = asked or published
        if wanted is not None and have < wanted:
            extra = " The published code draws the same fakes again to fill up; flipbook does not." if protocol.repeat_fakes else ""
            raise ValueError(
                f"{protocol.name} takes {wanted} {side} clips and there are {have}.{extra} Make more, or say --num-{side} {have} "
                "(then the number compares only with numbers of as many clips)."
            )
        if have % protocol.multiple_of:
            raise ValueError(f"{protocol.name} takes a multiple of {protocol.multiple_of} clips, and there are {have} {side} ones.")


def _short_remarks(clips: ClipSet, side: str) -> tuple[str, ...]:
    return (f"{clips.short} {side} clips were too short and left out",) if clips.short else ()


def _sizes(clips: ClipSet) -> str:
    """Sizes of the clips as they were read, as "64x64", or the number of different ones."""
    return "x".join(map(str, next(iter(clips.sizes)))) if len(clips.sizes) == 1 else f"{len(clips.sizes)} sizes"


def _lengths(clips: ClipSet) -> int | str:
    return next(iter(clips.lengths)) if len(clips.lengths) == 1 else f"{min(clips.lengths)} to {max(clips.lengths)}"
