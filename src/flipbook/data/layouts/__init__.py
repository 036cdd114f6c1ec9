"""How sets of clips lie on disk: one adapter per layout, all of them giving a `Listing`.

| layout | what it looks like |
|---|---|
| table | csv, tsv, json, jsonl or parquet that names files, in any common spelling of its columns |
| webvid | a table with videoid, page_dir, name; files in videos/PAGE_DIR/VIDEOID.mp4 |
| lists | videos.txt + prompts.txt, line by line |
| videos | files by themselves, or name.mp4 + name.txt |
| images | pictures by themselves, or name.jpg + name.txt |
| frames | folders of numbered images, one clip each (Sky Time-lapse) |
| ucf101 | CLASS/v_CLASS_gXX_cYY.avi with the official split lists |
| mnist | an npy array uint8 (T, N, H, W) (Moving MNIST) |
| pairs | parquet with jpg_0, jpg_1, label_0 (Pick-a-Pic) |
| shards | tar files of webdataset |
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from flipbook.data.clips import Listing
from flipbook.data.layouts import named, plain, shards, tables

Layout = Literal["table", "webvid", "lists", "videos", "images", "frames", "ucf101", "mnist", "pairs", "shards"]


def list_clips(
    path: str | Path, layout: Layout | None = None, columns: Mapping[str, str] | None = None, fold: int = 1
) -> Listing:
    """All clips of a folder, table, shard or array, in the layout that it has. No video is opened.

    columns: role to column name, where a table's own names are not understood.   fold: which of UCF-101's split lists.
    Raises ValueError: nothing there, no clips in it, a layout that does not fit, or two that could be meant.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path} does not exist. A source is a folder of clips, or a table that names them.")
    listing = _from_file(path, layout, columns) if path.is_file() else _from_folder(path, layout, columns, fold)
    if not listing.clips and not listing.dropped:
        raise ValueError(
            f"{path} lists no clip (read as {listing.layout}). Put {tables.NAMES[0]} there (file_name and caption on each "
            "line), or name.mp4 with name.txt."
        )
    return listing


def _from_file(path: Path, layout: Layout | None, columns: Mapping[str, str] | None) -> Listing:
    suffix = path.suffix.lower()
    if suffix == ".tar":
        return shards.list_shards([path])
    if suffix == ".npy":
        return named.list_moving_mnist(path)
    if suffix == ".parquet" and layout in (None, "pairs") and _holds_pairs(path):
        return named.list_pick_a_pic([path])
    if suffix in tables.SUFFIXES:
        first = next((record for record, _, _ in tables.read_records(path) if record), {})
        if layout == "webvid" or (layout is None and not columns and named.is_webvid(list(first))):
            return named.list_webvid(path)
        return tables.list_table(path, columns)
    if suffix in plain.VIDEO_SUFFIXES or suffix in plain.STILLS:
        return plain.list_pairs(path.parent, [path], "one file")
    raise ValueError(f"{path}: neither a folder of clips nor a table ({', '.join(tables.SUFFIXES)}) nor a shard (.tar).")


def _holds_pairs(path: Path) -> bool:
    try:
        return named.is_pick_a_pic(path)
    except (ImportError, OSError, ValueError):
        return False  # the table reader names what is missing or wrong


def _from_folder(folder: Path, layout: Layout | None, columns: Mapping[str, str] | None, fold: int) -> Listing:
    if layout is not None and layout not in get_args(Layout):
        raise ValueError(f"layout={layout!r} is not known. Known: {', '.join(get_args(Layout))}.")
    if layout in (None, "lists") and (lists := plain.find_lists(folder)):
        return plain.list_lists(folder, *lists)
    if layout in (None, "table", "webvid") and (table := tables.find_table(folder)):
        return _from_file(table, layout, columns)
    if layout in (None, "shards") and (tars := sorted(folder.glob("*.tar"))):
        return shards.list_shards(tars)
    if layout in (None, "pairs") and (cells := [p for p in sorted(folder.rglob("*.parquet")) if _holds_pairs(p)]):
        return named.list_pick_a_pic(cells)
    if layout in (None, "mnist") and (arrays := sorted(folder.glob("*.npy"))):
        if len(arrays) > 1:
            raise ValueError(f"{folder}: {', '.join(p.name for p in arrays)} could all be the clips. Give the path of one.")
        return named.list_moving_mnist(arrays[0])
    if layout in (None, "videos", "ucf101") and (videos := plain.walk(folder, plain.VIDEO_SUFFIXES)):
        if layout == "ucf101" or (layout is None and named.is_ucf101(videos)):
            return named.list_ucf101(folder, [v for v in videos if named.UCF_FILE.fullmatch(v.name)], fold)
        return plain.list_pairs(folder, videos, "videos")
    if layout in (None, "images", "frames") and (images := plain.walk(folder, plain.STILLS)):
        folders = plain.frame_folders(folder, images)
        if layout == "frames" or (layout is None and folders is not None):
            return plain.list_frame_folders(folder, folders or sorted({p.parent for p in images}))
        return plain.list_pairs(folder, images, "images")
    return Listing(layout or "a folder without clips")
