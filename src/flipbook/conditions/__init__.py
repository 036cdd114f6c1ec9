"""Conditions: what a request gives, as small frozen objects, and the recipe that leads each to a network's doors.

A request is a list of conditions, `[Text("a red ball falls"), FirstFrame("ball.png")]`. `given.py` has the conditions, `recipe.py`
what a system's condition recipe is, `entrances.py` the entrances that recipes are made of.
"""

from flipbook.conditions.entrances import (
    ANIMATED_PICTURE,
    DRAFT,
    GIVEN_FRAMES,
    TEXT,
    TEXT_AND_DRAFT,
    TEXT_AND_FRAMES,
    TEXT_AND_PICTURE,
    frame_rate,
    frame_rate_less_one,
    motion_bucket,
    noise_level,
    numbers,
)
from flipbook.conditions.given import (
    Condition,
    Draft,
    FirstFrame,
    Frames,
    LastFrame,
    Motion,
    NoiseAugmentation,
    Request,
    Size,
    Text,
    as_requests,
    first_of,
    from_json,
    pictures_of,
    text_of,
    to_json,
)
from flipbook.conditions.pictures import read_clip, read_picture
from flipbook.conditions.recipe import Entrance, Inputs, branches, empty_inputs, resolve

__all__ = [
    "ANIMATED_PICTURE",
    "DRAFT",
    "GIVEN_FRAMES",
    "TEXT",
    "TEXT_AND_DRAFT",
    "TEXT_AND_FRAMES",
    "TEXT_AND_PICTURE",
    "Condition",
    "Draft",
    "Entrance",
    "FirstFrame",
    "Frames",
    "Inputs",
    "LastFrame",
    "Motion",
    "NoiseAugmentation",
    "Request",
    "Size",
    "Text",
    "as_requests",
    "branches",
    "empty_inputs",
    "first_of",
    "frame_rate",
    "frame_rate_less_one",
    "from_json",
    "motion_bucket",
    "noise_level",
    "numbers",
    "pictures_of",
    "read_clip",
    "read_picture",
    "resolve",
    "text_of",
    "to_json",
]
