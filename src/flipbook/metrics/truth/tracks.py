"""Objects through time: regions of one colour in each frame, linked from frame to frame by place, size and colour."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from flipbook.metrics.truth.background import Background
from flipbook.metrics.truth.colour import nearest_colour
from flipbook.metrics.truth.regions import grow_labels, label_regions, neighbourhood

SURE_DISTANCE = 24.0      # CIELAB: whatever is this far from the background is something
FAINT_DISTANCE = 9.0      # CIELAB: from here on it is something if it looks more like an object's colour than like background
MIN_AREA = 0.006          # of S * S: about a third of the smallest shape; smaller specks are not objects
PRESENT_SHARE = 0.04      # of all object pixels: a colour seen less is the rim of another one
GAP = 4                   # frames for which an object may be hidden and still be the same one


@dataclass
class Track:
    """One object through time. Arrays have one row per frame in which it is seen."""

    frames: list[int] = field(default_factory=list)
    regions: list[int] = field(default_factory=list)                       # numbers in the region map
    centres: list[np.ndarray] = field(default_factory=list)                # (2,) x, y in pixels
    areas: list[float] = field(default_factory=list)                       # pixels
    colours: list[np.ndarray] = field(default_factory=list)                # (3,) CIELAB, median of the inner pixels
    whole: list[bool] = field(default_factory=list)                        # touches neither the border nor another object

    def expected_centre(self, frame: int) -> np.ndarray:
        """Where it should be now if it went on as in its last two frames."""
        if len(self.frames) < 2:
            return self.centres[-1]
        step = (self.centres[-1] - self.centres[-2]) / (self.frames[-1] - self.frames[-2])
        return self.centres[-1] + step * min(frame - self.frames[-1], 2)


def find_regions(lab: np.ndarray, background: Background) -> tuple[np.ndarray, np.ndarray]:
    """Split a CIELAB clip (T, H, W, 3) into regions of one object each.

    Returns the region map (T, H, W), 0 = background, and the CIELAB distance of each pixel from the background (T, H, W).
    """
    from_background = background.distance_from(lab)
    colour, to_colour = nearest_colour(lab)
    something = (from_background > SURE_DISTANCE) | ((from_background > FAINT_DISTANCE) & (to_colour < from_background))

    # Rims are mixtures and take any colour's name, so only pixels whose whole neighbourhood agrees may found a region ...
    label = np.where(something, colour + 1, 0).astype(np.int16)
    counts = np.bincount(label[_agree(label)].ravel(), minlength=8)[1:]
    present = counts > PRESENT_SHARE * max(counts.sum(), 1)
    if present.any():
        rename = np.array([0] + [k + 1 if present[k] else 0 for k in range(7)], np.int16)
        label = rename[label]
        label = grow_labels(label, something, 4)                           # absent names give way to their neighbours
    seeds = np.where(_agree(label), label, 0)
    regions, _ = label_regions(seeds)
    # ... and the rims go to the region they surround.
    return grow_labels(regions, something, 3), from_background


def _agree(label: np.ndarray) -> np.ndarray:
    """Pixels whose 3 x 3 neighbourhood carries one and the same non-zero label."""
    return (neighbourhood(label, np.minimum) == neighbourhood(label, np.maximum)) & (label > 0)


def find_tracks(lab: np.ndarray, background: Background) -> tuple[list[Track], np.ndarray, np.ndarray]:
    """Link the regions of a clip into objects, the longest-seen first. Also returns what `find_regions` returns."""
    regions, from_background = find_regions(lab, background)
    num_frames, height, width = regions.shape
    short = min(height, width)
    tracks: list[Track] = []
    for frame, found in enumerate(_measure(lab, regions)):
        found = [f for f in found if f["area"] >= MIN_AREA * short**2]
        pairs = sorted(
            (cost, i, j)
            for i, track in enumerate(tracks)
            for j, seen in enumerate(found)
            if frame - track.frames[-1] <= GAP and (cost := _link_cost(track, seen, frame, short)) < 1.0
        )
        taken: set[int] = set()
        extended: set[int] = set()
        for _, i, j in pairs:
            if i not in extended and j not in taken:
                extended.add(i)
                taken.add(j)
                _extend(tracks[i], frame, found[j])
        for j, seen in enumerate(found):
            if j not in taken:
                tracks.append(Track())
                _extend(tracks[-1], frame, seen)
    tracks.sort(key=lambda track: (-len(track.frames), -sum(track.areas)))
    return tracks, regions, from_background


def _measure(lab: np.ndarray, regions: np.ndarray) -> list[list[dict]]:
    """Area, centre, inner colour and wholeness of each region, listed by frame."""
    num_frames, height, width = regions.shape
    count = int(regions.max()) + 1
    flat = regions.ravel()
    index = np.flatnonzero(flat)
    owner = flat[index]
    y, x = np.divmod(index % (height * width), width)
    area = np.bincount(owner, minlength=count)
    sums = [np.bincount(owner, weights=w, minlength=count) for w in (x, y)]
    first = np.zeros(count, np.int64)
    first[owner[::-1]] = index[::-1] // (height * width)
    inside = (neighbourhood(regions, np.minimum) == regions) & (neighbourhood(regions, np.maximum) == regions)
    # A foreign neighbour two pixels away still mixes into this region's rim.
    high = neighbourhood(neighbourhood(regions, np.maximum), np.maximum)
    low = np.where(regions == 0, count, regions)
    low = neighbourhood(neighbourhood(low, np.minimum), np.minimum)
    touched = (regions > 0) & ((high != regions) | (low != regions))
    touched[:, [0, -1]] |= regions[:, [0, -1]] > 0
    touched[:, :, [0, -1]] |= regions[:, :, [0, -1]] > 0
    broken = np.bincount(flat[touched.ravel()], minlength=count) > 1

    out: list[list[dict]] = [[] for _ in range(num_frames)]
    core_index = np.flatnonzero(inside.ravel() & (flat > 0))
    order = np.argsort(flat[core_index], kind="stable")
    core_index = core_index[order]
    bounds = np.searchsorted(flat[core_index], np.arange(count + 1))
    pixels = lab.reshape(-1, 3)
    for k in range(1, count):
        if area[k] < 6:
            continue
        core = core_index[bounds[k] : bounds[k + 1]]
        if len(core) == 0:
            core = np.flatnonzero(flat == k)
        out[first[k]].append({
            "region": k,
            "area": float(area[k]),
            "centre": np.array([sums[0][k], sums[1][k]]) / area[k],
            "colour": np.median(pixels[core], axis=0),
            "whole": not broken[k],
        })  # fmt: skip
    return out


def _link_cost(track: Track, seen: dict, frame: int, short: int) -> float:
    """Below 1 when `seen` can be the next sight of `track`; place counts most, then colour, then size."""
    away = min(
        np.linalg.norm(seen["centre"] - track.expected_centre(frame)), np.linalg.norm(seen["centre"] - track.centres[-1])
    )
    colour = np.linalg.norm(seen["colour"] - track.colours[-1])
    size = abs(np.log(seen["area"] / track.areas[-1]))
    return float(away / (0.25 * short) + 0.5 * min(colour / 60, 1.2) + 0.2 * min(size, 2.0))


def _extend(track: Track, frame: int, seen: dict) -> None:
    track.frames.append(frame)
    track.regions.append(seen["region"])
    track.centres.append(seen["centre"])
    track.areas.append(seen["area"])
    track.colours.append(seen["colour"])
    track.whole.append(seen["whole"])
