"""Objects through time: regions of one colour in each frame, linked from frame to frame by place, size and colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flipbook.metrics.truth.background import Background
from flipbook.metrics.truth.colour import distance_to_segment, nearest_colour
from flipbook.metrics.truth.regions import grow_labels, join_numbers, label_regions, neighbourhood, touching_pairs

SURE_DISTANCE = 24.0      # CIELAB: whatever is this far from the background is something
FAINT_DISTANCE = 9.0      # CIELAB: from here on it is something if it is nearer to an object's colour
MIN_AREA = 0.006          # of S * S: about a third of the smallest shape; smaller specks are not objects
PRESENT_SHARE = 0.04      # of all object pixels: a colour seen less is the rim of another one
ALIKE = 20.0              # CIELAB: touching regions closer than this in colour are one; red and orange are 37 apart
GAP = 5                   # frames for which an object may be hidden and still be the same one
REACH = 0.25              # of S: the furthest jump from where something should be by now
FASTEST = 0.35            # of S per frame: what bounces highest and soonest hits the floor at 0.30
CROSSING = 5              # frames: for fewer an object may show its old and its new colour side by side
MEETING_PLACE = 0.10      # of S: a sight this close to where another one ended goes on with it, whatever its colour


@dataclass(frozen=True)
class Sight:
    """One object in one frame. `centre` (x, y) and `area` in pixels, `lab` (3,) the median of its inner pixels."""

    frame: int
    region: int                # its number in the region map
    centre: np.ndarray
    area: float
    lab: np.ndarray
    touching: int              # pixels at the border or within two pixels of another object: part of it may be hidden


Track = list[Sight]


def find_tracks(lab: np.ndarray, background: Background) -> tuple[list[Track], np.ndarray]:
    """Link the regions of a CIELAB clip (T, H, W, 3) into objects, those seen longest first.

    Also returns the region map (T, H, W) of `find_regions`.
    """
    regions = find_regions(lab, background)
    short = min(regions.shape[1:])
    tracks: list[Track] = []
    for sights in measure_regions(lab, regions):
        clear = [sight for sight in sights if sight.area >= MIN_AREA * short**2]
        costs = sorted((_cost(track, s, short), i, j) for i, track in enumerate(tracks) for j, s in enumerate(clear))
        linked: dict[int, int] = {}                                        # sight -> track, the cheapest pairs first
        for cost, i, j in costs:
            if cost < 1 and j not in linked and i not in linked.values():
                linked[j] = i
        for j, sight in enumerate(clear):
            if j in linked:
                tracks[linked[j]].append(sight)
            else:
                tracks.append([sight])
    tracks = _join_fragments(tracks, short)
    return sorted(tracks, key=lambda track: (-len(track), -sum(sight.area for sight in track))), regions


def find_regions(lab: np.ndarray, background: Background) -> np.ndarray:
    """Split a CIELAB clip (T, H, W, 3) into regions of one object each: their numbers (T, H, W), 0 = background."""
    from_background = distance_to_segment(lab, *background.lab)
    colour, to_colour = nearest_colour(lab)
    something = (from_background > SURE_DISTANCE) | (
        (from_background > FAINT_DISTANCE) & (to_colour < from_background)
    )
    # Rims are mixtures and take any colour's name, so only pixels whose neighbours all agree may found a region ...
    label = np.where(something, colour + 1, 0).astype(np.int16)
    counts = np.bincount(label[_agree(label)], minlength=8)
    present = counts > PRESENT_SHARE * max(counts[1:].sum(), 1)
    label = grow_labels(np.where(present[label], label, 0), something, 4)  # absent names give way to their neighbours
    regions = label_regions(np.where(_agree(label), label, 0))
    count = np.bincount(regions.ravel())
    total = np.stack([np.bincount(regions.ravel(), lab[..., c].ravel()) for c in range(3)], 1)
    thick = np.bincount(regions[_agree(regions)], minlength=len(count)) > 0
    regions = grow_labels(regions, something, 3)                           # ... and rims go to the region beside them.
    return _join_regions(regions, total / np.maximum(count, 1)[:, None], thick)


def _join_regions(regions: np.ndarray, mean: np.ndarray, thick: np.ndarray) -> np.ndarray:
    """Join touching regions that a person would not tell apart. mean: (N, 3) their CIELAB colours.   thick: (N,)."""
    first, second = touching_pairs(regions)
    alike = np.linalg.norm(mean[first] - mean[second], axis=1) < ALIKE     # half-way between two names colours crumble
    group = join_numbers(len(mean), first[alike], second[alike])
    thick = np.bincount(group, weights=thick) > 0
    # What is thin everywhere is the blurred edge of something else: of one other only, even if it touches two.
    first, second = group[first], group[second]
    rim = np.flatnonzero(~thick[first] & thick[second])
    rim = rim[np.unique(first[rim], return_index=True)[1]]
    group[first[rim]] = second[rim]
    return group[group][regions]


def _agree(label: np.ndarray) -> np.ndarray:
    """Pixels whose 3 x 3 neighbourhood carries one and the same non-zero label."""
    return (label > 0) & (neighbourhood(label, np.minimum) == neighbourhood(label, np.maximum))


def measure_regions(lab: np.ndarray, regions: np.ndarray) -> list[list[Sight]]:
    """Every region of the map (T, H, W) as a `Sight`, listed by frame."""
    num_frames, height, width = regions.shape
    number = int(regions.max()) + 1
    high, low = regions, np.where(regions == 0, number, regions)
    inner = (neighbourhood(regions, np.minimum) == regions) & (neighbourhood(regions, np.maximum) == regions)
    for _ in range(2):                         # a stranger two pixels away still mixes into the rim
        high, low = neighbourhood(high, np.maximum), neighbourhood(low, np.minimum)
    touched = (high != regions) | (low != regions)
    touched[:, [0, -1]] = touched[:, :, [0, -1]] = True

    order = np.argsort(regions, axis=None, kind="stable")                  # pixels, region by region
    starts = np.searchsorted(regions.ravel()[order], np.arange(number + 1))
    lab, inner, touched = lab.reshape(-1, 3), inner.ravel(), touched.ravel()
    sights: list[list[Sight]] = [[] for _ in range(num_frames)]
    for region in range(1, number):
        pixels = order[starts[region] : starts[region + 1]]
        if len(pixels) == 0:
            continue
        frame, place = divmod(pixels, height * width)
        y, x = divmod(place, width)
        core = pixels[inner[pixels]] if inner[pixels].any() else pixels
        sights[frame[0]].append(
            Sight(
                frame=int(frame[0]),
                region=region,
                centre=np.array([x.mean(), y.mean()]),
                area=float(len(pixels)),
                lab=np.median(lab[core], axis=0),
                touching=int(np.count_nonzero(touched[pixels])),
            )
        )
    return sights


def _cost(track: Track, sight: Sight, short: int) -> float:
    """Below 1 when `sight` can be the next one of `track`; place counts most, then colour, then size."""
    last = track[-1]
    pause = sight.frame - last.frame
    if pause > GAP:
        return np.inf
    away = float(np.linalg.norm(sight.centre - last.centre))
    if len(track) > 1:                                                     # or from where it should be by now
        step = (last.centre - track[-2].centre) / (last.frame - track[-2].frame)
        away = min(away, float(np.linalg.norm(sight.centre - last.centre - step * min(pause, 2))))
    colour = float(np.linalg.norm(sight.lab - last.lab))
    size = abs(float(np.log(sight.area / last.area)))
    return float(away / (REACH * short) + 0.5 * min(colour / 60, 1.2) + 0.2 * min(size, 2.0))


def _join_fragments(tracks: list[Track], short: int) -> list[Track]:
    """Join tracks that end where and when another one begins: a colour that changed, an object that came out again."""
    joined: list[Track] = []
    for track in sorted(tracks, key=lambda track: track[0].frame):
        earlier = next((e for e in joined if _goes_on(e, track, short)), None)
        if earlier is None:
            joined.append(track)
        else:
            before, after = _apart(earlier, track)
            earlier[:] = before + after
    return joined


def _goes_on(earlier: Track, track: Track, short: int) -> bool:
    """Whether `track` is the same object as `earlier`, seen again, in its old or in another colour.

    A colour may come in from one side: for some frames there are two regions, neither of them the object. Then the sights
    before and after count. The outermost of those may be parts of it too, so the next ones do as well.
    """
    if not -CROSSING < track[0].frame - earlier[-1].frame <= GAP:
        return False
    before, after = _apart(earlier, track)
    if len(before) < 2 or len(after) < 2:
        return False
    away = min(float(np.linalg.norm(after[i].centre - before[-1 - i].centre)) for i in (0, 1)) / short
    same_colour = np.linalg.norm(after[1].lab - before[-2].lab) < ALIKE
    old, new = (np.array([sight.area for sight in t]) for t in (before, after))
    # It may have grown, or half of it was hidden when it went and came: nearby or usual sizes agree.
    same_size = min(abs(np.log(new[1] / old[-2])), abs(np.log(np.median(new) / np.median(old)))) < 0.7
    return bool(same_size and away < (FASTEST if same_colour else MEETING_PLACE))


def _apart(earlier: Track, track: Track) -> tuple[Track, Track]:
    """The sights of either track outside the frames that belong to both."""
    start, end = track[0].frame, earlier[-1].frame
    return [sight for sight in earlier if sight.frame < start], [sight for sight in track if sight.frame > end]
