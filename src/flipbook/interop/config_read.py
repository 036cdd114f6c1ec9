"""Reading somebody else's config: every field is used, known to change nothing, or an error with its name."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from flipbook.hints import nearest
from flipbook.interop.weights import BadWeights


def checked(
    config: Mapping[str, Any],
    origin: str,
    *,
    read: Mapping[str, Any],
    fixed: Mapping[str, Collection[Any]] | None = None,
    ignored: Collection[str] = (),
) -> dict[str, Any]:
    """The fields of `read` with their values, or the defaults given there where the config is silent.

    fixed:   fields of which we can do these values alone.   ignored: fields that do not change what is computed here.
    Fields that begin with an underscore are notes of the writer. Raises ValueError for any other field or value, naming `origin`.
    """
    fixed = fixed or {}
    known = {*read, *fixed, *ignored}
    for key, value in config.items():
        if key in fixed and _hashable(value) not in {_hashable(v) for v in fixed[key]}:
            allowed = " or ".join(repr(v) for v in fixed[key])
            raise ValueError(f"{origin}: {key}={value!r} is not supported. Only {allowed} is.")
        if key not in known and not key.startswith("_"):
            raise ValueError(f"{origin}: field {key!r} is not known to this version of flipbook. {nearest(key, known)}")
    return {key: config.get(key, default) for key, default in read.items()}


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises BadWeights, with the file's name, if there is none."""
    if not path.is_file():
        raise BadWeights(f"{path} is missing: the model folder is not whole. Copy or download it again.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadWeights(f"{path} is not valid JSON ({error}). Copy or download it again.") from error
    if not isinstance(value, dict):
        raise BadWeights(f"{path} holds {type(value).__name__}: it should hold an object.")
    return value


def _hashable(value: Any) -> Any:
    """Lists as tuples; 1 and True kept apart."""
    return tuple(_hashable(v) for v in value) if isinstance(value, list | tuple) else (type(value).__name__, value)
