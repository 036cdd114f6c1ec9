"""Published sets in their own layout: WebVid-10M, UCF-101, Moving MNIST, Pick-a-Pic v2."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flipbook.data.clips import Clip, Declared, Dropped, Listing, Media
from flipbook.data.layouts.columns import plain
from flipbook.data.layouts.tables import parquet_batches, read_records
from flipbook.data.layouts.values import BadValue, captions, seconds

WEBVID_COLUMNS = {"videoid", "page_dir", "name"}
UCF_FILE = re.compile(r"v_(\w+)_g(\d+)_c(\d+)\.avi")
PICK_COLUMNS = {"caption", "jpg_0", "jpg_1", "label_0", "label_1"}


# --- WebVid-10M: videoid, contentUrl, duration, page_dir, name; videos/<page_dir>/<videoid>.mp4 -----------------------


def is_webvid(names: Sequence[str]) -> bool:
    return {plain(n) for n in names} >= WEBVID_COLUMNS


def list_webvid(table: Path) -> Listing:
    """The caption is the column `name`."""
    root = next((p for p in (table.parent / "videos", table.parent / "data" / "videos") if p.is_dir()), table.parent / "videos")
    listing = Listing("WebVid", notes=[f"files are looked for in {root}/PAGE_DIR/VIDEOID.mp4"])
    for record, where, problem in read_records(table):
        row = {plain(key): value for key, value in (record or {}).items()}
        name = f"{row.get('page_dir')}/{row.get('videoid')}.mp4"
        if record is None or not row.get("videoid") or not row.get("page_dir"):
            listing.dropped.append(Dropped(name, where, "bad row", problem or "videoid or page_dir is empty"))
            continue
        try:
            length = webvid_duration(row.get("duration"))
        except BadValue as error:
            listing.dropped.append(Dropped(name, where, "bad row", str(error)))
            continue
        listing.clips.append(
            Clip(
                Media(f"{root}/{name}"), name, where, captions(row.get("name")), group=str(row["videoid"]),
                declared=Declared(seconds=length),
            )
        )
    return listing


def webvid_duration(value: object) -> float | None:
    """Seconds, or ISO 8601 as the tables write them: PT00H00M18S."""
    match = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?", value) if isinstance(value, str) else None
    if match:
        hours, minutes, rest = (float(part or 0) for part in match.groups())
        return hours * 3600 + minutes * 60 + rest
    return seconds(value, "duration")


# --- UCF-101: <Class>/v_<Class>_gXX_cYY.avi, trainlist0N.txt, testlist0N.txt ----------------------------------------


def is_ucf101(files: Sequence[Path]) -> bool:
    return bool(files) and all(UCF_FILE.fullmatch(path.name) for path in files)


def list_ucf101(folder: Path, files: Sequence[Path], fold: int) -> Listing:
    """Caption: the class in words. Group: the scene gXX of a class. Split: the official lists of `fold` (1 to 3).

    Raises ValueError when lists put one group on both sides: its clips show the same scene.
    """
    sides: dict[str, str] = {}
    for split, name in (("train", f"trainlist{fold:02d}.txt"), ("val", f"testlist{fold:02d}.txt")):
        for path in (*folder.rglob(name), *folder.parent.glob(f"ucfTrainTestlist/{name}")):
            for line in path.read_text(encoding="utf-8").splitlines():
                if line.strip():
                    sides[line.split()[0].rsplit("/", 1)[-1]] = split
    listing = Listing("UCF-101" + (f", fold {fold}" if sides else ", no split lists"))
    groups: dict[str, set[str]] = {}
    for path in files:
        match = UCF_FILE.fullmatch(path.name)
        assert match is not None
        name, side = str(path.relative_to(folder)), sides.get(path.name)
        if sides and side is None:
            listing.dropped.append(Dropped(name, str(path), "no split list", f"in neither list of fold {fold}"))
            continue
        group = f"{match[1]}_g{match[2]}"
        groups.setdefault(group, set()).add(side or "")
        listing.clips.append(
            Clip(Media(str(path)), name, str(path), (words_of(match[1]),), split=side, group=group, declared=Declared(fps=25.0))
        )
    torn = sorted(group for group, found in groups.items() if len(found) > 1)
    if torn:
        raise ValueError(
            f"{folder}: the split lists tear {len(torn)} groups apart, the first is {torn[0]}. Clips of a group show one "
            "scene, so validation would see training footage. Use the official lists."
        )
    return listing


def words_of(class_name: str) -> str:
    """ApplyEyeMakeup to "apply eye makeup"; YoYo and TaiChi as well."""
    return " ".join(re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", class_name)).lower()


# --- Moving MNIST: mnist_test_seq.npy, uint8 (T, N, 64, 64), time first ---------------------------------------------


def list_moving_mnist(path: Path) -> Listing:
    """One clip per sequence of an array uint8 (T, N, H, W), time first. Raises ValueError for any other array."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path}: not a whole npy file ({error}). Copy or download it again.") from None
    if array.ndim != 4 or array.dtype != np.uint8:
        raise ValueError(
            f"{path} holds {array.dtype} {array.shape}: Moving MNIST is uint8 (frames, sequences, height, width), time "
            "first. Write other arrays as video files or frame folders."
        )
    num_frames, count, height, width = array.shape
    if num_frames > count:
        raise ValueError(
            f"{path} has shape {array.shape}: time comes first there, so these would be {count} clips of {num_frames} "
            "frames. If the first axis counts clips, save np.swapaxes(array, 0, 1)."
        )
    declared = Declared(num_frames, 10.0, height, width, num_frames / 10.0)
    words = ("two handwritten digits move and bounce",) if "mnist" in path.name.lower() else ()
    clips = [
        Clip(Media(str(path), "array", start=i), f"{path.name}[{i}]", f"{path} sequence {i}", words,
             group=str(i), declared=declared)
        for i in range(count)
    ]  # fmt: skip
    return Listing("Moving MNIST", clips)


# --- Pick-a-Pic v2: caption, jpg_0, jpg_1, label_0, label_1 ---------------------------------------------------------


def is_pick_a_pic(path: Path) -> bool:
    import pyarrow.parquet as pq

    return set(pq.ParquetFile(path).schema_arrow.names) >= PICK_COLUMNS


def list_pick_a_pic(paths: Sequence[Path]) -> Listing:
    """One clip per judged pair: jpg_0, its rival jpg_1, and label_0 as the preference (0.5: a tie)."""
    listing = Listing("Pick-a-Pic")
    for path in paths:
        for batch, first in parquet_batches(path, skip_bytes=True):
            for i, row in enumerate(batch.to_pylist()):
                where, name = f"{path} row {first + i}", f"{path.name}[{first + i}]"
                if row.get("has_label") is False or row["label_0"] is None:
                    listing.dropped.append(Dropped(name, where, "no label", "nobody has judged this pair"))
                    continue
                media = [Media(str(path), "cell", column, first + i) for column in ("jpg_0", "jpg_1")]
                listing.clips.append(
                    Clip(
                        media[0], name, where, captions(row["caption"]), split=pick_split(path.name),
                        group=str(row["caption"]), rival=media[1], preference=float(row["label_0"]),
                    )
                )
    return listing


def pick_split(file_name: str) -> str | None:
    """The files are called train-00000-of-00645-....parquet, validation-..., test_unique-..., ..."""
    return {"train": "train", "validation": "val", "validation_unique": "val", "test": "test", "test_unique": "test"}.get(
        file_name.split("-", 1)[0]
    )
