"""The plain grammar, written and read: `a [small|large] COLOUR SHAPE MOTION [and a ...] on a BACKGROUND background`.

A *request* is what a sentence asks for, and no more:
`{"objects": [{"size", "colour", "shape", "motion", "turns_to"}, ...], "background"}`, with `size` None or a name,
`motion` one of `MOTIONS`, and `turns_to` the second colour of "turns COLOUR" (else None).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .rng import Random
from .vocabulary import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, SIZES

Request = dict[str, Any]

_MOVING = {
    "moves right": "moving right", "moves left": "moving left", "moves up": "moving up", "moves down": "moving down",
    "bounces": "bouncing", "falls": "falling", "orbits": "orbiting", "spins": "spinning", "grows": "growing",
    "shrinks": "shrinking", "stays still": "staying still", "turns": "turning",
}  # fmt: skip
_OTHER_WORDS = {
    "moves right": ("moves to the right", "slides right"), "moves left": ("moves to the left", "slides left"),
    "moves up": ("moves upwards", "rises"), "moves down": ("moves downwards", "slides down"),
    "bounces": ("bounces up and down", "is bouncing"), "falls": ("falls down", "drops"),
    "orbits": ("goes around in a circle", "circles around"), "spins": ("spins around", "rotates"),
    "grows": ("gets bigger", "grows larger"), "shrinks": ("gets smaller", "is shrinking"),
    "stays still": ("does not move", "stands still"), "turns": ("changes to", "becomes"),
}  # fmt: skip
_ONE = re.compile(
    rf"an? (?:(?P<size>{'|'.join(SIZES)}) )?(?P<colour>{'|'.join(COLOURS)}) (?P<shape>{'|'.join(SHAPES)}) "
    rf"(?P<motion>{'|'.join(m for m in MOTIONS if m != 'turns')}|turns (?P<turns_to>{'|'.join(COLOURS)}))"
)
_WHOLE = re.compile(rf"(?P<objects>.+) on a (?P<background>{'|'.join(BACKGROUNDS)}) background")


def compose_caption(scene: Mapping[str, Any]) -> str:
    """The plain sentence for a request or a scene of the `shapes` domain, camera movement included."""
    objects = " and ".join(f"{_noun(thing)} {_verb(thing)}" for thing in scene["objects"])
    return f"{objects} on a {scene['background']} background{camera_suffix(scene)}"


def parse_caption(caption: str) -> Request | None:
    """What a plain sentence asks for, or None where it leaves the grammar (case, "grey", a full stop are forgiven)."""
    text = " ".join(caption.lower().replace("grey", "gray").split()).removesuffix(".")
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        return None
    objects = []
    for part in whole["objects"].split(" and "):
        match = _ONE.fullmatch(part)
        if match is None:
            return None
        thing: dict[str, Any] = match.groupdict()
        thing["motion"] = thing["motion"].split(" ")[0] if thing["turns_to"] else thing["motion"]
        if thing["motion"] in ("grows", "shrinks") and thing["size"]:
            return None  # a size that changes has no name
        if (thing["shape"], thing["motion"]) == ("circle", "spins") or thing["turns_to"] == thing["colour"]:
            return None  # nothing would be seen to happen
        objects.append(thing)
    return {"objects": objects, "background": whole["background"]}


def paraphrase(scene: Mapping[str, Any], rng: Random) -> str:
    """The same content outside the plain grammar: other orders, other verbs, a shorter note."""
    things, ground = scene["objects"], scene["background"]
    style = rng.integer(0, 4)
    if style == 0:  # a red circle that moves right over a black background
        text = (
            " and ".join(f"{_noun(t)} that {_verb(t)}" for t in things)
            + f" {rng.choice(('over', 'on', 'in front of'))} a {ground} background"
        )
    elif style == 1:  # on a gray background, a red circle moves right
        text = f"on a {ground} background, " + " and ".join(f"{_noun(t)} {_verb(t)}" for t in things)
    elif style == 2:  # circle, red, moving right, black background
        notes = [", ".join(filter(None, (t["shape"], t["colour"], t["size"], _verb(t, _MOVING)))) for t in things]
        text = "; ".join(notes) + f", {ground} background"
    elif style == 3:  # a red circle rises, on gray
        verbs = {m: rng.choice(words) for m, words in _OTHER_WORDS.items()}
        text = " while ".join(f"{_noun(t)} {_verb(t, verbs)}" for t in things) + f", {ground} background"
    else:  # a video of a red circle moving right on a black background
        start = rng.choice(("a video of ", "a clip of ", "animation of ", ""))
        text = start + " and ".join(f"{_noun(t)} {_verb(t, _MOVING)}" for t in things) + f" on a {ground} background"
    return text + camera_suffix(scene)


def camera_suffix(scene: Mapping[str, Any]) -> str:
    """ " while the camera pans left", or nothing for a camera at rest."""
    move = (scene.get("camera") or {}).get("move")
    return f" while the camera {move}" if move else ""


def _noun(thing: Mapping[str, Any]) -> str:
    words = [word for word in (thing["size"], thing["colour"], thing["shape"]) if word]
    return " ".join(["an" if words[0][0] in "aeiou" else "a", *words])


def _verb(thing: Mapping[str, Any], words: Mapping[str, str] | None = None) -> str:
    verb = words[thing["motion"]] if words else thing["motion"]
    return f"{verb} {thing['turns_to']}" if thing["motion"] == "turns" else verb
