"""Prompt sets: fresh sentences of the world, the same for a seed everywhere, in groups with one question each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flipbook.data.seeds import derive_seed
from flipbook.data.world import Clip, draw, is_held_out, parse_caption
from flipbook.hints import nearest

GROUPS: dict[str, str] = {
    "seen": "one object, combinations of colour, shape and motion that training has shown",
    "held-out": "one object, combinations that training never shows",
    "two": "two objects",
    "first-frame": "one object, the first frame given as a picture",
    "sky": "clouds and skies",
    "figures": "figures that move",
    "satellite": "weather seen from a satellite",
    "own": "sentences of one's own that the plain vocabulary does not know",
}
JUDGED = ("seen", "held-out", "two", "first-frame")        # the others are for the eye
DEFAULT_COUNTS: dict[str, int] = {
    "seen": 200, "held-out": 100, "two": 100, "first-frame": 60, "sky": 8, "figures": 8, "satellite": 8,
    "own": 0,
}  # fmt: skip
SATELLITE = (
    "hurricane clouds seen from a satellite",
    "infrared satellite time-lapse, thick clouds, drifting north-west",
    "infrared satellite time-lapse, scattered clouds, drifting east",
    "visible-light satellite time-lapse, few clouds, drifting west",
    "water-vapour satellite time-lapse, bright moist air and clouds, drifting north",
    "water-vapour satellite time-lapse, dark dry air, drifting south-east",
    "infrared satellite time-lapse, hurricane, drifting west",
    "infrared satellite time-lapse, few clouds, almost still",
)


@dataclass(frozen=True)
class Prompt:
    """One thing to ask of a model: a sentence and the seed of its noise. `name` is unique in its set."""

    name: str
    group: str
    text: str
    seed: int

    def first_frame(self, height: int, width: int) -> np.ndarray | None:
        """For the group `first-frame` the picture to start from, uint8 (H, W, 3): the world's scene of the sentence."""
        if self.group != "first-frame":
            return None
        return _draw_first(self.group, self.seed, height, width).frames[0]


def make_prompts(seed: int = 0, counts: Mapping[str, int] | None = None) -> list[Prompt]:
    """The prompt set of a seed. counts: prompts per group, `DEFAULT_COUNTS` for what is left out.

    A group's prompts do not depend on the other groups, and a smaller count gives the first of the same prompts.
    Raises ValueError for an unknown group or a negative count.
    """
    for group, count in (counts or {}).items():
        if group not in GROUPS:
            raise ValueError(f"there is no group of prompts {group!r}. {nearest(group, GROUPS)}")
        if count < 0:
            raise ValueError(f"counts[{group!r}]={count}: a group has 0 prompts or more.")
    counts = DEFAULT_COUNTS | dict(counts or {})
    if counts["own"]:
        raise ValueError(f"counts['own']={counts['own']}: sentences of one's own cannot be drawn. Give them to `own_prompts`.")
    return [_prompt(group, seed, number) for group in GROUPS for number in range(counts[group])]


def own_prompts(texts: Sequence[str], seed: int = 0) -> list[Prompt]:
    """Sentences as they are given. Plain ones belong to the group that their words put them in, and are judged; the others are `own`.

    The noise of a sentence depends on the seed and on its place among them.
    """
    return [Prompt(f"given-{number:03d}", _group_of(text), text, derive_seed(seed, "own", number)) for number, text in enumerate(texts)]


def _group_of(text: str) -> str:
    request = parse_caption(text)
    if request is None:
        return "own"
    if len(request["objects"]) > 1:
        return "two"
    (thing,) = request["objects"]
    return "held-out" if is_held_out(thing["colour"], thing["shape"], thing["motion"]) else "seen"


def _prompt(group: str, seed: int, number: int) -> Prompt:
    # Odd, as the scenes of validation are: training draws the even ones, so a given first frame is new to the model.
    own = (derive_seed(seed, "evaluate", group, number) >> 31) | 1
    if group in JUDGED:
        text = _draw_first(group, own, 8, 8).caption
    elif group == "satellite":
        text = SATELLITE[number % len(SATELLITE)]
    else:
        text = draw(group, own, frames=[0], height=8, width=8).caption
    return Prompt(f"{group}-{number:03d}", group, text, own)


def _draw_first(group: str, seed: int, height: int, width: int) -> Clip:
    """The first frame of the scene behind a judged prompt, with its sentence."""
    num_objects, held_out = (2 if group == "two" else 1), group == "held-out"
    return draw(
        "shapes", seed, height=height, width=width, frames=[0], plain=True, num_objects=num_objects, held_out=held_out
    )
