"""Aspect and length buckets: every batch has one shape, and a clip goes where least of it is lost (as in Open-Sora).

A level is a number of pixels and a number of frames; its buckets have that many pixels at each aspect ratio. A clip takes
the level with most pixels for which it is large enough, there the most frames that it has, and then the nearest aspect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from flipbook.data.seeds import derive_seed

MAX_UPSCALE = 1.1
ENOUGH_PIXELS = 0.8  # a clip with this share of a level's pixels is large enough for it


class Bucket(NamedTuple):
    """The shape of a batch."""

    num_frames: int
    height: int
    width: int

    @property
    def pixels(self) -> int:
        """Pixels of a clip, which stand for its tokens: latent strides and patches divide all buckets alike."""
        return self.num_frames * self.height * self.width

    def __str__(self) -> str:
        return f"{self.num_frames} x {self.height} x {self.width}"


class Level(BaseModel):
    """side: the square root of the number of pixels.   keep: the share of fitting clips that it takes; the others go to
    a level with fewer pixels.   batch_size: clips per update; None: as many as have the pixels of the run's own batch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: int = Field(ge=1)
    num_frames: int = Field(ge=1)
    keep: float = Field(1.0, gt=0, le=1)
    batch_size: int | None = Field(None, ge=1)


@dataclass(frozen=True)
class NoBucket:
    """Why a clip fits nowhere."""

    rule: str
    reason: str


class Buckets(BaseModel):
    """`buckets: {levels: [{side: 64, num_frames: 16}, {side: 64, num_frames: 1}]}` of a recipe.

    aspects: width / height.   multiple: sizes are multiples of it (the autoencoder's stride x the patch).
    max_upscale: no clip is enlarged beyond this.   batch_multiple: batch sizes are multiples of it (processes x
    micro-batches of an update).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    levels: tuple[Level, ...] = Field(min_length=1)
    aspects: tuple[float, ...] = Field((9 / 16, 3 / 4, 1.0, 4 / 3, 16 / 9), min_length=1)
    multiple: int = Field(8, ge=1)
    max_upscale: float = Field(MAX_UPSCALE, ge=1)
    batch_multiple: int = Field(1, ge=1)

    @field_validator("levels")
    @classmethod
    def _each_once(cls, levels: tuple[Level, ...]) -> tuple[Level, ...]:
        if len({(level.side, level.num_frames) for level in levels}) < len(levels):
            raise ValueError("two levels have the same side and num_frames")
        return levels

    @field_validator("aspects")
    @classmethod
    def _are_ratios(cls, aspects: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0.05 <= a <= 20 for a in aspects):
            raise ValueError("aspects are width / height, such as 1.7778")
        return aspects

    def sizes(self, side: int) -> list[tuple[int, int]]:
        """(height, width) of each aspect at a level, near side * side pixels."""
        near = lambda x: max(self.multiple, round(x / self.multiple) * self.multiple)
        return list(dict.fromkeys((near(side / math.sqrt(a)), near(side * math.sqrt(a))) for a in self.aspects))

    def all(self) -> dict[Bucket, Level]:
        """Every bucket and its level."""
        return {Bucket(v.num_frames, h, w): v for v in self.levels for h, w in self.sizes(v.side)}

    def choose(self, num_frames: int, height: int, width: int, frame_stride: int, *identity: int | str) -> Bucket | NoBucket:
        """The bucket of a clip. `identity` is what its chance to be kept depends on: the same clip, the same lot."""
        problems: list[NoBucket] = []
        for side in sorted({level.side for level in self.levels}, reverse=True):
            fits = [v for v in self.levels if v.side == side and num_frames > (v.num_frames - 1) * frame_stride]
            h, w = min(self.sizes(side), key=lambda size: abs(math.log(size[1] / size[0] * height / width)))
            upscale = max(h / height, w / width)
            if not fits:
                least = min((v.num_frames - 1) * frame_stride + 1 for v in self.levels if v.side == side)
                problems.append(NoBucket("too short", f"{num_frames} frames, the shortest bucket spans {least}"))
            elif upscale > self.max_upscale or height * width < ENOUGH_PIXELS * side**2:
                problems.append(
                    NoBucket("too small", f"{width}x{height} would be enlarged {upscale:.2f} times to {w}x{h}")
                    if upscale > self.max_upscale
                    else NoBucket("too small", f"{width}x{height} has less than {ENOUGH_PIXELS:g} of {side}x{side} pixels")
                )
            else:
                level = max(fits, key=lambda v: v.num_frames)
                if derive_seed("bucket", side, level.num_frames, *identity) / 2**62 < level.keep:
                    return Bucket(level.num_frames, h, w)
                problems.append(NoBucket("thinned out", f"not among the share keep={level.keep:g} of level {side}"))
        return problems[-1]

    def batch_size(self, bucket: Bucket, clips: int, pixels: int) -> int:
        """Clips per update: as many pixels as `clips` of `pixels` each, in whole multiples; or what the level says."""
        stated = self.all()[bucket].batch_size
        exact = stated or clips * pixels / bucket.pixels
        return max(1, math.floor(exact / self.batch_multiple + 1e-9)) * self.batch_multiple
