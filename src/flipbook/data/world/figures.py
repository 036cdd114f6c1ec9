"""Domain `figures`: people made of thick limbs who walk, wave, jump, bow, squat and raise their arms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .figures_motion import ACTIONS, JOINTS, SIDEWAYS, Skeleton, pose_figure
from .geometry import coverage
from .layers import Layer, Stack, at_rest, pixel_box
from .rng import Random
from .vocabulary import BACKGROUNDS, COLOURS

__all__ = ["ACTIONS", "JOINTS", "build_stack", "draw_scene", "skeletons"]

_DOMAIN = 3
_SKINS = ((244, 206, 172), (226, 172, 130), (190, 128, 86), (140, 88, 58), (98, 60, 42))
_HAIRS = ((38, 28, 26), (92, 56, 32), (196, 148, 74), (150, 150, 154), (140, 58, 30))
_TROUSERS = {"black": (58, 62, 74), "gray": (48, 52, 66), "teal": (36, 42, 70), "brown": (36, 44, 74)}
_GROUNDS = tuple(_TROUSERS)

# Limbs from back to front: two joints, half thickness in figure heights, which garment, and where it hangs.
_LIMBS = (
    ("far_shoulder", "far_elbow", 0.036, "shirt"),
    ("far_elbow", "far_wrist", 0.030, "skin"),
    ("far_hip", "far_knee", 0.050, "trousers"),
    ("far_knee", "far_ankle", 0.040, "trousers"),
    ("far_ankle", "far_toe", 0.030, "shoe"),
    ("near_hip", "near_knee", 0.050, "trousers"),
    ("near_knee", "near_ankle", 0.040, "trousers"),
    ("near_ankle", "near_toe", 0.030, "shoe"),
    ("pelvis", "chest", 0.078, "shirt"),
    ("neck", "head", 0.034, "skin"),
    ("head", "crown", 0.074, "hair"),
    ("head", "face", 0.062, "skin"),
    ("near_shoulder", "near_elbow", 0.038, "shirt"),
    ("near_elbow", "near_wrist", 0.032, "skin"),
)


def draw_scene(seed: int, canvas: tuple[float, float]) -> dict[str, Any]:
    """The scene of a seed on a canvas of (width, height) in units of S: one person, or two side by side."""
    rng = Random(_DOMAIN, seed)
    background = rng.choice(_GROUNDS)
    count = 2 if rng.chance(0.2) else 1
    colours = rng.shuffled(tuple(COLOURS))
    ground = canvas[1] - rng.uniform(0.10, 0.15)
    things = [_draw_person(colours[i], i, count, background, ground, rng, canvas) for i in range(count)]
    shift = rng.integer(-5, 5)
    scene = {
        "domain": "figures",
        "seed": seed,
        "canvas": list(canvas),
        "background": background,
        "rgb": [max(level + shift, 8) for level in BACKGROUNDS[background]],
        "ground": ground,
        "objects": things,
    }
    people = " and ".join(f"a figure in {thing['colour']} {thing['action']}" for thing in things)
    scene["caption"] = f"{people} on a {background} background"
    return scene


def _draw_person(
    colour: str, place: int, count: int, background: str, ground: float, rng: Random, canvas: tuple[float, float]
) -> dict[str, Any]:
    walks = tuple(action for action in ACTIONS if action.startswith("walks"))
    action = rng.choice(ACTIONS) if count == 1 else rng.choice([a for a in ACTIONS if a not in walks])
    size = rng.uniform(*{"jumps": (0.54, 0.60), "raises both arms": (0.62, 0.70)}.get(action, (0.64, 0.76)))
    if count == 2:
        size *= 0.86
    middle = canvas[0] * (place + 0.5) / count
    travel = rng.uniform(0.50, 0.62) if action in walks else 0.0
    free = max(canvas[0] / count / 2.0 - travel / 2.0 - 0.42 * size, 0.0)
    side = rng.sign()
    if action == "bows":  # step back to make room for it
        middle -= side * 0.12
    return {
        "colour": colour,
        "rgb": list(COLOURS[colour]),
        "action": action,
        "size": size,
        "centre": [middle + rng.uniform(-free, free), ground],
        "travel": travel,
        "beats": rng.uniform(1.6, 2.6) if action == "waves" else float(rng.integer(1, 2)),
        "side": side,
        "skin": list(rng.choice(_SKINS)),
        "hair": list(rng.choice(_HAIRS)),
        "trousers": list(_TROUSERS[background]),
        "depth": 3.0 + place,
    }


def skeletons(scene: Mapping[str, Any], u: np.ndarray, unit: int) -> list[Skeleton]:
    """Joint positions in pixels of every person: name -> float64 (T, 2)."""
    people = []
    for thing in scene["objects"]:
        joints = pose_figure(thing, u)
        root = np.array(thing["centre"])
        people.append({name: (place * thing["size"] + root) * unit for name, place in joints.items()})
    return people


def build_stack(scene: Mapping[str, Any], u: np.ndarray, height: int, width: int) -> Stack:
    """A wall and a floor on the canvas; per person a shadow and their limbs, back to front."""
    unit = min(height, width)
    still = at_rest(len(u))
    canvas = np.empty((3, len(u), height, width), np.float32)
    canvas[:] = _room(scene, unit, height)[:, None, :, None]
    layers: list[Layer] = []
    people = skeletons(scene, u, unit)
    for thing, joints in zip(scene["objects"], people, strict=True):
        layers.append(_shadow(thing, joints, scene["ground"] * unit, unit, still, height, width))
    for index, (thing, joints) in enumerate(zip(scene["objects"], people, strict=True)):
        layers.extend(_limb_layers(index, thing, joints, unit, height, width))
    centres = np.stack([(joints["pelvis"] + joints["neck"]) / 2.0 for joints in people])
    keypoints = np.stack([np.stack([joints[name] for name in JOINTS], axis=1) for joints in people])
    return Stack(canvas, still, tuple(layers), still, centres, keypoints)


def _room(scene: Mapping[str, Any], unit: int, height: int) -> np.ndarray:
    """Levels of wall and floor per row, float32 (3, H)."""
    rows = (np.arange(height) + 0.5).astype(np.float32)
    wall = np.array(scene["rgb"], np.float32)[:, None] * (np.float32(0.92) + np.float32(0.16 / height) * rows)
    horizon = np.float32((scene["ground"] - 0.035) * unit)
    tone = np.float32(1.9) if scene["background"] == "black" else np.float32(0.72)
    floor = np.array(scene["rgb"], np.float32)[:, None] * tone + np.zeros_like(rows)
    return wall + (floor - wall) * coverage(horizon - rows)


def _shadow(
    thing: Mapping[str, Any], joints: Skeleton, ground: float, unit: int, still: np.ndarray, height: int, width: int
) -> Layer:
    """A soft ellipse on the floor, smaller while both feet are in the air."""
    x = (joints["near_ankle"][:, 0] + joints["far_ankle"][:, 0]) / 2.0
    lift = np.clip((ground - np.maximum(joints["near_ankle"][:, 1], joints["far_ankle"][:, 1])) / unit, 0.0, 0.3)
    reach = thing["size"] * unit * (0.20 - 0.3 * lift)
    box = pixel_box((x - reach).min(), ground - reach.max(), (x + reach).max(), ground + reach.max(), height, width)
    y0, y1, x0, x1 = box
    across = ((np.arange(x0, x1) + 0.5 - x[:, None]) / reach[:, None]).astype(np.float32)[:, None, :]
    down = ((np.arange(y0, y1) + 0.5 - ground) / (reach[:, None] * 0.28)).astype(np.float32)[:, :, None]
    cover = np.clip(np.float32(1.0) - across * across - down * down, np.float32(0.0), np.float32(1.0))
    pose = still.copy()
    pose[:, 0] = x
    return Layer(cover * np.float32(0.40), np.zeros(3, np.float32), pose, 9.0, box)


def _limb_layers(
    index: int, thing: Mapping[str, Any], joints: Skeleton, unit: int, height: int, width: int
) -> list[Layer]:
    cloth = {"shirt": thing["rgb"], "skin": thing["skin"], "trousers": thing["trousers"], "hair": thing["hair"]}
    cloth["shoe"] = [30, 28, 30] if sum(thing["trousers"]) > 150 else [214, 210, 204]
    layers = []
    for rank, (start, end, thickness, garment) in enumerate(_LIMBS):
        behind = start.startswith("far") and thing["action"] in SIDEWAYS
        shade = 0.80 if behind else 1.0  # what is farther away gets less light
        colour = np.array(cloth[garment], np.float32) * np.float32(shade)
        depth = thing["depth"] - 0.01 * rank
        radius = thickness * thing["size"] * unit
        layers.append(_capsule(joints[start], joints[end], radius, colour, depth, index, height, width))
    return layers


def _capsule(
    start: np.ndarray,
    end: np.ndarray,
    radius: float,
    colour: np.ndarray,
    depth: float,
    index: int,
    height: int,
    width: int,
) -> Layer:
    """A limb: everything within `radius` pixels of the line between two joints (T, 2)."""
    low, high = np.minimum(start, end).min(axis=0) - radius, np.maximum(start, end).max(axis=0) + radius
    box = pixel_box(low[0], low[1], high[0], high[1], height, width)
    y0, y1, x0, x1 = box
    across = (np.arange(x0, x1) + 0.5 - start[:, :1]).astype(np.float32)[:, None, :]  # (T, 1, w) from the first joint
    down = (np.arange(y0, y1) + 0.5 - start[:, 1:]).astype(np.float32)[:, :, None]  # (T, h, 1)
    bone = end - start
    length = bone[:, 0] * bone[:, 0] + bone[:, 1] * bone[:, 1]
    along = (bone / length[:, None]).astype(np.float32)[:, :, None, None]
    share = along[:, 0] * across + along[:, 1] * down  # (T, h, w): 0 at the first joint, 1 at the second
    np.clip(share, np.float32(0.0), np.float32(1.0), out=share)
    bone_x, bone_y = (bone[:, k].astype(np.float32)[:, None, None] for k in (0, 1))
    off_x = across - share * bone_x
    off_y = down - share * bone_y
    off_x *= off_x
    off_y *= off_y
    off_x += off_y
    distance = np.sqrt(off_x, out=off_x)
    distance -= np.float32(radius)
    size = np.sqrt(length)
    direction = bone / size[:, None]
    pose = np.concatenate([start, direction], axis=1)
    return Layer(coverage(distance), colour, pose, depth, box, index)
