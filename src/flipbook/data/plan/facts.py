"""A plan in numbers: what is kept, how it is changed, what is dropped, how much there is, in which buckets."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from flipbook.data.clips import Media
from flipbook.data.fate import Fate, kept, tally
from flipbook.data.media import content_hash
from flipbook.data.plan.build import Plan


def summary(plan: Plan) -> dict[str, Any]:
    """JSON-able numbers of a plan, and every clip."""
    fates = plan.fates
    used = [fate for fate in fates if not fate.rule]
    return {
        "sources": [
            {
                "path": str(source.options.folder),
                "read_as": source.layout,
                "notes": source.notes,
                "files": "opened" if source.looked else "not opened: existence and the table's own columns only",
                "clips": len(source.fates),
            }
            for source in plan.sources
        ],
        "clips": len(fates),
        "train": len(kept(fates, "train")),
        "validation": len(kept(fates, "val")),
        "dropped": len(fates) - len(used),
        "rules": tally(fates),
        "changes": dict(Counter(change for fate in used for change in fate.changes).most_common()),
        "unchanged": sum(not fate.changes for fate in used),
        "buckets": buckets(used, plan.framing.frame_stride),
        "hours": {"kept": hours(used), "dropped": hours(f for f in fates if f.rule)},
        "duplicates": duplicates(fates, {f.clip.media for s in plan.sources if s.looked for f in s.fates if f.clip and not f.rule}),
        "captions": captions(used),
        "seconds": round(plan.seconds, 2),
        "error": plan.error,
        "every_clip": [record(fate) for fate in fates],
    }


def record(fate: Fate) -> dict[str, Any]:
    """One clip as a row."""
    return {
        "name": fate.name,
        "where": fate.where,
        "fate": fate_word(fate),
        "rule": fate.rule or None,
        "reason": fate.reason or None,
        "changes": list(fate.changes),
        "bucket": list(fate.bucket) if fate.bucket else None,
        "frames": fate.window.length() if fate.window else None,
        "fps": round(fate.window.shown_fps(), 4) if fate.window else None,
    }


def fate_word(fate: Fate) -> str:
    return "dropped" if fate.rule else {"train": "train", "val": "validation", "both": "train and validation"}[fate.side]


def buckets(used: Iterable[Fate], frame_stride: int) -> list[dict[str, Any]]:
    """Clips per shape and rate, the fullest first."""
    counts = Counter(
        (fate.bucket, round(fate.window.shown_fps() / frame_stride, 2)) for fate in used if fate.bucket and fate.window
    )
    return [
        {"num_frames": b.num_frames, "height": b.height, "width": b.width, "fps": fps, "clips": count}
        for (b, fps), count in counts.most_common()
    ]


def hours(some: Iterable[Fate]) -> float:
    """Of the windows, or of the whole files where there is no window; what nobody opened and no table tells counts 0."""
    seconds = 0.0
    for fate in some:
        if fate.window is not None:
            seconds += fate.window.end
        elif fate.facts is not None:
            seconds += fate.facts.end
        elif fate.clip is not None and fate.clip.declared.seconds:
            seconds += fate.clip.declared.seconds
    return round(seconds / 3600, 6)


def captions(used: Sequence[Fate]) -> dict[str, Any]:
    """Lengths in words, and how many sentences there are."""
    sentences = [text for fate in used if fate.clip for text in fate.clip.captions]
    lengths = sorted(len(text.split()) for text in sentences)
    facts: dict[str, Any] = {
        "clips_without": sum(not fate.clip.captions for fate in used if fate.clip),
        "sentences": len(sentences),
        "different": len(set(sentences)),
        "different_words": len({word for text in sentences for word in text.lower().split()}),
    }
    if lengths:
        facts["words"] = {
            "least": lengths[0], "median": statistics.median(lengths), "mean": round(statistics.fmean(lengths), 2),
            "most": lengths[-1],
        }  # fmt: skip
        common, count = Counter(sentences).most_common(1)[0]
        facts["commonest"] = {"text": common, "times": count}
    return facts


def duplicates(fates: Sequence[Fate], opened: Iterable[Media]) -> list[list[str]]:
    """Clips of the same window of the same bytes, in groups of names. Files that were not opened are told by path."""
    groups: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    content = same_bytes(opened)
    for fate in fates:
        clip = fate.clip
        if clip is not None and not fate.rule:
            window = clip.start_frame, clip.num_frames, clip.start, clip.end
            groups[(content.get(clip.media, clip.media), *window)].append(fate.name)
    return [names for names in groups.values() if len(names) > 1]


def same_bytes(medias: Iterable[Media]) -> dict[Media, str]:
    """Hashes of those media whose size another one has too; the others are alone anyway."""
    sizes: dict[int, list[Media]] = defaultdict(list)
    for media in dict.fromkeys(medias):
        path = Path(media.path)
        if media.kind == "tar":
            sizes[media.length].append(media)
        elif media.kind == "file" and path.is_file():
            sizes[path.stat().st_size].append(media)
    return {media: content_hash(media) for group in sizes.values() if len(group) > 1 for media in group}
