"""A table's values: numbers, times, captions, whatever type the format gave them."""

from __future__ import annotations

import json
import math
import re
from typing import Any

CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d*)?)")


class BadValue(ValueError):
    """A cell that cannot be what its column says."""


def is_blank(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def number(value: Any, name: str, *, low: float, strict: bool = False) -> float | None:
    """A finite number, at least `low` (above it, if strict); None for an empty cell. Raises BadValue."""
    if is_blank(value):
        return None
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise BadValue(f"{name}: {value!r} is not a number") from None
    if not math.isfinite(result) or result < low or (strict and result == low):
        raise BadValue(f"{name}: {value!r} is not a number {'above' if strict else 'of at least'} {low:g}")
    return result


def whole(value: Any, name: str, *, low: int) -> int | None:
    """A whole number; 12.0 counts as 12."""
    result = number(value, name, low=low)
    if result is not None and result != int(result):
        raise BadValue(f"{name}: {value!r} is not a whole number")
    return None if result is None else int(result)


def seconds(value: Any, name: str) -> float | None:
    """12.5, or 0:00:12.5."""
    if isinstance(value, str) and (clock := CLOCK.fullmatch(value.strip())):
        hours, minutes, rest = clock.groups()
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(rest)
    return number(value, name, low=0)


def captions(value: Any) -> tuple[str, ...]:
    """One sentence, or a list of paraphrases (JSON inside a csv cell too)."""
    if is_blank(value):
        return ()
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = None
        if isinstance(parsed, list):
            value = parsed
    items = value if isinstance(value, (list, tuple)) else [value]
    return tuple(text for item in items if isinstance(item, str) and (text := " ".join(item.split())))
