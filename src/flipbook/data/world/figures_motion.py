"""How the people of domain `figures` move: joint angles as functions of time, feet always on the floor or in a leap.

Places are in figure heights around a point on the floor, x to the right, y downwards; angles are in turns, 0 hanging
straight down, positive towards the right of the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .geometry import cos_turns, sin_turns

Skeleton = dict[str, np.ndarray]

ACTIONS = ("walks right", "walks left", "waves", "jumps", "bows", "squats", "raises both arms")
SIDEWAYS = ("walks right", "walks left", "bows")  # seen from the side; the others face the viewer
JOINTS = (
    "head", "near_shoulder", "far_shoulder", "near_elbow", "far_elbow", "near_wrist", "far_wrist",
    "near_hip", "far_hip", "near_knee", "far_knee", "near_ankle", "far_ankle",
)  # fmt: skip
_THIGH, _SHIN, _TORSO, _UPPER_ARM, _FOREARM = 0.235, 0.225, 0.30, 0.155, 0.150
_HALF_SHOULDERS, _HALF_HIPS, _SOLE = 0.098, 0.048, 0.030
_STRIDE = 0.075  # turns that a thigh swings forwards and backwards


def pose_figure(thing: Mapping[str, Any], u: np.ndarray) -> Skeleton:
    """All joints (and the ends of head and feet) at times u (T,), each float64 (T, 2)."""
    return _MOVES[thing["action"]](thing, u)


def _build(
    u: np.ndarray,
    *,
    facing: int,
    thighs: tuple[Any, Any] = (0.0, 0.0),
    shins: tuple[Any, Any] = (0.0, 0.0),
    lean: Any = 0.0,
    arms: tuple[Any, Any] = (0.0, 0.0),
    forearms: tuple[Any, Any] = (0.0, 0.0),
    lift: Any = 0.0,
    shift: Any = 0.0,
) -> Skeleton:
    """A skeleton from the absolute angles of (near, far) limbs. facing: 1 or -1 from the side, 0 from the front."""
    zero = np.zeros_like(u)
    half_shoulders, half_hips = (_HALF_SHOULDERS, _HALF_HIPS) if facing == 0 else (0.012, 0.008)
    up_x, up_y = sin_turns(lean + zero), -cos_turns(lean + zero)
    pelvis = np.stack([zero, zero], axis=1)
    chest = pelvis + _TORSO * 0.80 * np.stack([up_x, up_y], axis=1)
    neck = pelvis + _TORSO * np.stack([up_x, up_y], axis=1)
    head = pelvis + (_TORSO + 0.115) * np.stack([up_x, up_y], axis=1)
    joints = {"pelvis": pelvis, "chest": chest, "neck": neck, "head": head}
    joints["crown"] = head + 0.026 * np.stack([up_x - facing * 0.9, up_y + zero], axis=1)
    joints["face"] = head + 0.024 * np.stack([facing - up_x, -up_y], axis=1)
    for k, side in enumerate(("near", "far")):
        out = 1.0 if k == 0 else -1.0
        shoulder = neck - 0.03 * np.stack([up_x, up_y], axis=1) + out * half_shoulders * np.stack([-up_y, up_x], axis=1)
        hip = pelvis + np.array([out * half_hips, 0.0])
        knee = hip + _THIGH * _hanging(thighs[k] + zero)
        ankle = knee + _SHIN * _hanging(shins[k] + zero)
        elbow = shoulder + _UPPER_ARM * _hanging(arms[k] + zero)
        joints[f"{side}_shoulder"], joints[f"{side}_elbow"] = shoulder, elbow
        joints[f"{side}_wrist"] = elbow + _FOREARM * _hanging(forearms[k] + zero)
        joints[f"{side}_hip"], joints[f"{side}_knee"], joints[f"{side}_ankle"] = hip, knee, ankle
        toe = 0.052 * _hanging((shins[k] + zero) * 0.6 + 0.23 * (facing or out * 0.55))
        joints[f"{side}_toe"] = ankle + toe
    lowest = np.maximum(joints["near_ankle"][:, 1], joints["far_ankle"][:, 1]) + _SOLE + 0.004
    move = np.stack([shift + zero, -lowest - lift], axis=1)
    return {name: place + move for name, place in joints.items()}


def _hanging(turns: np.ndarray) -> np.ndarray:
    return np.stack([sin_turns(turns), cos_turns(turns)], axis=1)


def _walk(thing: Mapping[str, Any], u: np.ndarray) -> Skeleton:
    """One cycle is two steps, as long as the legs reach, so that the standing foot does not slide."""
    facing = 1 if thing["action"] == "walks right" else -1
    reach = 4.0 * (_THIGH + _SHIN) * thing["size"] * float(sin_turns(_STRIDE))
    beat = thing["travel"] / reach * u + (0.12 if thing["side"] > 0 else 0.62)
    swings, bends = [], []
    for phase in (beat, beat + 0.5):
        swing = _STRIDE * sin_turns(phase)
        bend = 0.055 * (1.0 + cos_turns(phase)) * 0.5 + 0.008  # most while the leg comes forward
        swings.append(facing * (swing + 0.3 * bend))
        bends.append(facing * (swing - bend * 1.6))
    arms = tuple(-0.9 * swing for swing in swings)
    forearms = tuple(arm + facing * 0.05 for arm in arms)
    shift = facing * thing["travel"] / thing["size"] * (u - 0.5)
    return _build(
        u, facing=facing, thighs=tuple(swings), shins=tuple(bends), arms=arms, forearms=forearms, shift=shift,
        lean=facing * 0.012,
    )  # fmt: skip


def _wave(thing: Mapping[str, Any], u: np.ndarray) -> Skeleton:
    swing = 0.085 * sin_turns(thing["beats"] * u)
    raised, hand = 0.335, 0.475 + swing
    if thing["side"] > 0:
        return _build(u, facing=0, arms=(raised, -0.03), forearms=(hand, -0.015), **_squatting(0.0))
    return _build(u, facing=0, arms=(0.03, -raised), forearms=(0.015, -hand), **_squatting(0.0))


def _squatting(depth: Any) -> dict[str, Any]:
    """Legs of a squat seen from the front, depth 0 upright to 1 deep: knees go out, feet stay."""
    thigh, shin = 0.012 + 0.15 * depth, 0.006 - 0.10 * depth
    return {"thighs": (thigh, -thigh), "shins": (shin, -shin)}


def _jump(thing: Mapping[str, Any], u: np.ndarray) -> Skeleton:
    """Each beat: crouch (first 0.35), fly on a parabola (to 0.85), absorb the landing."""
    beat = thing["beats"] * u
    beat = np.where(beat == np.floor(beat), 0.0, beat - np.floor(beat))
    crouch = np.where(beat < 0.35, _hump(beat / 0.35), np.where(beat > 0.85, 0.45 * _hump((beat - 0.85) / 0.15), 0.0))
    flight = np.clip((beat - 0.35) / 0.5, 0.0, 1.0)
    arc = 4.0 * flight * (1.0 - flight)
    spread = 0.04 + 0.34 * arc
    arms, forearms = (spread, -spread), (spread * 1.12, -spread * 1.12)
    return _build(u, facing=0, arms=arms, forearms=forearms, lift=0.24 * arc, **_squatting(0.75 * crouch))


def _squat(thing: Mapping[str, Any], u: np.ndarray) -> Skeleton:
    depth = _hump(_part(thing["beats"], u))
    arms = 0.04 + 0.20 * depth
    return _build(u, facing=0, arms=(arms, -arms), forearms=(arms, -arms), **_squatting(depth))


def _bow(thing: Mapping[str, Any], u: np.ndarray) -> Skeleton:
    facing = thing["side"]
    lean = 0.21 * _hump(_part(thing["beats"], u))
    arm = facing * (0.01 + 0.25 * lean)
    return _build(
        u, facing=facing, lean=facing * lean, thighs=(-facing * 0.12 * lean,) * 2, shins=(-facing * 0.12 * lean,) * 2,
        arms=(arm, arm - facing * 0.02), forearms=(arm, arm), shift=-facing * 0.1 * lean,
    )  # fmt: skip


def _raise_arms(thing: Mapping[str, Any], u: np.ndarray) -> Skeleton:
    arms = 0.03 + 0.41 * _hump(_part(thing["beats"], u))
    return _build(u, facing=0, arms=(arms, -arms), forearms=(arms * 1.05, -arms * 1.05), **_squatting(0.0))


def _part(beats: float, u: np.ndarray) -> np.ndarray:
    beat = beats * u
    return beat - np.floor(beat)


def _hump(x: np.ndarray) -> np.ndarray:
    """0, up to 1 in the middle, and back to 0 for x from 0 to 1, smooth at all three."""
    return 0.5 - 0.5 * cos_turns(x)


_MOVES = {
    "walks right": _walk, "walks left": _walk, "waves": _wave, "jumps": _jump, "bows": _bow, "squats": _squat,
    "raises both arms": _raise_arms,
}  # fmt: skip
