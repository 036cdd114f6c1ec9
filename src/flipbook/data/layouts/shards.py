"""webdataset tar shards: members that share a name up to the first dot are one sample.

Read by position with the standard library: an index of the members makes any sample a seek away, which streaming readers
give up, and with it goes exact resume in mid-epoch.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flipbook.data.clips import Clip, Declared, Dropped, Listing, Media
from flipbook.data.layouts.columns import plain
from flipbook.data.layouts.plain import STILLS, VIDEO_SUFFIXES
from flipbook.data.layouts.tables import split_name
from flipbook.data.layouts.values import BadValue, captions, number, whole

PICTURES = tuple(suffix[1:] for suffix in (*VIDEO_SUFFIXES, *STILLS))


def list_shards(paths: Sequence[Path]) -> Listing:
    """All samples of the shards. A shard that ends early gives what it has, and is listed."""
    listing = Listing("webdataset shards")
    for path in paths:
        members: dict[str, dict[str, tarfile.TarInfo]] = {}
        try:
            with tarfile.open(path, "r:") as tar:
                read_index(tar, members)
        except (tarfile.TarError, OSError, EOFError) as error:
            hint = "Unpack compressed shards first." if not members else "Copy it again."
            listing.dropped.append(Dropped(path.name, str(path), "damaged", f"the shard ends or breaks ({error}). {hint}"))
        size = path.stat().st_size
        with path.open("rb") as file:
            for key, parts in members.items():
                name = f"{path.name}:{key}"
                media = [ext for ext in parts if ext.rsplit(".", 1)[-1] in PICTURES]
                if len(media) != 1:
                    found = ", ".join(parts)
                    listing.dropped.append(Dropped(name, str(path), "bad row", f"one video or image is wanted, found {found}"))
                    continue
                info = parts[media[0]]
                if info.offset_data + info.size > size:
                    listing.dropped.append(Dropped(name, str(path), "truncated", "the shard ends inside this member"))
                    continue
                try:
                    listing.clips.append(clip_of(path, name, info, words_of(file, parts)))
                except (BadValue, ValueError) as error:
                    listing.dropped.append(Dropped(name, str(path), "bad row", str(error)))
    return listing


def read_index(tar: tarfile.TarFile, members: dict[str, dict[str, tarfile.TarInfo]]) -> None:
    """Fill `members`: key to extension to member, in the order of the shard."""
    for info in tar:
        folder, _, base = info.name.rpartition("/")
        if not info.isfile() or base.startswith("."):
            continue
        stem, _, extension = base.partition(".")
        members.setdefault(f"{folder}/{stem}" if folder else stem, {})[extension.lower()] = info


def words_of(file: Any, parts: Mapping[str, tarfile.TarInfo]) -> dict[str, Any]:
    """The sample's json with plain keys, and its txt as the caption."""

    def content(extension: str) -> str:
        file.seek(parts[extension].offset_data)
        return file.read(parts[extension].size).decode("utf-8", errors="replace")

    facts: dict[str, Any] = {}
    if "json" in parts:
        tree = json.loads(content("json"))
        facts = {plain(key): value for key, value in tree.items()} if isinstance(tree, dict) else {}
    for extension in ("txt", "caption", "text"):
        if extension in parts:
            facts["caption"] = content(extension)
    return facts


def clip_of(path: Path, name: str, info: tarfile.TarInfo, facts: Mapping[str, Any]) -> Clip:
    part = info.name.rsplit("/", 1)[-1]
    text = next((facts[key] for key in ("caption", "text", "prompt") if facts.get(key)), None)
    fps = number(facts.get("fps"), "fps", low=0, strict=True)
    return Clip(
        Media(str(path), "tar", part, info.offset_data, info.size), name, f"{path}: {info.name}", captions(text), fps=fps,
        split=split_name(facts.get("split")), group=str(facts.get("video_id") or facts.get("videoid") or name),
        declared=Declared(
            whole(facts.get("num_frames"), "num_frames", low=0), fps,
            whole(facts.get("height"), "height", low=1), whole(facts.get("width"), "width", low=1),
            number(facts.get("duration"), "duration", low=0),
        ),
    )  # fmt: skip
