"""Whether a clip shows what its sentence says, attribute by attribute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from flipbook.data.world.caption import parse_caption
from flipbook.metrics.truth.reader import Reading, SeenObject, read_clip

ATTRIBUTES = ("objects", "colour", "shape", "size", "motion", "background", "order")


@dataclass(frozen=True)
class Score:
    """What of a request is fulfilled. None = not asked for.

    The pairing is by colour first, then by shape and motion, so each attribute is judged on the object it belongs to.
    """

    objects: bool                          # as many as asked for, each there in (nearly) all frames
    colour: bool                           # this and the next three: right for every object asked for
    shape: bool
    size: bool | None
    motion: bool
    background: bool
    order: bool | None                     # two objects: neither wears the shape or the motion of the other
    reading: Reading
    matches: tuple[int | None, ...]        # for each object asked for, its index in `reading.objects`

    @property
    def attributes(self) -> dict[str, bool]:
        """Every attribute that was asked for, by name."""
        values = {name: getattr(self, name) for name in ATTRIBUTES}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def all(self) -> bool:
        """Everything asked for is right."""
        return all(self.attributes.values())


def score(clip: Any, request: str | Mapping[str, Any]) -> Score:
    """Read a clip and compare it with a plain caption, or with the request or scene that a caption is made from.

    clip: uint8 (T, H, W, 3) or `Video`. Raises ValueError when a caption lies outside the plain vocabulary.
    """
    return score_reading(read_clip(clip), request)


def score_reading(reading: Reading, request: str | Mapping[str, Any]) -> Score:
    """Compare what was read from a clip with what was asked for; see `score`."""
    if isinstance(request, str):
        parsed = parse_caption(request)
        if parsed is None:
            raise ValueError(
                f"cannot score against {request!r}: it is not a plain caption. Try "
                "'a [small|large] COLOUR SHAPE MOTION [and a ...] on a BACKGROUND background'."
            )
        request = parsed
    asked = [_wishes(thing) for thing in request["objects"]]
    matches = _assign(asked, reading.objects)
    seen = [None if index is None else _sights(reading.objects[index]) for index in matches]

    def right(attribute: str) -> bool:
        return all(s is not None and s[attribute] == a[attribute] for a, s in zip(asked, seen, strict=True))

    sized = [(a, s) for a, s in zip(asked, seen, strict=True) if a["size"]]
    return Score(
        objects=len(reading.objects) == len(asked) and all(thing.steady for thing in reading.objects),
        colour=right("colour"),
        shape=right("shape"),
        size=all(s is not None and s["size"] == a["size"] for a, s in sized) if sized else None,
        motion=right("motion"),
        background=reading.background == request["background"],
        order=None if len(asked) < 2 else None not in seen and not _exchanged(asked, seen),
        reading=reading,
        matches=matches,
    )


def _wishes(thing: Mapping[str, Any]) -> dict[str, str | None]:
    motion = f"turns {thing['turns_to']}" if thing["motion"] == "turns" else thing["motion"]
    return {"colour": thing["colour"], "shape": thing["shape"], "size": thing.get("size"), "motion": motion}


def _sights(thing: SeenObject) -> dict[str, str | None]:
    return {"colour": thing.colour, "shape": thing.shape, "size": thing.size, "motion": thing.motion}


def _assign(asked: list[dict], seen: tuple[SeenObject, ...]) -> tuple[int | None, ...]:
    """Give each object asked for one that was seen: as many right colours as possible, then shapes, then motions."""
    slots: list[int | None] = [*range(min(len(seen), 6)), *[None] * max(0, len(asked) - len(seen))]

    def quality(order: tuple[int | None, ...]) -> tuple[int, ...]:
        pairs = [(a, _sights(seen[i])) for a, i in zip(asked, order, strict=True) if i is not None]
        hits = (sum(s[key] == a[key] for a, s in pairs) for key in ("colour", "shape", "motion", "size"))
        return (*hits, -sum(i for i in order if i is not None))            # of equals, the objects seen best

    return max(permutations(slots, len(asked)), key=quality)


def _exchanged(asked: list[dict], seen: list[dict | None]) -> bool:
    """Whether two objects wear each other's shape or motion."""
    first, second = seen[0] or {}, seen[1] or {}
    return any(
        asked[0][key] != asked[1][key] and (first[key], second[key]) == (asked[1][key], asked[0][key])
        for key in ("shape", "motion")
    )
