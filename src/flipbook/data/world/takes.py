"""Domain `takes`: raw footage as curation meets it, with every fault on record in the scene.

A take is a row of shots with hard cuts, dissolves, slides and stretches that stand still, under text overlays; some
takes are near-duplicates of another seed, some have a broken caption. All frame ranges are [start, end).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .domains import PICTURES
from .font import bitmap
from .rng import Random
from .vocabulary import MOTIONS

_DOMAIN = 4
FAULTS = ("empty", "wrong", "truncated", "boilerplate")
CHANGES = ("brighter", "cropped", "noisy", "mirrored")
_MOVING = set(MOTIONS) - {"stays still", "turns"}  # in motion from the first frame to the last
_TITLES = (
    "LIVE", "EPISODE 7", "NEWS 24", "REPLAY", "PART 2", "SALE 50%", "WATCH NOW!", "THE END", "12:45", "CHAPTER 3",
)  # fmt: skip
_BOILERPLATE = (
    "stock footage, royalty free clip, 4k hd video",
    "click the link and subscribe for more videos",
    "untitled video 0{} final export",
    "IMG_{}.MOV",
)


def draw_scene(seed: int, canvas: tuple[float, float], num_frames: int) -> dict[str, Any]:
    """The scene of a seed on a canvas of (width, height) in units of S.

    shots: {"start", "end", "kind", "times": u of each frame, "scene": of another domain}.
    cuts: {"frame": first frame of the new shot, "kind": "cut" or "slide"}, or {"frame": the middle, "kind": "dissolve",
    "start", "end"}.   still_ranges, slideshow_ranges: [start, end] lists; under an overlay the picture still stands.
    overlays: {"text", "start", "end", "box": [x0, y0, x1, y1] in [0, 1], "rgb", "plate"}.
    duplicate_of: the seed that this one nearly repeats, changed as `change` says, or None.
    caption: what came with the file; true_caption: what should have; caption_fault: one of `FAULTS`, or None.
    """
    original = _original_of(seed)
    rng = Random(_DOMAIN, seed, 1)
    scene = _draw_take(seed if original is None else original, canvas, num_frames)
    scene["seed"], scene["duplicate_of"], scene["change"] = seed, original, None
    if original is not None:
        scene["change"] = {"kind": rng.choice(CHANGES), "amount": rng.uniform(0.5, 1.0)}
    fault = rng.choice(FAULTS) if rng.chance(0.3) else None
    scene["caption_fault"] = fault
    scene["caption"] = _file_caption(scene["true_caption"], fault, seed, canvas, num_frames, rng)
    return scene


def _original_of(seed: int) -> int | None:
    """The seed that this one nearly repeats: one of the eight before it that is no repetition itself."""
    repeats = lambda s: s > 0 and Random(_DOMAIN, s, 2).chance(0.12)
    if not repeats(seed):
        return None
    first = seed - Random(_DOMAIN, seed, 3).integer(1, 8)
    return next((s for s in range(max(first, 0), -1, -1) if not repeats(s)), None)


def _draw_take(seed: int, canvas: tuple[float, float], num_frames: int) -> dict[str, Any]:
    rng = Random(_DOMAIN, seed)
    take: dict[str, Any] = {"domain": "takes", "canvas": list(canvas), "num_frames": num_frames}
    take |= {"shots": [], "cuts": [], "still_ranges": [], "slideshow_ranges": []}
    start = 0
    while start < num_frames:
        length = rng.integer(16, 40)
        if num_frames - start - length < 16:       # no stub at the end
            length = num_frames - start
        kind = rng.weighted(("moving", "freeze", "still", "slideshow"), (0.62, 0.14, 0.10, 0.14))
        _add_cut(take, start, rng)
        if kind == "slideshow" and length >= 18:
            _add_slideshow(take, start, start + length, rng, canvas)
        else:
            _add_shot(take, start, start + length, kind, rng, canvas)
        start += length
    take["still_ranges"] = [_after_dissolves(span, take["cuts"]) for span in take["still_ranges"]]
    take["overlays"] = _draw_overlays(rng, canvas, num_frames)
    take["true_caption"] = ", then ".join(dict.fromkeys(shot["scene"]["caption"] for shot in take["shots"]))
    return take


def _add_cut(take: dict[str, Any], frame: int, rng: Random) -> None:
    """End the last shot at `frame`: with a hard cut, or by letting it dissolve over the next one's first frames."""
    if not frame:
        return
    last = take["shots"][-1]
    half = rng.integer(2, 4)
    if last["times"][-1] == last["times"][0] or rng.chance(0.65):
        take["cuts"].append({"frame": frame, "kind": "cut"})
        return
    step = last["times"][-1] - last["times"][-2]
    last["times"] += [last["times"][-1] + step * (k + 1) for k in range(2 * half)]
    top = last["times"][-1]  # the shot plays on under the dissolve: its clock is spread over all its frames
    last["times"] = [time / top for time in last["times"]]
    last["end"] = frame + 2 * half
    take["cuts"].append({"frame": frame + half, "kind": "dissolve", "start": frame, "end": frame + 2 * half})


def _add_shot(
    take: dict[str, Any], start: int, end: int, kind: str, rng: Random, canvas: tuple[float, float]
) -> None:
    """A shot whose clock runs, stops for a while, or stands; `times` holds u for each of its frames."""
    length, held = end - start, 0
    if kind == "moving" or length < 16:
        times = [i / max(length - 1, 1) for i in range(length)]
    elif kind == "still":
        times, held, first = [0.5] * length, length, 0
    else:
        held = rng.integer(6, length - 8)
        first = rng.integer(3, length - held - 3)
        ticks = [min(i, first) if i < first + held else i - held + 1 for i in range(length)]
        times = [tick / ticks[-1] for tick in ticks]
    if held >= 2:
        take["still_ranges"].append([start + first, start + first + held])
    take["shots"].append({"start": start, "end": end, "kind": kind, "times": times, "scene": _shot_scene(rng, canvas)})


def _add_slideshow(take: dict[str, Any], start: int, end: int, rng: Random, canvas: tuple[float, float]) -> None:
    count = (end - start) // 8
    edges = [start + (end - start) * k // count for k in range(count + 1)]
    for k in range(count):
        if k:
            take["cuts"].append({"frame": edges[k], "kind": "slide"})
        shot = {"start": edges[k], "end": edges[k + 1], "kind": "slide", "times": [0.5] * (edges[k + 1] - edges[k])}
        take["shots"].append({**shot, "scene": _shot_scene(rng, canvas)})
        take["still_ranges"].append([edges[k], edges[k + 1]])
    take["slideshow_ranges"].append([start, end])


def _after_dissolves(span: list[int], cuts: list[dict[str, Any]]) -> list[int]:
    """A stretch stands still only once the shot before it has faded."""
    faded = [cut["end"] for cut in cuts if cut["kind"] == "dissolve" and cut["start"] <= span[0] < cut["end"]]
    return [max([span[0], *faded]), span[1]]


def _shot_scene(rng: Random, canvas: tuple[float, float]) -> dict[str, Any]:
    """A scene of another domain in which something is always moving, so that a still stretch is one by intent."""
    domain = rng.weighted(("shapes", "sky", "figures"), (0.5, 0.25, 0.25))
    if domain != "shapes":
        return PICTURES[domain].draw_scene(rng.seed(), canvas)
    while True:
        scene = PICTURES["shapes"].draw_scene(rng.seed(), canvas, held_out=None, num_objects=None, plain=True)
        if any(thing["motion"] in _MOVING for thing in scene["objects"]):
            return scene


def _draw_overlays(rng: Random, canvas: tuple[float, float], num_frames: int) -> list[dict[str, Any]]:
    overlays = []
    for place in ("title", "corner"):
        if not rng.chance(0.35 if place == "title" else 0.25):
            continue
        text = rng.choice(_TITLES)
        cell = 1.0 / 64.0                          # of S: one font cell is one pixel at 64
        rows, columns = bitmap(text).shape
        wide, tall = columns * cell, rows * cell
        left = float(int((canvas[0] - wide) / 2.0 / cell)) * cell if place == "title" else 2.0 * cell
        top = canvas[1] - tall - 4.0 * cell if place == "title" else 2.0 * cell
        start = rng.integer(0, num_frames // 2) if place == "title" else 0
        end = min(start + rng.integer(12, 40), num_frames) if place == "title" else num_frames
        box = [left / canvas[0], top / canvas[1], (left + wide) / canvas[0], (top + tall) / canvas[1]]
        rgb = rng.choice(((250, 250, 250), (250, 220, 60)))
        overlay = {"text": text, "start": start, "end": end, "box": box, "rgb": list(rgb), "plate": rng.chance(0.6)}
        overlays.append(overlay)
    return overlays


def _file_caption(
    right: str, fault: str | None, seed: int, canvas: tuple[float, float], num_frames: int, rng: Random
) -> str:
    if fault is None:
        return right
    if fault == "empty":
        return ""
    if fault == "truncated":
        return right[: int(len(right) * rng.uniform(0.25, 0.45))].rstrip()
    if fault == "wrong":
        return str(_draw_take(seed + (1 << 40), canvas, num_frames)["true_caption"])
    return rng.choice(_BOILERPLATE).format(rng.integer(100, 999))


def shots_at(scene: Mapping[str, Any], frame: int) -> list[tuple[Mapping[str, Any], float]]:
    """The shots seen in a frame with their shares, which add up to 1: one, or two while they dissolve."""
    seen = [shot for shot in scene["shots"] if shot["start"] <= frame < shot["end"]]
    if len(seen) == 1:
        return [(seen[0], 1.0)]
    before, after = seen
    share = (frame - after["start"] + 1) / (before["end"] - after["start"] + 1)
    return [(before, 1.0 - share), (after, share)]
