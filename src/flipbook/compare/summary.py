"""From results to numbers: each arm's value of each score, its interval, and how it stands to the first arm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from flipbook.compare.scores import Score, score_named
from flipbook.metrics.intervals import mean_interval, paired_shares, wilson

Runs = Mapping[str, Sequence[Mapping[str, Any]]]
"""Arm to the results of its repeats, in order; the first arm is what the others are compared with."""


def summarise(runs: Runs, scores: Sequence[str]) -> dict[str, Any]:
    """arm -> score -> {value, low, high, unit, values, against, verdict}.

    What counts as one trial (`unit`): a repeat, where arms are trained and there are two repeats or more, else a clip, all repeats
    together; scores of whole runs always count by repeat. `low` and `high` are None where one trial says nothing about scatter.
    values: by repeat.   against: {value, low, high}, paired trial by trial with the first arm: the difference, or the ratio where the score
    says so; None for the first arm.   verdict: "better", "worse", "differs" (where neither is better) if that interval leaves out equality.
    """
    first = next(iter(runs))
    by_repeat = bool(runs[first][0]["training"]) and len(runs[first]) > 1
    return {
        arm: {name: _cell(score_named(name), results, None if arm == first else runs[first], by_repeat) for name in scores}
        for arm, results in runs.items()
    }


def _cell(score: Score, results: Sequence[Mapping[str, Any]], first: Sequence[Mapping[str, Any]] | None, by_repeat: bool) -> dict[str, Any]:
    own = [_trials(score, result) for result in results]
    values = [fmean(trials) if trials else None for trials in own]
    unit = "repeat" if by_repeat or score.per == "run" else "clip"
    pool = _pool(own, unit)
    cell: dict[str, Any] = {"value": _mean(score, pool) if pool else None, **_interval(score, pool, unit), "unit": unit, "values": values}
    cell |= {"against": None, "verdict": None}
    pairs = [] if first is None else _pairs([_trials(score, result) for result in first], own, unit)
    if pairs:
        cell["against"] = against = _against(score, pairs, unit)
        cell["verdict"] = _verdict(score, against)
    return cell


def _pairs(first: Sequence[Sequence[float]], own: Sequence[Sequence[float]], unit: str) -> list[tuple[float, float]]:
    """Trials of the first arm with those of another one, of the repeats in which both have any."""
    both = [(a, b) for a, b in zip(first, own, strict=True) if a and b]
    if unit == "repeat":
        return [(fmean(a), fmean(b)) for a, b in both]
    return [pair for a, b in both for pair in zip(a, b, strict=True)]


def _mean(score: Score, pool: Sequence[float]) -> float:
    """The geometric mean of what is compared by ratios."""
    return math.exp(fmean(math.log(value) for value in pool)) if score.compare == "ratio" else fmean(pool)


def _trials(score: Score, result: Mapping[str, Any]) -> list[float]:
    records = [result] if score.per == "run" else result["clips"]
    return [float(value) for value in map(score.read, records) if value is not None]


def _pool(by_repeat: Sequence[Sequence[float]], unit: str) -> list[float]:
    if unit == "repeat":
        return [fmean(trials) for trials in by_repeat if trials]
    return [value for trials in by_repeat for value in trials]


def _interval(score: Score, pool: Sequence[float], unit: str) -> dict[str, float | None]:
    if score.share and unit == "clip" and pool:
        low, high = wilson(round(sum(pool)), len(pool))
    elif len(pool) > 1 and score.compare == "ratio":
        low, high = (math.exp(end) for end in mean_interval([math.log(value) for value in pool]))
    elif len(pool) > 1:
        low, high = mean_interval(pool)
    else:
        return {"low": None, "high": None}
    return {"low": low, "high": high}


def _against(score: Score, pairs: Sequence[tuple[float, float]], unit: str) -> dict[str, float | None]:
    if score.compare == "ratio":
        logs = [math.log(b / a) for a, b in pairs]
        low, high = mean_interval(logs) if len(logs) > 1 else (None, None)
        return {"value": math.exp(fmean(logs)), "low": None if low is None else math.exp(low), "high": None if high is None else math.exp(high)}
    value = fmean(b - a for a, b in pairs)
    if score.share and unit == "clip":
        low, high = paired_shares(sum(a > b for a, b in pairs), sum(b > a for a, b in pairs), len(pairs))
    else:
        low, high = mean_interval([b - a for a, b in pairs]) if len(pairs) > 1 else (None, None)
    return {"value": value, "low": low, "high": high}


def _verdict(score: Score, against: Mapping[str, float | None]) -> str | None:
    equal, low, high = (1.0 if score.compare == "ratio" else 0.0), against["low"], against["high"]
    if low is None or high is None or low <= equal <= high:
        return None
    if score.higher_is_better is None:
        return "differs"
    return "better" if (low > equal) == score.higher_is_better else "worse"
