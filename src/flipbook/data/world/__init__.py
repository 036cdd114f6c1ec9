"""The procedural world: short captioned clips from a seed, alike on every machine, that know the truth."""

from __future__ import annotations

from .caption import compose_caption, parse_caption
from .clip import Clip
from .draw import DOMAINS, draw, from_scene
from .shapes_scene import scene_from_caption
from .vocabulary import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, SIZES, is_held_out

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "DOMAINS",
    "MOTIONS",
    "SHAPES",
    "SIZES",
    "Clip",
    "compose_caption",
    "draw",
    "from_scene",
    "is_held_out",
    "parse_caption",
    "scene_from_caption",
]
