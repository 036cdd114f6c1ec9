"""From a seed to a request, and from a request to a scene of the `shapes` domain in which everything is decided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from .caption import Request, compose_caption, paraphrase, parse_caption
from .geometry import CIRCUMRADIUS, shape_extents
from .rng import Random
from .shapes_motion import draw_motion, grown, offset
from .vocabulary import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, SIZES, UNNAMED_SIZE, is_held_out

_DOMAIN = 1
_APART, _PASSING = 0.05, 0.55  # how deep two shapes may enter each other, as a share of the smaller one's width
_MARGIN = 0.02  # of S, between an object and the border
_GROWING_SIZE = (0.080, 0.112)  # the smallest radius of what grows or shrinks
_WATCHED = np.arange(13) / 12.0  # moments at which a layout is checked
_SIZE_WEIGHTS = {1: (0.27, 0.27, 0.46), 2: (0.40, 0.06, 0.54), 3: (0.70, 0.0, 0.30)}  # small, large, no word
_COMBINATIONS = [
    (c, s, m) for c in COLOURS for s in SHAPES for m in MOTIONS if (s, m) != ("circle", "spins")
]  # fmt: skip
_HELD_OUT = [combination for combination in _COMBINATIONS if is_held_out(*combination)]


def draw_scene(
    seed: int, canvas: tuple[float, float], *, held_out: bool | None, num_objects: int | None, plain: bool, motions: Sequence[str] | None = None
) -> dict[str, Any]:
    """The scene of a seed on a canvas of (width, height) in units of S.   motions: of the first object."""
    if num_objects not in (None, 1, 2, 3):
        raise ValueError(f"num_objects={num_objects}: a clip shows 1 to 3 objects. Try one of these, or None for any.")
    if motions is not None and (not motions or set(motions) - set(MOTIONS)):
        raise ValueError(f"motions={motions!r}: at least one of {', '.join(MOTIONS)}, or None for any.")
    rng = Random(_DOMAIN, seed)
    count = num_objects or rng.weighted((1, 2, 3), (0.45, 0.45, 0.10))
    camera = not plain and count < 3 and rng.chance(0.065) and motions is None
    near = rng.chance(0.15)  # most clips keep their objects apart, some let one pass behind another
    for attempt in range(40):  # what finds no room is not squeezed in: ask for something else
        request = _draw_request(rng, count, held_out, camera, motions)
        scene, crowding = _lay_out(request, rng, canvas, camera=camera, plain=plain, near=near)
        if crowding <= (_PASSING if near or attempt >= 12 else _APART):
            break
    scene["caption"] = compose_caption(scene) if plain or rng.chance(0.85) else paraphrase(scene, rng)
    return {"domain": "shapes", "seed": seed, **scene}


def scene_from_caption(caption: str, seed: int, canvas: tuple[float, float] = (1.0, 1.0)) -> dict[str, Any]:
    """A scene that shows what a sentence of the plain grammar says; everything it leaves open comes from `seed`.

    canvas: width and height over the short side.   Raises ValueError for a sentence outside the grammar.
    """
    request = parse_caption(caption)
    if request is None:
        raise ValueError(
            f"caption={caption!r} is outside the plain grammar, so no scene can be laid out for it. Try "
            "'a [small|large] COLOUR SHAPE MOTION [and a ...] on a BACKGROUND background' with words of the vocabulary."
        )
    rng = Random(_DOMAIN, seed, 1)
    tries = (_lay_out(request, rng, canvas, camera=False, plain=True, near=False) for _ in range(4))
    scene, _ = min(tries, key=lambda result: result[1])
    return {"domain": "shapes", "seed": seed, **scene, "caption": compose_caption(scene)}


def _draw_request(rng: Random, count: int, held_out: bool | None, camera: bool, motions: Sequence[str] | None) -> Request:
    free = rng.shuffled(tuple(COLOURS))
    things: list[dict[str, Any]] = []
    while len(things) < count:
        if held_out and not things:
            colour, shape, motion = rng.choice(_HELD_OUT)
        else:
            colour, shape, motion = free[0], rng.choice(SHAPES), rng.choice(motions if motions and not things else MOTIONS)
        if (shape, motion) == ("circle", "spins") or (held_out is False and is_held_out(colour, shape, motion)):
            continue
        if camera and motion not in ("stays still", "spins", "turns", "orbits"):
            if held_out and not things:
                camera = False
            else:
                continue
        free.remove(colour)
        turns_to = free.pop() if motion == "turns" else None
        things.append({"size": None, "colour": colour, "shape": shape, "motion": motion, "turns_to": turns_to})
    for thing in things:
        if thing["motion"] not in ("grows", "shrinks") and not camera:
            sizes = ("small", "large", None)
            thing["size"] = rng.weighted(sizes, _SIZE_WEIGHTS[count])
            if thing["size"] == "large" and (thing["shape"], thing["motion"]) == ("star", "falls"):
                thing["size"] = None  # there is no room for it in a square frame
    background = rng.choice(("striped", "cloudy")) if camera else rng.choice(tuple(BACKGROUNDS))
    return {"objects": things, "background": background}


def _lay_out(
    request: Request, rng: Random, canvas: tuple[float, float], *, camera: bool, plain: bool, near: bool
) -> tuple[dict[str, Any], float]:
    """A scene for a request, and how crowded it is: the worst penetration of two shapes, 0 apart to 1 hidden."""
    move = _draw_camera(rng) if camera else {"move": "", "pan": [0.0, 0.0], "zoom": [1.0, 1.0]}
    things = [_draw_thing(thing, rng, canvas, move, plain) for thing in request["objects"]]
    crowding = _place(things, rng, canvas, move, near)
    for thing, rank in zip(things, rng.shuffled(range(len(things))), strict=True):
        thing["depth"] = 2.0 + rank + 0.5 * rng.uniform()
    scene = {
        "objects": things,
        "background": request["background"],
        "background_paint": _draw_background(request["background"], rng, plain, camera),
        "camera": move,
        "canvas": list(canvas),
    }
    return scene, crowding


def _draw_camera(rng: Random) -> dict[str, Any]:
    """A camera that pans (the picture slides the other way) or zooms, at constant speed over the clip."""
    move = rng.choice(("pans left", "pans right", "pans up", "pans down", "zooms in", "zooms out"))
    far, factor = rng.uniform(0.22, 0.34), rng.uniform(1.35, 1.6)
    slide = {"pans left": [far, 0.0], "pans right": [-far, 0.0], "pans up": [0.0, far], "pans down": [0.0, -far]}
    zoom = {"zooms in": [1.0, factor], "zooms out": [factor, 1.0]}
    return {"move": move, "pan": slide.get(move, [0.0, 0.0]), "zoom": zoom.get(move, [1.0, 1.0])}


def _draw_thing(
    asked: dict[str, Any], rng: Random, canvas: tuple[float, float], camera: dict[str, Any], plain: bool
) -> dict[str, Any]:
    """Numbers for one object, as far and as large as its bands and the canvas allow."""
    thing = dict(asked)
    thing["rgb"] = _vary(COLOURS[thing["colour"]], rng, 8)
    if thing["turns_to"]:
        thing["turns_rgb"] = _vary(COLOURS[thing["turns_to"]], rng, 8)
    growing = thing["motion"] in ("grows", "shrinks")
    low, high = _GROWING_SIZE if growing else SIZES.get(thing["size"] or "", UNNAMED_SIZE)
    thing["tilt"] = 0.0 if thing["shape"] == "circle" else rng.uniform(-8.0, 8.0) / 360.0
    thing["texture"] = "plain" if plain or rng.chance(0.85) else rng.choice(("shaded", "banded"))
    share = rng.uniform()
    for eagerness in (1.0, 0.75, 0.5, 0.25, 0.0):
        thing["radius"] = low + (high - low) * share * eagerness
        thing.update(draw_motion(thing["motion"], rng, eagerness))
        left, top, right, bottom = _room(thing, canvas, camera)
        if right >= left and bottom >= top:
            break
    if thing["motion"] == "shrinks":
        thing["radius"] *= thing["factor"]
    return thing


def _room(
    thing: dict[str, Any], canvas: tuple[float, float], camera: dict[str, Any]
) -> tuple[float, float, float, float]:
    """Where the centre may be for the whole path to stay in view: left, top, right, bottom. Empty when right < left."""
    if thing["motion"] == "spins":
        tip = CIRCUMRADIUS[thing["shape"]]
        left, top, right, bottom = -tip, -tip, tip, tip
    else:
        left, top, right, bottom = _extents(thing["shape"], round(thing["tilt"] * 360.0))
    size = thing["radius"] * (thing.get("factor", 1.0) if thing["motion"] == "grows" else 1.0)
    dx, dy = (part.tolist() for part in offset(thing, _WATCHED))
    pan_x, pan_y = camera["pan"]
    shown = 1.0 / max(camera["zoom"])  # the part of the canvas seen in the closest view
    hidden_x, hidden_y = canvas[0] * (1.0 - shown) / 2.0, canvas[1] * (1.0 - shown) / 2.0
    return (
        hidden_x + _MARGIN - min(dx) - size * left + abs(pan_x) / 2.0,
        hidden_y + _MARGIN - min(dy) - size * top + abs(pan_y) / 2.0,
        canvas[0] - hidden_x - _MARGIN - max(dx) - size * right - abs(pan_x) / 2.0,
        canvas[1] - hidden_y - _MARGIN - max(dy) - size * bottom - abs(pan_y) / 2.0,
    )


@cache
def _extents(shape: str, degrees: int) -> tuple[float, float, float, float]:
    return shape_extents(shape, degrees / 360.0)


def _place(
    things: list[dict[str, Any]], rng: Random, canvas: tuple[float, float], camera: dict[str, Any], near: bool
) -> float:
    """Choose every centre from a few layouts; returns the crowding of the one taken.

    That is the first with room between the objects, or the least crowded; with `near`, the most crowded one allowed.
    """
    rooms = [_room(thing, canvas, camera) for thing in things]
    paths = [tuple(part.tolist() for part in offset(thing, _WATCHED)) for thing in things]
    pointed = {"circle": 1.0, "square": 1.15, "triangle": 1.3, "star": 1.25}
    reach = [(thing["radius"] * pointed[thing["shape"]] * grown(thing, _WATCHED)).tolist() for thing in things]
    best, crowding, best_rank = [], 0.0, math.inf
    for _ in range(1 if len(things) == 1 else 10):
        centres = [(_between(left, right, rng), _between(top, bottom, rng)) for left, top, right, bottom in rooms]
        depth = _penetration(centres, paths, reach)
        rank = -depth if near and depth <= _PASSING else depth
        if rank < best_rank:
            best, crowding, best_rank = centres, depth, rank
        if not near and depth <= _APART:
            break
    for thing, centre in zip(things, best, strict=True):
        thing["centre"] = list(centre)
    return crowding


def _between(low: float, high: float, rng: Random) -> float:
    return rng.uniform(low, high) if high > low else (low + high) / 2.0


def _penetration(centres: list[Any], paths: list[Any], reach: list[list[float]]) -> float:
    worst = 0.0
    for i in range(len(centres)):
        for j in range(i):
            (xi, yi), (xj, yj) = centres[i], centres[j]
            for dxi, dyi, ri, dxj, dyj, rj in zip(*paths[i], reach[i], *paths[j], reach[j], strict=True):
                gap_x, gap_y, near = xi + dxi - xj - dxj, yi + dyi - yj - dyj, ri + rj
                square = gap_x * gap_x + gap_y * gap_y
                if square < near * near:
                    worst = max(worst, (near - math.sqrt(square)) / (2.0 * min(ri, rj)))
    return worst


def _draw_background(name: str, rng: Random, plain: bool, camera: bool) -> dict[str, Any]:
    if name == "striped":
        return {
            "rgb": [_vary((58, 64, 76), rng, 5), _vary((110, 120, 132), rng, 5)],
            "width": rng.uniform(0.10, 0.16),
            "direction": rng.integer(2 if camera else 0, 3),  # diagonal ones show a pan in any direction
            "phase": rng.uniform(0.0, 2.0),
        }
    if name == "cloudy":
        drift = rng.sign() * rng.uniform(0.06, 0.16) if rng.chance(0.6) else 0.0
        return {
            "rgb": [_vary((92, 128, 176), rng, 5), _vary((196, 206, 218), rng, 5)],
            "seed": rng.seed(),
            "drift": drift,
        }
    slope = 0.0 if plain or name == "black" or rng.chance(0.7) else rng.uniform(6.0, 12.0)
    return {
        "rgb": [_vary(BACKGROUNDS[name], rng, 3 if name == "black" else 6)],
        "slope": slope,
        "direction": rng.integer(0, 3),
    }


def _vary(rgb: tuple[int, int, int], rng: Random, by: int) -> list[int]:
    """A colour a little lighter or darker, never by hue alone, so that its name stays beyond doubt."""
    shift = rng.integer(-by, by)
    return [min(max(level + shift + rng.integer(-by // 3, by // 3), 4), 254) for level in rgb]
