"""Stage `world_truth`: does the caption say what the clip shows? Answered for clips of the procedural world alone.

A stand-in for `clip_sim` where no public weights are at hand: it reads colours, shapes, backgrounds and skies with the
world's own truth reader, and knows nothing of real footage. Captions of takes join shots by ", then ".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from flipbook.data.curation.frames import Look
from flipbook.data.curation.ledger import Row
from flipbook.data.curation.stage import EachClip

if TYPE_CHECKING:
    from flipbook.metrics.truth.reader import Reading

JOIN = ", then "
_FIGURES = re.compile(r"(?P<people>a figure in \w+ \w.*?) on an? (?P<background>\w+) background")
_CLOTHES = re.compile(r"figure in (\w+)")
_SKY = re.compile(
    r".*clouds drift (?:left|right|towards the camera|away)?.*over a (?P<over>\w+ sky)"
    r"(?: with the (?:sun|moon))?(?: above (?:hills|mountains|a city))?|a (?P<sky>\w+ sky)\b.* where .*clouds drift .*\w"
)
NEAR = 20.0            # CIELAB: a pixel this close to a colour has it


class WorldTruth(EachClip):
    """Compare each part of the caption with what the world's truth reader sees; for clips of the procedural world only."""

    name: ClassVar[str] = "world_truth"
    needs: ClassVar[tuple[str, ...]] = ("frames", "caption")
    adds: ClassVar[tuple[str, ...]] = ("clause_scores",)

    def run(self, row: Row, look: Look) -> Row:
        clauses = (row["caption"] or "").split(JOIN)
        frames = look.every.frames
        if min(frames.shape[1:3]) < 32:
            return {"clause_scores": None}
        reading = read_few(frames)
        return {"clause_scores": [agreement(frames, clause, reading) for clause in clauses]}


def read_few(frames: np.ndarray) -> Reading:
    """What the truth reader sees in at most about 16 of the frames."""
    from flipbook.metrics.truth.reader import read_clip

    return read_clip(frames[:: max(1, len(frames) // 12)])


def agreement(frames: np.ndarray, clause: str, reading: Reading) -> float | None:
    """Share of what a clause says that is seen in uint8 (T, H, W, 3), [0, 1]; None where the world has no such clause."""
    from flipbook.data.world.caption import parse_caption
    from flipbook.metrics.truth.score import score_reading

    clause = clause.split(" while the camera ")[0]
    if parse_caption(clause):
        seen = score_reading(reading, clause)
        return float(np.mean([seen.objects, seen.colour, seen.shape, 2 * seen.background]) * 0.8)
    if match := _SKY.fullmatch(clause):
        return float(sky_of(frames) == (match["over"] or match["sky"]))
    if match := _FIGURES.fullmatch(clause):
        ground = reading.background == match["background"]
        return float(np.mean([ground, *(has_colour(frames, name) for name in _CLOTHES.findall(match["people"]))]))
    return None


def sky_of(frames: np.ndarray) -> str | None:
    """The sky whose colours most of the picture has, or None where most of it has those of none."""
    from flipbook.data.world.sky import SKIES
    from flipbook.metrics.truth.colour import distance_to_segment, rgb_to_lab

    pixels = rgb_to_lab(frames[:: max(1, len(frames) // 4), ::3, ::3]).reshape(-1, 3)
    shares: dict[str, float] = {}
    for name, sky in SKIES.items():
        ends: list[tuple[Any, Any]] = [*zip(sky["air"], sky["air"][1:], strict=False), sky["cloud"]]
        nearest = np.min([distance_to_segment(pixels, *rgb_to_lab(np.array(pair, np.uint8))) for pair in ends], axis=0)
        shares[name] = float((nearest < 8.0).mean())
    best = max(shares, key=shares.__getitem__)
    return best if shares[best] > 0.4 else None


def has_colour(frames: np.ndarray, name: str) -> bool:
    """Whether a visible part of the picture has a colour of the world."""
    from flipbook.data.world.vocabulary import COLOURS
    from flipbook.metrics.truth.colour import rgb_to_lab

    if name not in COLOURS:
        return False
    away = rgb_to_lab(frames[::4]) - rgb_to_lab(np.array(COLOURS[name], np.uint8))
    return bool((np.linalg.norm(away, axis=-1) < NEAR).mean() > 0.004)
