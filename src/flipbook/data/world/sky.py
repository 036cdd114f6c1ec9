"""Domain `sky`: a time-lapse of clouds. Two sheets of cloud drift at two speeds over a sky, behind a dark land."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .geometry import coverage, slide, smoothstep, value_noise
from .layers import Layer, Stack, at_rest
from .rng import Random, hash_lattice
from .sky_land import land_coverage

_DOMAIN = 2
SPEEDS = {"slowly": (0.14, 0.24), "quickly": (0.55, 0.85)}  # of S over the clip, the near sheet; between them no word
_UNNAMED_SPEED = (0.32, 0.44)
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0)}
_CELLS = (0.46, 0.22, 0.11, 0.055)

# Per sky: gradient from top to horizon, cloud in light, cloud in shadow, land, and the words for clouds there.
SKIES: dict[str, dict[str, Any]] = {
    "blue sky": {
        "air": ((38, 94, 190), (86, 150, 222), (176, 214, 240)),
        "cloud": ((252, 252, 250), (176, 190, 208)),
        "land": (30, 62, 42),
        "words": ("white",),
    },
    "sunset sky": {
        "air": ((66, 52, 116), (214, 98, 92), (254, 190, 96)),
        "cloud": ((255, 178, 130), (124, 64, 108)),
        "land": (34, 22, 36),
        "words": ("pink", "orange"),
    },
    "night sky": {
        "air": ((6, 8, 26), (14, 20, 52), (34, 44, 84)),
        "cloud": ((98, 108, 140), (34, 40, 66)),
        "land": (4, 5, 10),
        "words": ("gray",),
    },
    "stormy sky": {
        "air": ((66, 76, 90), (112, 122, 132), (176, 180, 172)),
        "cloud": ((138, 144, 152), (20, 24, 34)),
        "land": (18, 22, 22),
        "words": ("dark",),
    },
}
_PINK_CLOUD = ((255, 182, 184), (128, 74, 132))


def draw_scene(seed: int, canvas: tuple[float, float]) -> dict[str, Any]:
    """The scene of a seed on a canvas of (width, height) in units of S."""
    rng = Random(_DOMAIN, seed)
    sky = rng.choice(tuple(SKIES))
    speed_word = rng.choice(("slowly", "quickly", None))
    low, high = SPEEDS.get(speed_word or "", _UNNAMED_SPEED)
    scene: dict[str, Any] = {
        "domain": "sky",
        "seed": seed,
        "canvas": list(canvas),
        "sky": sky,
        "cloud_colour": rng.choice(SKIES[sky]["words"]),
        "amount": rng.choice(("a few", None, "thick")) if sky != "stormy sky" else rng.choice((None, "thick")),
        "direction": rng.weighted(tuple(DIRECTIONS), (0.4, 0.4, 0.2)),
        "speed_word": speed_word,
        "speed": rng.uniform(low, high),
        "cloud_seed": rng.seed(),
        "brightness": rng.uniform(0.94, 1.04),
    }
    scene["light"] = _draw_light(sky, rng, canvas)
    scene["land"] = _draw_land(rng)
    scene["caption"] = _caption(scene, rng)
    return scene


def _draw_light(sky: str, rng: Random, canvas: tuple[float, float]) -> dict[str, Any] | None:
    kind = {"blue sky": "sun", "sunset sky": "sun", "night sky": "moon"}.get(sky)
    if kind is None or rng.chance(0.45):
        return None
    low, high = (0.55, 0.72) if sky == "sunset sky" else (0.16, 0.40)
    place = [rng.uniform(0.18, 0.82) * canvas[0], rng.uniform(low, high) * canvas[1]]
    return {"kind": kind, "centre": place, "radius": rng.uniform(0.06, 0.085)}


def _draw_land(rng: Random) -> dict[str, Any] | None:
    if rng.chance(0.3):
        return None
    return {"kind": rng.choice(("hills", "mountains", "a city")), "seed": rng.seed(), "height": rng.uniform(0.12, 0.22)}


def _caption(scene: Mapping[str, Any], rng: Random) -> str:
    """"a few white clouds drift left slowly over a blue sky with the sun above hills", in one of two orders."""
    clouds = " ".join(filter(None, (scene["amount"], scene["cloud_colour"], "clouds")))
    drift = " ".join(filter(None, ("drift", scene["direction"], scene["speed_word"])))
    light = f" with the {scene['light']['kind']}" if scene["light"] else ""
    land = f" above {scene['land']['kind']}" if scene["land"] else ""
    if rng.chance(0.12):
        return f"a {scene['sky']}{light}{land} where {clouds} {drift}"
    return f"{clouds} {drift} over a {scene['sky']}{light}{land}"


def build_stack(scene: Mapping[str, Any], u: np.ndarray, height: int, width: int) -> Stack:
    """Air and stars on the canvas; light, far clouds, near clouds and land as layers."""
    unit = min(height, width)
    canvas = np.empty((3, len(u), height, width), np.float32)
    canvas[:] = _air(scene, height, width, unit)[:, None]
    still = at_rest(len(u))
    layers = []
    if scene["light"]:
        layers.append(_disc(scene, still, unit, height, width))
    for near in (False, True):
        layers.append(_cloud_sheet(scene, u, near, unit, height, width))
    if scene["land"]:
        cover = land_coverage(scene["land"], unit, height, width)
        colour = np.array(SKIES[scene["sky"]]["land"], np.float32) * np.float32(scene["brightness"])
        whole = (0, height, 0, width)
        layers.append(Layer(np.broadcast_to(cover, (len(u), height, width)), colour, still, 1.0, whole))
    return Stack(canvas, still, tuple(layers), still, np.zeros((0, len(u), 2)))


def _air(scene: Mapping[str, Any], height: int, width: int, unit: int) -> np.ndarray:
    """Colour of the open sky, float32 (3, H, W): a gradient, the glow around its light, stars at night."""
    stops = np.array(SKIES[scene["sky"]]["air"], np.float32) * np.float32(scene["brightness"])
    place = ((np.arange(height) + 0.5) * (2.0 / height)).astype(np.float32)  # 0 top, 1 middle stop, 2 horizon
    upper, lower = np.clip(place, 0.0, 1.0), np.clip(place - 1.0, 0.0, 1.0)
    air = stops[0][:, None] + (stops[1] - stops[0])[:, None] * upper + (stops[2] - stops[1])[:, None] * lower
    picture = np.repeat(air[:, :, None], width, axis=2)
    if scene["sky"] == "night sky":
        picture += _stars(scene["cloud_seed"] + 90, height, width, unit)
    if scene["light"]:
        square = _square_distance(scene["light"]["centre"], unit, height, width)
        reach = np.float32({"sunset sky": 0.09, "blue sky": 0.035, "night sky": 0.016}[scene["sky"]])
        glow = reach / (reach + square) * np.float32(0.45 if scene["sky"] == "night sky" else 0.75)
        tints = {"sunset sky": (255, 226, 150), "blue sky": (255, 250, 230), "night sky": (150, 160, 200)}
        picture += (np.array(tints[scene["sky"]], np.float32)[:, None, None] - picture) * glow
    return np.clip(picture, 0.0, 255.0, out=picture)


def _square_distance(centre: list[float], unit: int, height: int, width: int) -> np.ndarray:
    """Squared distance of every pixel to a place, float32 (H, W), in units of S squared."""
    x = ((np.arange(width) + 0.5) / unit - centre[0]).astype(np.float32)
    y = ((np.arange(height) + 0.5) / unit - centre[1]).astype(np.float32)
    return (x * x)[None, :] + (y * y)[:, None]


def _stars(seed: int, height: int, width: int, unit: int) -> np.ndarray:
    """Light added by stars, float32 (H, W): one candidate per cell of S / 12, a third of them bright enough to see."""
    cell = unit / 12.0
    row, column = np.arange(int(height / cell) + 1), np.arange(int(width / cell) + 1)
    down, across, power = (hash_lattice(seed + k, row, column) for k in range(3))
    light = np.zeros((height, width), np.float32)
    y = ((row[:, None] + down) * cell).astype(np.int64).ravel()
    x = ((column[None, :] + across) * cell).astype(np.int64).ravel()
    bright = smoothstep(0.6, 1.0, power).ravel() * np.float32(210.0)
    seen = (y < height) & (x < width)
    light[y[seen], x[seen]] = bright[seen]
    return light


def _disc(scene: Mapping[str, Any], still: np.ndarray, unit: int, height: int, width: int) -> Layer:
    light = scene["light"]
    distance = np.sqrt(_square_distance(light["centre"], unit, height, width)) - np.float32(light["radius"])
    cover = np.broadcast_to(coverage(distance * np.float32(unit)), (len(still), height, width))
    colours = {"night sky": (244, 242, 226), "blue sky": (255, 250, 222), "sunset sky": (255, 236, 170)}
    return Layer(cover, np.array(colours[scene["sky"]], np.float32), still, 9.0, (0, height, 0, width))


def _cloud_sheet(scene: Mapping[str, Any], u: np.ndarray, near: bool, unit: int, height: int, width: int) -> Layer:
    """One sheet of cloud: a texture of density and light, looked at through a window that slides against the drift."""
    pace, size = (1.0, 1.0) if near else (0.55, 0.55)
    along_x, along_y = DIRECTIONS[scene["direction"]]
    gone = scene["speed"] * pace * unit * u
    x, y = along_x * gone, along_y * gone
    far = scene["speed"] * pace * unit  # the texture spans the whole clip, so that any choice of frames sees the same
    left, right = int(np.floor(min(-along_x * far, 0.0))), int(np.ceil(max(-along_x * far, 0.0))) + width + 2
    top, bottom = int(np.floor(min(-along_y * far, 0.0))), int(np.ceil(max(-along_y * far, 0.0))) + height + 2
    columns, rows = np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5
    texture = _cloud_texture(scene, near, columns / unit / size / 1.5, rows / unit / size, size * unit)
    alpha, light = slide(texture, -x, -y, (left, top), height, width)
    bright, shadow = (_PINK_CLOUD if scene["cloud_colour"] == "pink" else SKIES[scene["sky"]]["cloud"])
    glow = np.float32(scene["brightness"])
    colour = np.empty((3, *alpha.shape), np.float32)
    for c in range(3):
        np.multiply(light, np.float32(min(bright[c] * glow, 255.0) - shadow[c] * glow), out=colour[c])
        colour[c] += np.float32(shadow[c] * glow)
    pose = np.stack([x, y, np.ones_like(u), np.zeros_like(u)], axis=1)
    return Layer(alpha, colour, pose, 4.0 if near else 7.0, (0, height, 0, width))


def _cloud_texture(scene: Mapping[str, Any], near: bool, xs: np.ndarray, ys: np.ndarray, pixels: float) -> np.ndarray:
    """Opacity and light of a sheet at places xs (w,), ys (h,), float32 (2, h, w)."""
    density = value_noise(scene["cloud_seed"] + (7 if near else 31), xs, ys, _CELLS)
    sample = np.sort(density[::3, ::3], axis=None)  # by rank, so that "a few" is a few in every clip
    threshold = float(sample[int(len(sample) * {"a few": 0.70, None: 0.50, "thick": 0.22}[scene["amount"]])])
    alpha = smoothstep(threshold, threshold + 0.16, density)
    alpha *= np.float32(0.96 if near else 0.75)
    step = max(int(0.035 * pixels + 0.5), 1)  # light falls from above, or from below at sunset
    other = np.empty_like(density)
    if scene["sky"] == "sunset sky":
        other[:-step], other[-step:] = density[step:], density[-1]
    else:
        other[step:], other[:step] = density[:-step], density[0]
    body = np.float32(0.62) - (density - np.float32(threshold)) * np.float32(1.1)
    light = np.clip(body + (density - other) * np.float32(5.0), np.float32(0.0), np.float32(1.0))
    return np.stack([alpha, light])
