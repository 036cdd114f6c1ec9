"""The recipe of a generated video: inside the file as a comment, and beside it as NAME.json.

Both hold the JSON object {"flipbook_recipe": {...}}, so that a foreign comment or NAME.json is never taken for ours.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from flipbook.files.check import kind_of
from flipbook.files.errors import VideoError
from flipbook.files.temporary import written_whole

MARK = "flipbook_recipe"
DESCRIPTION_TAG = 0x010E  # EXIF ImageDescription, where webp carries text


def pack(recipe: dict[str, Any] | None) -> str | None:
    """The text that goes into a file. Raises VideoError for values that JSON does not know."""
    if recipe is None:
        return None
    try:
        return json.dumps({MARK: recipe}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise VideoError(f"the recipe is not JSON ({error}): use numbers, strings, lists, dicts, booleans.") from None


def unpack(text: str | bytes | None) -> dict[str, Any] | None:
    """The recipe in a comment, or None if the comment is not one."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    if not text or MARK not in text:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    recipe = found.get(MARK) if isinstance(found, dict) else None
    return recipe if isinstance(recipe, dict) else None


def read_recipe(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The recipe stored inside a file or folder, or else in the NAME.json beside it; None if there is none.

    A path to a .json file is read as such a sidecar. Raises VideoError for a file that is missing or broken.
    """
    path = Path(path)
    if path.suffix == ".json":
        return unpack(path.read_text()) if path.is_file() else None
    return unpack(comment_of(path)) or (unpack(side.read_text()) if (side := sidecar_of(path)).is_file() else None)


def comment_of(path: Path) -> str | bytes | None:
    kind = kind_of(path)
    if kind == "folder":
        return (path / "video.json").read_text() if (path / "video.json").is_file() else None
    if kind == "image":
        from flipbook.files.images import open_image

        with open_image(path) as image:
            exif = image.getexif().get(DESCRIPTION_TAG) if image.format == "WEBP" else None
            return exif or image.info.get("comment") or image.info.get("Comment")
    import av

    try:
        with av.open(f"file:{path}", metadata_errors="replace") as file:
            tags = {key.lower(): value for key, value in file.metadata.items()}
    except av.error.FFmpegError:
        return None
    return tags.get("comment")


def sidecar_of(path: Path) -> Path:
    return path.with_suffix(".json")


def refuse_foreign_sidecar(path: Path) -> None:
    """Never overwrite a NAME.json that somebody else wrote."""
    side = sidecar_of(path)
    if side.is_file() and not is_ours(side):
        raise VideoError(f"{side} is not a recipe and would be overwritten. Try another name or sidecar=False.")


def remove_own_sidecar(path: Path) -> None:
    side = sidecar_of(path)
    if side.is_file() and is_ours(side):
        side.unlink()


def is_ours(side: Path) -> bool:
    return unpack(side.read_text(errors="replace")) is not None


def write_sidecar(path: Path, recipe: dict[str, Any]) -> Path:
    side = sidecar_of(path)
    with written_whole(side) as temporary:
        temporary.write_text(json.dumps({MARK: recipe}, indent=2, allow_nan=False) + "\n")
    return side
