"""A simulated brain: fixed random weights from what a scene contains to 256 voxels, plus measurement noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

import numpy as np

from .rng import hash_lattice

NUM_VOXELS = 256
_WEIGHTS = 0xB4A1  # the one brain: every clip is shown to the same person
_NOISE = 0.25
_SEEN = ("background", "sky", "direction", "cloud_colour", "amount", "speed_word")
_SEEN_IN_OBJECTS = ("colour", "shape", "size", "motion", "turns_to", "action")


def brain_response(scene: Mapping[str, Any]) -> np.ndarray:
    """Response to a scene, float32 (256,): the sum of one fixed column per feature, and noise fixed by the seed."""
    voxels = np.arange(NUM_VOXELS)
    features = np.array([_number(feature) for feature in features_of(scene)], np.int64)
    columns = hash_lattice(_WEIGHTS, features, voxels) * np.float32(2.0) - np.float32(1.0)
    noise = hash_lattice(scene["seed"], np.array([-1]), voxels)[0] * np.float32(2.0) - np.float32(1.0)
    return columns.sum(axis=0) + np.float32(_NOISE) * noise


def features_of(scene: Mapping[str, Any]) -> Iterator[str]:
    """The scene vector by name: what is there, in words, one per feature that is on."""
    yield f"domain {scene['domain']}"
    for key in _SEEN:
        if scene.get(key):
            yield f"{key} {scene[key]}"
    for index, thing in enumerate(scene.get("objects", ())):
        for key in _SEEN_IN_OBJECTS:
            if thing.get(key):
                yield f"object {index} {key} {thing[key]}"
    for key in ("light", "land"):
        if scene.get(key):
            yield f"{key} {scene[key]['kind']}"


def _number(feature: str) -> int:
    return int.from_bytes(sha256(feature.encode()).digest()[:6], "big")
