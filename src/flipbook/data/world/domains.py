"""The domains whose pictures are stacks of layers: for each, how a scene is drawn and how it is painted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import figures, shapes_paint, shapes_scene, sky
from .layers import Stack


@dataclass(frozen=True)
class Domain:
    """draw_scene: (seed, canvas, **options) -> scene.   build_stack: (scene, u, height, width) -> layers.

    options: the names that `draw` accepts for this domain, with their defaults.
    """

    draw_scene: Callable[..., dict[str, Any]]
    build_stack: Callable[[Mapping[str, Any], np.ndarray, int, int], Stack]
    options: Mapping[str, Any] = field(default_factory=dict)


PICTURES = {
    "shapes": Domain(
        shapes_scene.draw_scene, shapes_paint.build_stack, {"held_out": None, "num_objects": None, "plain": False, "motions": None}
    ),
    "sky": Domain(sky.draw_scene, sky.build_stack),
    "figures": Domain(figures.draw_scene, figures.build_stack),
}
