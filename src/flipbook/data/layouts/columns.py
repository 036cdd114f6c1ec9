"""Which column of a table holds what: the spellings that people use, and a refusal to guess between two."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SPELLINGS: dict[str, tuple[str, ...]] = {
    "file": (
        "file_name", "filename", "file", "file_path", "filepath", "path", "video", "video_path", "videopath",
        "video_file", "video_name", "clip_path", "clip", "media", "media_path", "image", "image_path", "image_file", "mp4",
    ),
    "caption": ("caption", "captions", "text", "texts", "prompt", "prompts", "description", "sentence", "txt"),
    "start_frame": ("start_frame", "frame_start", "first_frame", "begin_frame"),
    "end_frame": ("end_frame", "frame_end", "stop_frame"),
    "num_frames": ("num_frames", "n_frames", "clip_frames", "window_frames"),
    "start": ("start", "start_time", "start_s", "start_sec", "start_seconds", "time_start", "begin", "begin_time"),
    "end": ("end", "end_time", "end_s", "end_sec", "end_seconds", "time_end", "stop", "stop_time"),
    "fps": ("fps", "frame_rate", "framerate", "frames_per_second"),
    "split": ("split", "partition"),
    "group": ("group", "source_video", "video_id", "videoid", "youtube_id", "source_id"),
    "height": ("height", "h"),
    "width": ("width", "w"),
    "seconds": ("duration", "seconds", "duration_s", "duration_sec", "length_s"),
    "total_frames": ("frame", "frames", "total_frames", "frame_count", "framecount"),
}  # fmt: skip
"""Role to spellings, compared without case, spaces and dashes. `frames` and `duration` claim the whole file's length."""

EITHER = "name"
"""A file or a caption, whichever the table does not have otherwise (WebVid's captions are called `name`)."""


def resolve(names: Iterable[str], given: Mapping[str, str] | None = None, table: str = "the table") -> dict[str, str]:
    """Role to column name. given: roles that the user assigned.

    Raises ValueError, listing all columns: two of them could be the file or the caption, or none can be the file.
    """
    names, given = [n for n in names if n is not None], dict(given or {})
    for role, name in given.items():
        if role not in SPELLINGS:
            raise ValueError(f"columns: {role!r} is no role. Known: {', '.join(SPELLINGS)}.")
        if name not in names:
            raise ValueError(f"columns: {table} has no column {name!r} for {role}. It has {', '.join(names) or 'none'}.")
    taken = set(given.values())
    roles = dict(given)
    for role, spellings in SPELLINGS.items():
        found = [n for n in names if plain(n) in spellings and n not in taken]
        if role in roles or not found:
            continue
        if len(found) > 1:
            chosen = [n for n in found if plain(n) == spellings[0]] if role == "file" else []
            if len(chosen) != 1:  # file_name is a standard; any other pair is a guess
                raise ValueError(
                    f"{table}: {' and '.join(found)} could all be the {role}. Say which: columns={{{role}: {found[0]}}} "
                    f"in a recipe, --column {role}={found[0]} for a plan. Columns there: {', '.join(names)}."
                )
            found = chosen
        roles[role] = found[0]
        taken.add(found[0])
    either = next((n for n in names if plain(n) == EITHER and n not in taken), None)
    if either is not None and ("file" in roles) != ("caption" in roles):
        roles["caption" if "file" in roles else "file"] = either
    if "file" not in roles:
        raise ValueError(
            f"{table}: no column says which file. Columns there: {', '.join(names) or 'none'}. Known spellings: "
            f"{', '.join(SPELLINGS['file'])}; or say columns={{file: NAME}} (--column file=NAME for a plan)."
        )
    return roles


def plain(name: str) -> str:
    """`Video Path` and `video-path` to video_path."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")
