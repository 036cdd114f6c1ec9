"""A folder of the user's own clips as a training source."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flipbook.data.batch import Sample
from flipbook.data.seeds import derive_seed, generator
from flipbook.data.sources.framestore import FrameStore, Window, find_windows
from flipbook.data.sources.framing import Framing, frame_index
from flipbook.data.sources.table import Row, read_table


class FolderOptions(BaseModel):
    """`{folder: PATH, ...}` of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    split: str = "train"  # rows of this split, and rows that name none; "all" = every row
    val_share: float = Field(0.0, ge=0, lt=1)  # where no row says split "val": this share is held back for validation
    filter: str | None = None  # only files whose name contains this
    stride: int = Field(1, ge=1)  # frames of the file per frame of the clip
    index_fps: float | None = Field(None, gt=0)  # the rate the network is told, instead of the row's or the file's
    crop: Literal["random", "centre"] = "random"
    min_scale: float = Field(1.0, gt=0, le=1)  # random crops are between this share of the largest one and all of it
    flip: bool = False  # mirror half of the clips; wrong for captions that say left or right
    memory_mb: float = Field(1024, ge=0)  # decoded frames are kept up to this, in each worker process

    @staticmethod
    def parse(options: Mapping[str, Any], where: str) -> FolderOptions:
        """Raises ValueError naming the entry and key."""
        try:
            return FolderOptions.model_validate(options)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ValueError(f"{where}: {problems}. Known: weight, {', '.join(FolderOptions.model_fields)}.") from None


class FolderSource:
    """Windows of files, each shown once per epoch; frames, crop and mirroring depend on (seed, sample number) alone.

    Raises ValueError at once for a folder, row or file that cannot be used.
    """

    def __init__(self, options: FolderOptions, framing: Framing, split: str = "train") -> None:
        self._options, self._framing, self._plain = options, framing, split == "val"
        rows = _choose_rows(options, read_table(options.folder), split == "val")
        self._windows = find_windows(options.folder, rows)
        for window in self._windows:
            self._clip_frames(window)
        self._store = FrameStore(
            self._windows, framing.height, framing.width, min_scale=options.min_scale, memory_mb=options.memory_mb
        )
        self.name = f"folder/{options.folder.name}"
        self.num_clips: int | None = len(self._windows)
        wordless = [window.where for window in self._windows if not window.captions]
        if wordless and split == "train":
            warnings.warn(
                f"{self.name}: {len(wordless)} of {len(rows)} clips have no caption and train without words, the first "
                f"is {wordless[0]}.",
                stacklevel=2,
            )

    def sample(self, number: int, seed: int, index: int) -> Sample:
        """The clip of window `number`; `index` is its number in the run."""
        options, framing, window = self._options, self._framing, self._windows[number]
        chance = generator(seed, "folder", index)
        length = self._clip_frames(window)
        offset = int(chance.integers(max(0, length - framing.clip_frames) + 1))
        frames = framing.frames(min(length, framing.clip_frames), chance)  # (T,) within the clip
        video = self._store.frames(window, (offset + frames) * options.stride)  # (T, h, w, 3)
        video = self._crop(video, chance)  # (T, H, W, 3)
        if chance.random() < 0.5 and options.flip and not self._plain:
            video = video[:, :, ::-1]
        caption = window.captions[int(chance.integers(len(window.captions)))] if window.captions else ""
        fps = options.index_fps or window.fps / options.stride
        return Sample(
            video=np.ascontiguousarray(video), caption=caption, frame_index=frame_index(frames, fps),
            fps=fps / framing.frame_stride, index=index, source=self.name,
        )  # fmt: skip

    def _clip_frames(self, window: Window) -> int:
        """How many frames the window has at the source's stride."""
        length = (window.num_frames - 1) // self._options.stride + 1
        if length < self._framing.span:
            raise ValueError(
                f"{window.where}: the window has {window.num_frames} frames, {length} at stride "
                f"{self._options.stride}, but a sample spans {self._framing.span}. Try a smaller num_frames, "
                "frame_stride or stride, or take the row out."
            )
        return length

    def _crop(self, video: np.ndarray, chance: np.random.Generator) -> np.ndarray:
        """Cut a box of the run's aspect out of (T, h, w, 3) and scale it to (T, height, width, 3)."""
        height, width = self._framing.height, self._framing.width
        h, w = video.shape[1:3]
        scale, down, across = chance.random(3)
        if self._options.crop == "centre" or self._plain:
            scale, down, across = 1.0, 0.5, 0.5
        share = self._options.min_scale + (1 - self._options.min_scale) * scale
        size = min(h / height, w / width) * share
        box_h, box_w = min(h, height * size), min(w, width * size)
        top, left = (h - box_h) * down, (w - box_w) * across
        if round(box_h) == height and round(box_w) == width:  # nothing to scale: bytes stay as decoded
            top, left = min(round(top), h - height), min(round(left), w - width)
            return video[:, top : top + height, left : left + width]
        from PIL import Image

        box = (left, top, left + box_w, top + box_h)
        scaled = [Image.fromarray(f).resize((width, height), Image.Resampling.BICUBIC, box=box) for f in video]
        return np.stack([np.asarray(picture) for picture in scaled])


def _choose_rows(options: FolderOptions, rows: list[Row], validating: bool) -> list[Row]:
    rows = [row for row in rows if options.filter is None or options.filter in row.file_name]
    if not rows:
        raise ValueError(f"{options.folder}: no file name contains filter={options.filter!r}.")
    held = {row for row in rows if row.split == "val"} or {row for row in rows if _lot(row) < options.val_share}
    if validating and not held:
        warnings.warn(
            f'{options.folder}: no row has split "val", so validation looks at training clips. Set val_share=0.1 to '
            "hold some back.",
            stacklevel=3,
        )
    if validating and held:
        chosen = [row for row in rows if row in held]
    elif options.split == "all":
        chosen = rows
    else:
        chosen = [row for row in rows if row.split == options.split or (row.split is None and row not in held)]
    if not chosen:
        there = ", ".join(sorted({row.split or "(none)" for row in rows}))
        raise ValueError(f"{options.folder}: no row is left with split={options.split!r}. Splits there: {there}.")
    return chosen


def _lot(row: Row) -> float:
    """A number in [0, 1) that belongs to the row for ever."""
    return derive_seed(row.file_name, row.start_frame) / 2**62
