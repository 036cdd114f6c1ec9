"""Sound that belongs to a scene: a voice per object whose pitch is its height, a click per impact, wind for clouds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .geometry import sin_turns, smoothstep, value_noise

SAMPLE_RATE = 16_000
_LOW, _HIGH = 220.0, 660.0  # Hz at the lower and upper border of the picture
_INTERVALS = (1.0, 1.25, 1.5)


def soundtrack(scene: Mapping[str, Any], centres: np.ndarray, height: int, seconds: float) -> np.ndarray:
    """Mono float32 in [-1, 1] at 16 kHz, `seconds` long. centres: (N, T, 2) pixels over the whole clip."""
    count = max(int(seconds * SAMPLE_RATE + 0.5), 1)
    u = np.arange(count) / count
    if scene["domain"] == "sky":
        return _wind(scene, u, seconds)
    sound = np.zeros(count)
    for index, (thing, path) in enumerate(zip(scene["objects"], centres, strict=True)):
        moments = np.linspace(0.0, 1.0, path.shape[0])
        level = np.clip(1.0 - np.interp(u, moments, path[:, 1]) / height, 0.0, 1.0)
        pitch = (_LOW + (_HIGH - _LOW) * level) * _INTERVALS[index % 3]
        phase = np.cumsum(pitch / SAMPLE_RATE)
        sound += 0.25 / len(scene["objects"]) * sin_turns(phase)
        for moment in impacts(thing):
            sound += 0.5 * _click((u - moment) * seconds)
    fade = np.minimum(1.0, np.minimum(u, 1.0 - u) * seconds / 0.02)
    return np.clip(sound * fade, -1.0, 1.0).astype(np.float32)


def impacts(thing: Mapping[str, Any]) -> list[float]:
    """Times u in [0, 1] at which something hits the ground: a bounce, a landing, a step."""
    kind = thing.get("motion") or thing.get("action", "")
    if kind == "bounces":
        return [(k - 0.5) / thing["arcs"] for k in range(1, 4) if k - 0.5 <= thing["arcs"]]
    if kind == "jumps":
        return [(k + 0.85) / thing["beats"] for k in range(int(thing["beats"]))]
    return []


def _click(seconds: np.ndarray) -> np.ndarray:
    """A knock of 25 ms that begins at 0: a falling envelope on 1.8 kHz."""
    envelope = np.where((seconds >= 0.0) & (seconds < 0.025), 1.0 - seconds / 0.025, 0.0)
    return envelope * envelope * sin_turns(1800.0 * seconds)


def _wind(scene: Mapping[str, Any], u: np.ndarray, seconds: float) -> np.ndarray:
    """Soft noise that is louder and brighter when the clouds are fast, and swells slowly."""
    times = u * seconds
    brightness, cells = 0.4 + 0.5 * scene["speed"], (0.004, 0.0016, 0.0006)
    noise = value_noise(scene["cloud_seed"], times, np.zeros(1), cells, gain=brightness)[0]
    swell = value_noise(scene["cloud_seed"] + 9, times, np.zeros(1), (0.8,))[0]
    loud = np.float32(0.3 + 0.9 * scene["speed"]) * (np.float32(0.4) + smoothstep(0.2, 0.8, swell))
    return np.clip((noise - np.float32(0.5)) * loud, -1.0, 1.0).astype(np.float32)
