"""A number with everything that it depends on, and the refusal to compare what cannot be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flipbook.files.temporary import written_whole


class IncomparableNumbers(ValueError):
    """Two numbers were measured in different ways; the message lists what differs."""


@dataclass(frozen=True)
class Fingerprint:
    """How a number was measured: a metric's name, and JSON-able fields such as extractor, clips, frames, size, resize, estimator.

    What is judged is not part of it; what it is judged against, and how, is.
    """

    metric: str
    fields: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits, equal for equal fingerprints."""
        text = json.dumps([self.metric, dict(self.fields)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __str__(self) -> str:
        parts = ", ".join(f"{name}={_short(value)}" for name, value in self.fields.items() if value is not None)
        return f"{self.metric}({parts})"

    def differences(self, other: Fingerprint) -> dict[str, tuple[Any, Any]]:
        """Fields whose values differ, with both values; a field that one side lacks is None there."""
        ours, theirs = ({"metric": f.metric, **f.fields} for f in (self, other))
        names = [*ours, *(name for name in theirs if name not in ours)]
        return {name: (ours.get(name), theirs.get(name)) for name in names if ours.get(name) != theirs.get(name)}


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A value, its 95 % bootstrap interval, the floor, and the fingerprint.

    low, high:  the interval.   floor: the same number between two halves of the real clips, None where there is no such thing.
    higher_is_better: None where neither is.   remarks: what a reader must know beside the number.   details: parts of it.
    """

    value: float
    low: float
    high: float
    fingerprint: Fingerprint
    floor: float | None = None
    higher_is_better: bool | None = False
    remarks: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        floor = "" if self.floor is None else f"; real against real {self.floor:.4g}"
        return f"{self.fingerprint} = {self.value:.4g} [{self.low:.4g}, {self.high:.4g}{floor}] #{self.fingerprint.hash}"

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": self.fingerprint.metric, "value": self.value, "low": self.low, "high": self.high, "floor": self.floor,
            "higher_is_better": self.higher_is_better, "fingerprint": self.fingerprint.hash,
            "protocol": dict(self.fingerprint.fields), "string": str(self.fingerprint),
            "remarks": list(self.remarks), "details": dict(self.details),
        }  # fmt: skip

    def write(self, path: str | Path) -> Path:
        """Write as JSON, whole or not at all. Returns the path."""
        path = Path(path)
        with written_whole(path) as temporary:
            temporary.write_text(json.dumps(self.to_json(), indent=1) + "\n")
        return path

    @classmethod
    def read(cls, path: str | Path) -> Measurement:
        """Read what `write` wrote. Raises ValueError if the file is none of these, or its protocol was edited afterwards."""
        try:
            record = json.loads(Path(path).read_text())
            fingerprint = Fingerprint(record["metric"], record["protocol"])
            measured = cls(
                value=record["value"], low=record["low"], high=record["high"], floor=record["floor"], fingerprint=fingerprint,
                higher_is_better=record["higher_is_better"], remarks=tuple(record["remarks"]), details=record["details"],
            )  # fmt: skip
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a measurement ({error!r}). Try a file written by `flipbook metrics --output`.") from error
        if fingerprint.hash != record["fingerprint"]:
            raise ValueError(f"{path}: its protocol hashes to {fingerprint.hash}, but it says {record['fingerprint']}. Measure again.")
        return measured


@dataclass(frozen=True)
class Comparison:
    """Two comparable numbers: b - a, whether their intervals are apart, and which is better ("a", "b", or None)."""

    difference: float
    apart: bool
    better: str | None


def compare(a: Measurement, b: Measurement) -> Comparison:
    """Which of two numbers is better. Raises IncomparableNumbers, with every field that differs, unless fingerprints are equal."""
    differing = a.fingerprint.differences(b.fingerprint)
    if differing:
        rows = "; ".join(f"{name}: {_short(one)} against {_short(two)}" for name, (one, two) in differing.items())
        raise IncomparableNumbers(
            f"{a.value:.6g} and {b.value:.6g} were measured in different ways, so neither is better ({rows}). "
            "Measure both with one protocol, one extractor and one set of real clips."
        )
    apart = a.high < b.low or b.high < a.low
    better = None
    if apart and a.higher_is_better is not None:
        better = "b" if (b.value > a.value) == a.higher_is_better else "a"
    return Comparison(b.value - a.value, apart, better)


def _short(value: Any) -> str:
    """A value for people: hashes lose their tail, other things stay whole."""
    if isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef"):
        return value[:8]
    return str(value)
