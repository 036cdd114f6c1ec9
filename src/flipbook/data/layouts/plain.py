"""Folders without a table: name.mp4 + name.txt, videos.txt + prompts.txt, images, folders of frames."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from flipbook.data.clips import Clip, Listing, Media
from flipbook.data.layouts.values import captions
from flipbook.files.images import IMAGE_SUFFIXES, natural

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".gif", ".webp")
STILLS = tuple(sorted(IMAGE_SUFFIXES - set(VIDEO_SUFFIXES)))
LISTS = (("videos.txt", "prompts.txt"), ("videos.txt", "captions.txt"), ("video.txt", "prompt.txt"), ("videos.txt", "prompt.txt"))
NUMBERED = re.compile(r"^(.*?)[_-]?(\d+)$")


def walk(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Files below a folder with one of the suffixes, hidden ones left out, in the order a person would count them."""
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return sorted(found, key=lambda path: natural(str(path.relative_to(folder))))


def list_pairs(folder: Path, files: Sequence[Path], layout: str) -> Listing:
    """Each file by itself, with the words of the .txt of its name."""
    listing = Listing(layout=layout)
    for path in files:
        name = str(path.relative_to(folder))
        listing.clips.append(Clip(Media(str(path)), name, str(path), caption_in(path.with_suffix(".txt")), group=name))
    return listing


def caption_in(text: Path) -> tuple[str, ...]:
    return captions(text.read_text(encoding="utf-8", errors="replace")) if text.is_file() else ()


def find_lists(folder: Path) -> tuple[Path, Path] | None:
    """videos.txt and prompts.txt, if a folder has them."""
    for videos, prompts in LISTS:
        if (folder / videos).is_file() and (folder / prompts).is_file():
            return folder / videos, folder / prompts
    return None


def list_lists(folder: Path, videos: Path, prompts: Path) -> Listing:
    """Line i of one file is the video, of the other its prompt. Raises ValueError if they do not match."""
    names = videos.read_text(encoding="utf-8").splitlines()
    texts = prompts.read_text(encoding="utf-8").splitlines()
    while names and not names[-1].strip():
        names.pop()
    while len(texts) > len(names) and not texts[-1].strip():
        texts.pop()
    if len(names) != len(texts):
        raise ValueError(
            f"{videos} has {len(names)} lines and {prompts.name} {len(texts)}: line i of one belongs to line i of the "
            "other, so from some line on every caption would be wrong."
        )
    clips = [
        Clip(Media(str(folder / name.strip())), name.strip(), f"{videos} line {i}", captions(text), group=name.strip())
        for i, (name, text) in enumerate(zip(names, texts, strict=True), start=1)
        if name.strip()
    ]
    return Listing(f"{videos.name} + {prompts.name}", clips)


def frame_folders(folder: Path, images: Sequence[Path]) -> list[Path] | None:
    """The folders whose images are one numbered sequence, or None if any image stands outside such a folder.

    Images with words of their own are pictures, not frames.
    """
    inside: dict[Path, list[Path]] = {}
    for path in images:
        inside.setdefault(path.parent, []).append(path)
    for members in inside.values():
        parsed = [NUMBERED.match(path.stem) for path in members]
        prefixes = {match.group(1) for match in parsed if match}
        if len(members) < 2 or None in parsed or len(prefixes) > 1 or members[0].with_suffix(".txt").is_file():
            return None
    return sorted(inside, key=lambda path: natural(str(path)))


def list_frame_folders(folder: Path, folders: Sequence[Path]) -> Listing:
    """Sky Time-lapse and its like, `sky_train/<video>/<clip>/*_<index>.jpg`: one clip per folder, one group per video.

    A top folder called train, sky_train, test, val, ... is the split.
    """
    listing = Listing(layout="frame folders")
    for path in folders:
        inside = path.relative_to(folder)
        video = str(inside.parent) if len(inside.parts) > 1 else str(inside)
        if len(inside.parts) == 2 and split_of(inside.parts[0]):
            video = str(inside)
        listing.clips.append(
            Clip(
                Media(str(path)), str(inside), str(path), caption_in(path.with_name(path.name + ".txt")),
                split=split_of(inside.parts[0]) if inside.parts else None, group=video,
            )
        )
    return listing


def split_of(folder_name: str) -> str | None:
    words = re.split(r"[_-]", folder_name.lower())
    return next((s for word in words for s, names in SPLITS.items() if word in names), None)


SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "test")}
