"""Small replicas of the layouts of published sets, as their own scripts leave them on disk."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flipbook.video import Video
from footage import numbered, numbers_of

__all__ = ["frames_of", "numbers_of"]


def clip(path: Path, num_frames: int = 8, height: int = 16, width: int = 32, fps: float = 8.0, first: int = 0) -> Path:
    """A lossless clip whose frames show their numbers, from `first` on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Video(numbered(first + num_frames, height, width)[first:], fps).write(path, lossless=True, sidecar=False)
    return path


def picture(path: Path, number: int, height: int = 16, width: int = 32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(numbered(number + 1, height, width)[number]).save(path)
    return path


def png(number: int, height: int = 16, width: int = 32) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(numbered(number + 1, height, width)[number]).save(buffer, "PNG")
    return buffer.getvalue()


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    """csv, tsv, json, jsonl or parquet, by the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def webvid(folder: Path) -> Path:
    """results_2M_val.csv beside videos/<page_dir>/<videoid>.mp4; the last row's video was withdrawn."""
    rows = []
    for i in range(3):
        page, video = f"00000{i}_00005{i}", 1000 + i
        if i < 2:
            clip(folder / "videos" / page / f"{video}.mp4", first=8 * i)
        url = f"https://example.org/{video}.mp4"
        rows.append(
            {"videoid": video, "contentUrl": url, "duration": "PT00H00M01S", "page_dir": page, "name": f"Sky {i}, slow"}
        )
    return table(folder / "results_2M_val.csv", rows)


def sky_timelapse(folder: Path) -> Path:
    """sky_train/<video>/<clip>/<video>_<index>.jpg with unpadded indices, and sky_test/."""
    for split, video in (("sky_train", "07U1fSrk9oI"), ("sky_train", "0Jc9fAXn5_s"), ("sky_test", "zz-3Kfs")):
        for part in (1, 2):
            for i in range(12):
                picture(folder / split / video / f"{video}_{part}" / f"{video}_{part}_{i}.png", i)
    return folder


def ucf101(folder: Path) -> Path:
    """<Class>/v_<Class>_gXX_cYY.avi and ucfTrainTestlist/; one clip is in no list."""
    lists = folder / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    train, test = [], []
    for number, name in enumerate(("ApplyEyeMakeup", "YoYo"), start=1):
        for group in (1, 2):
            for c in (1, 2):
                file = f"{name}/v_{name}_g{group:02d}_c{c:02d}.avi"
                clip((folder / file).with_suffix(".mkv"), first=4 * group).rename(folder / file)
                (test.append(file) if group == 1 else train.append(f"{file} {number}"))
    clip(folder / "YoYo" / "x.mkv").rename(folder / "YoYo" / "v_YoYo_g09_c01.avi")
    (lists / "trainlist01.txt").write_text("\n".join(train) + "\n")
    (lists / "testlist01.txt").write_text("\n".join(test) + "\n")
    return folder


def moving_mnist(folder: Path, num_frames: int = 8, count: int = 10) -> Path:
    """mnist_test_seq.npy, uint8 (T, N, 64, 64): a lit square moves down by two in each frame, sequence i in column i."""
    array = np.zeros((num_frames, count, 64, 64), np.uint8)
    for t in range(num_frames):
        for i in range(count):
            array[t, i, 2 * t : 2 * t + 2, 2 * i : 2 * i + 2] = 255
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "mnist_test_seq.npy", array)
    return folder / "mnist_test_seq.npy"


def pick_a_pic(folder: Path) -> Path:
    """data/train-00000-of-00645-....parquet: five pairs, one a tie, one without a label."""
    rows = []
    for i, label in enumerate((1.0, 0.0, 0.5, 1.0, None)):
        rows.append({
            "are_different": True, "best_image_uid": f"u{i}", "caption": f"prompt {i}", "has_label": label is not None,
            "jpg_0": png(2 * i), "jpg_1": png(2 * i + 1, 32, 32), "label_0": label,
            "label_1": None if label is None else 1 - label, "model_0": "a", "model_1": "b", "ranking_id": i, "user_id": 1,
        })  # fmt: skip
    return table(folder / "data" / "train-00000-of-00645-b66ac786bf6fb553.parquet", rows)


def shards(folder: Path, truncated: bool = False) -> Path:
    """00000.tar and 00001.tar as video2dataset writes them: key.mp4, key.txt, key.json; a .jpg in one sample."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(2):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for i in range(2):
                key = f"{shard:05d}{i:04d}"
                source = clip(folder / "unpacked" / f"{key}.mp4", first=4 * (2 * shard + i))
                add(tar, f"{key}.mp4", source.read_bytes())
                add(tar, f"{key}.txt", f"caption {key}".encode())
                add(tar, f"{key}.json", json.dumps({"videoid": f"v{shard}", "fps": 8.0, "caption": "from json"}).encode())
                source.unlink()
        (folder / "unpacked").rmdir()
    if truncated:
        path = folder / "00001.tar"
        path.write_bytes(path.read_bytes()[:1500])
    return folder


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def frames_of(folder: Path, k: int = 0, num_frames: int = 4, split: str = "train", **options: Any) -> Any:
    """Sample k of a source: four frames of 16 x 32 from its clips, as training would see them."""
    from flipbook.data.sources import Framing, build_stream

    framing = Framing(num_frames=num_frames, clip_frames=num_frames, height=16, width=32)
    return build_stream([{"folder": str(folder), **options}], framing, seed=0, split=split).sample(k)
