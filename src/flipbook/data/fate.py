"""What becomes of each clip. Training and `flipbook data plan` both ask here, so that the plan is what happens."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flipbook.data.buckets import Bucket, Buckets, NoBucket
from flipbook.data.clips import Clip, Dropped, Listing, Media
from flipbook.data.framing import Framing
from flipbook.data.media import stamp
from flipbook.data.options import FolderOptions, Side, asked_for, sides
from flipbook.data.survey import Broken, Facts, look_at_all
from flipbook.data.window import Window
from flipbook.files.errors import MissingVideo
from flipbook.files.select import frame_times

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Fate:
    """A clip that is kept (`rule` empty), with its window, its bucket and what happens to it; or the rule that drops it.

    changes: of "cut", "retimed", "cropped", "scaled down", "scaled up", "unseen" (kept on a table's word).
    """

    name: str
    where: str
    side: Side = ""
    rule: str = ""
    reason: str = ""
    changes: tuple[str, ...] = ()
    bucket: Bucket | None = None
    window: Window | None = None
    clip: Clip | None = None
    facts: Facts | None = None


_SEEN: dict[tuple[Media, tuple[int, ...], str, bool], Facts | Broken] = {}


def fates(
    listing: Listing,
    options: FolderOptions,
    framing: Framing,
    buckets: Buckets | None = None,
    *,
    declared: bool = False,
    thumbnail: bool = False,
    on_progress: Progress | None = None,
) -> list[Fate]:
    """The fate of every row, in the table's order, rows that are no clips last.

    declared: believe what the table says and open nothing.   thumbnail: have `facts` hold one.
    """
    clips = listing.clips
    places = iter(sides([c for c in clips if asked_for(c, options)], options))
    side_of = [next(places) if asked_for(c, options) else None for c in clips]
    used = [clip for clip, side in zip(clips, side_of, strict=True) if side]
    seen = glance(used) if declared else survey(used, options, thumbnail=thumbnail, on_progress=on_progress)
    found = []
    for clip, side in zip(clips, side_of, strict=True):
        if side is None:
            wanted = [f"{where} {text!r}" for where, text in (("name", options.filter), ("caption", options.caption_filter)) if text]
            found.append(drop(clip, "", "filter", f"asked for {' and '.join(wanted)}"))
        elif not side:
            found.append(drop(clip, "", "other split", f'split "{clip.split}", and "{options.split}" trains'))
        else:
            found.append(decide(clip, side, seen[clip.media], options, framing, buckets, seen.get(clip.rival or clip.media)))
    return found + [unreadable(dropped) for dropped in listing.dropped]


def decide(
    clip: Clip,
    side: Side,
    seen: Facts | Broken | None,
    options: FolderOptions,
    framing: Framing,
    buckets: Buckets | None,
    rival: Facts | Broken | None = None,
) -> Fate:
    """The fate of one clip whose file is known to be so. seen: None where nobody looked and no table tells."""
    if isinstance(seen, Broken):
        return drop(clip, side, seen.rule, seen.reason)
    if isinstance(rival, Broken):
        return drop(clip, side, rival.rule, f"the other picture of the pair: {rival.reason}")
    if seen is None:
        return Fate(clip.name, clip.where, side, changes=("unseen",), clip=clip)
    window = window_of(clip, seen, options, rival)
    if isinstance(window, str):
        return drop(clip, side, "window", window, seen)
    length = window.length()
    if buckets is not None:
        bucket = buckets.choose(length, window.height, window.width, framing.frame_stride, clip.name, window.start)
        if isinstance(bucket, NoBucket):
            return drop(clip, side, bucket.rule, bucket.reason, seen)
    else:
        bucket = Bucket(framing.num_frames, framing.height, framing.width)
        if length < framing.span:
            at = f" at {window.shown_fps():g} fps" if window.retimed else f" at stride {options.stride}"
            return drop(
                clip, side, "too short", f"the window has {window.num_frames} frames, {length}{at}, but a sample spans "
                f"{framing.span}. Try a smaller num_frames, frame_stride or stride", seen,
            )  # fmt: skip
    upscale = max(bucket.height / window.height, bucket.width / window.width)
    if buckets is None and options.max_upscale is not None and upscale > options.max_upscale:
        reason = f"{window.width}x{window.height} would be enlarged {upscale:.2f} times (max_upscale={options.max_upscale:g})"
        return drop(clip, side, "too small", reason, seen)
    span = (bucket.num_frames - 1) * framing.frame_stride + 1
    aspect = window.width / window.height / (bucket.width / bucket.height)
    changes = (
        "cut" if length > span else "", "retimed" if window.retimed else "",
        "cropped" if abs(aspect - 1) > 0.005 or options.min_scale < 1 else "",
        "scaled up" if upscale > 1 else "scaled down" if upscale < 1 else "", "unseen" if not seen.codec else "",
    )  # fmt: skip
    return Fate(
        clip.name, clip.where, side, changes=tuple(c for c in changes if c), bucket=bucket, window=window, clip=clip, facts=seen
    )


def window_of(clip: Clip, facts: Facts, options: FolderOptions, rival: Facts | None = None) -> Window | str:
    """The part of the file that the row means, or why there is none."""
    times = frame_times(facts.num_frames, facts.fps, None if facts.times is None else np.asarray(facts.times))
    first, last = clip.start_frame, facts.num_frames
    if clip.start is not None:
        first = int(np.searchsorted(times, clip.start - 1e-6))
    if clip.num_frames is not None:
        last = first + clip.num_frames
    elif clip.end is not None:
        if clip.end > facts.end + 1 / facts.fps:
            return f"the window ends at {clip.end:g} s, {clip.name} at {facts.end:.3f} s"
        last = int(np.searchsorted(times, clip.end - 1e-6))
    if not first < last <= facts.num_frames:
        return (
            f"the window of {last - first} frames from frame {first} does not lie within {clip.name}, which has "
            f"{facts.num_frames}"
        )
    varies, count = facts.times is not None and clip.fps is None, last - first
    fps = clip.fps or facts.fps
    end = (facts.end if last == facts.num_frames else float(times[last])) - float(times[first]) if varies else count / fps
    return Window(
        clip.media, clip, first, count, fps, facts.height, facts.width, end, options.fps, options.stride,
        tuple((times[first:last] - times[first]).tolist()) if varies else None,
        (rival.height, rival.width) if clip.rival is not None and rival is not None else None,
    )  # fmt: skip


def survey(
    clips: Sequence[Clip], options: FolderOptions, *, thumbnail: bool = False,
    on_progress: Progress | None = None,
) -> dict[Media, Facts | Broken | None]:  # fmt: skip
    """Look at each file once, in processes that may be killed. What did not change since is remembered."""
    medias = dict.fromkeys(m for clip in clips for m in (clip.media, clip.rival) if m is not None)
    found: dict[Media, Facts | Broken | None] = {}
    keys = {}
    for media in medias:
        try:
            keys[media] = media, stamp(media), options.check, thumbnail
        except MissingVideo as error:
            found[media] = Broken("missing", str(error))
    unknown = [media for media, key in keys.items() if key not in _SEEN]
    looked = look_at_all(
        unknown, options.check, thumbnail=thumbnail, time_limit=options.time_limit, on_progress=on_progress
    )
    _SEEN.update(zip((keys[media] for media in unknown), looked, strict=True))
    return found | {media: _SEEN[key] for media, key in keys.items()}


def glance(clips: Sequence[Clip]) -> dict[Media, Facts | Broken | None]:
    """What tables claim of files that exist and are not empty."""
    found: dict[Media, Facts | Broken | None] = {}
    for clip in clips:
        claim, media = clip.declared, clip.media
        found[media] = None
        try:
            if os.stat(media.path).st_size == 0 and not Path(media.path).is_dir():
                found[media] = Broken("empty", f"{media.path}: the file has zero bytes")
                continue
        except OSError as error:
            found[media] = Broken("missing", f"{media.path}: there is no such file or folder ({error.strerror})")
            continue
        fps = claim.fps or 0.0
        count = claim.num_frames or (round(claim.seconds * fps) if claim.seconds and fps else 0)
        if count and fps and claim.height and claim.width:
            found[media] = Facts(count, fps, claim.height, claim.width, count / fps)
    return found


def drop(clip: Clip, side: Side, rule: str, reason: str, facts: Facts | None = None) -> Fate:
    return Fate(clip.name, clip.where, side, rule, reason, clip=clip, facts=facts)


def unreadable(dropped: Dropped) -> Fate:
    return Fate(dropped.name, dropped.where, "", dropped.rule, dropped.reason)


def kept(all_fates: Sequence[Fate], side: Side) -> list[Fate]:
    """Those that are kept for training or for validation."""
    return [fate for fate in all_fates if not fate.rule and fate.side in (side, "both")]


def tally(all_fates: Sequence[Fate]) -> dict[str, int]:
    """How many each rule drops, most first."""
    counts: dict[str, int] = {}
    for fate in all_fates:
        if fate.rule:
            counts[fate.rule] = counts.get(fate.rule, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def nothing_left(source: Path, all_fates: Sequence[Fate]) -> str:
    """The error for a source none of whose clips can be used: the rule that dropped most, and its first case."""
    counts = tally(all_fates)
    rule = next(iter(counts))
    first = next(fate for fate in all_fates if fate.rule == rule)
    every = ", ".join(f"{name} {count}" for name, count in counts.items())
    return (
        f"{source}: none of the {len(all_fates)} clips is left to train on. The rule that dropped most is {rule!r} "
        f"({every}); the first: {first.where}: {first.reason}. `flipbook data plan` lists them all."
    )
