"""A folder of the user's own clips as a training source."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flipbook.data.batch import Sample
from flipbook.data.seeds import derive_seed, generator
from flipbook.data.sources.framing import Framing, frame_index
from flipbook.data.sources.table import Row, read_table


class FolderOptions(BaseModel):
    """`{folder: PATH, ...}` of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    split: str = "train"  # rows of this split, and rows that name none; "all" = every row
    val_share: float = Field(
        0.0, ge=0, lt=1
    )  # where no row says split "val": this share of the rows is held back for it
    filter: str | None = None  # only files whose name contains this
    stride: int = Field(1, ge=1)  # frames of the file per frame of the clip
    index_fps: float | None = Field(None, gt=0)  # tell the network this rate instead of the row's or the file's
    crop: Literal["random", "centre"] = "random"
    min_scale: float = Field(1.0, gt=0, le=1)  # random crops are between this share of the largest one and all of it
    flip: bool = False  # mirror half of the clips; wrong for captions that say left or right
    memory_mb: float = Field(1024, ge=0)  # decoded frames are kept up to this

    @staticmethod
    def parse(options: Mapping[str, Any], where: str) -> FolderOptions:
        """Raises ValueError naming the entry and key."""
        try:
            return FolderOptions.model_validate(options)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ValueError(f"{where}: {problems}. Known: weight, {', '.join(FolderOptions.model_fields)}.") from None


class FolderSource:
    """Windows of files, each shown once per epoch; which frames, crop and mirroring depend on (seed, sample number) alone."""

    def __init__(self, options: FolderOptions, framing: Framing, split: str = "train") -> None:
        self._options, self._framing, self._validating = options, framing, split == "val"
        self._rows = _choose(options, read_table(options.folder), self._validating)
        self._store = _FrameStore(options, self._rows, framing)
        self.name = f"folder/{options.folder.name}"
        self.num_clips: int | None = len(self._rows)
        for row in self._rows:
            if row.num_frames is not None:
                self._clip_frames(row, row.num_frames)
        wordless = [row for row in self._rows if not row.captions]
        if wordless and not self._validating:
            warnings.warn(
                f"{self.name}: {len(wordless)} of {len(self._rows)} clips have no caption and train without words, "
                f"first {wordless[0].where}.",
                stacklevel=2,
            )

    def sample(self, number: int, seed: int, index: int) -> Sample:
        """The clip of row `number`; `index` is its number in the run."""
        options, framing, row = self._options, self._framing, self._rows[number]
        chance = generator(seed, "folder", index)
        window = row.num_frames or self._store.num_frames(row)
        whole = self._clip_frames(row, window)  # frames of the clip, after the stride
        length = min(whole, framing.clip_frames)
        offset = int(chance.integers(whole - length + 1))
        frames = framing.frames(length, chance)  # (T,) within the clip
        video = self._store.frames(row, (offset + frames) * options.stride)  # (T, h, w, 3)
        video = self._crop(video, chance)  # (T, H, W, 3)
        if options.flip and not self._validating and chance.random() < 0.5:
            video = video[:, :, ::-1]
        fps = options.index_fps or (row.fps or self._store.fps(row)) / options.stride
        caption = row.captions[int(chance.integers(len(row.captions)))] if row.captions else ""
        return Sample(
            video=np.ascontiguousarray(video),
            caption=caption,
            frame_index=frame_index(frames, fps),
            fps=fps / framing.frame_stride,
            index=index,
            source=self.name,
        )

    def _clip_frames(self, row: Row, window: int) -> int:
        whole = (window - 1) // self._options.stride + 1
        if whole < self._framing.span:
            raise ValueError(
                f"{row.where}: the window has {window} frames, which is {whole} at stride {self._options.stride}, "
                f"but a clip spans {self._framing.span}. Try a smaller num_frames, frame_stride or stride, "
                "or take the row out."
            )
        return whole

    def _crop(self, video: np.ndarray, chance: np.random.Generator) -> np.ndarray:
        """Cut a box of the run's aspect out of (T, h, w, 3) and scale it to (T, height, width, 3)."""
        height, width = self._framing.height, self._framing.width
        h, w = video.shape[1:3]
        scale, across, down = chance.random(3)
        if self._options.crop == "centre" or self._validating:
            scale, across, down = 1.0, 0.5, 0.5
        size = min(h / height, w / width) * (self._options.min_scale + (1 - self._options.min_scale) * scale)
        box_h, box_w = min(h, height * size), min(w, width * size)
        top, left = (h - box_h) * down, (w - box_w) * across
        if round(box_h) == height and round(box_w) == width:  # nothing to scale: bytes stay as decoded
            top, left = round(top), round(left)
            return video[:, top : top + height, left : left + width]
        from PIL import Image

        box = (left, top, left + box_w, top + box_h)
        return np.stack(
            [
                np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC, box=box))
                for frame in video
            ]
        )


def _choose(options: FolderOptions, rows: list[Row], validating: bool) -> list[Row]:
    rows = [row for row in rows if options.filter is None or options.filter in row.file_name]
    if not rows:
        raise ValueError(f"{options.folder}: no file name contains filter={options.filter!r}.")
    held = [row for row in rows if row.split == "val"]
    if not held and options.val_share:
        held = [row for row in rows if derive_seed(row.file_name, row.start_frame) / 2**62 < options.val_share]
    rest = (
        rows
        if options.split == "all"
        else [row for row in rows if row not in held and row.split in (None, options.split)]
    )
    if options.split == "val":
        rest = held
    if validating and not held:
        warnings.warn(
            f'{options.folder}: no row has split "val", so validation looks at training clips. '
            "Set val_share=0.1 to hold some back.",
            stacklevel=3,
        )
    chosen = (held or rest) if validating else rest
    if not chosen:
        raise ValueError(
            f"{options.folder}: no row left with split={options.split!r}. "
            f"Splits there: {', '.join(sorted({row.split or '(none)' for row in rows}))}."
        )
    return chosen


class _FrameStore:
    """Decoded files at no more than the size that crops need, kept while they fit the budget and decoded by window beyond it."""

    def __init__(self, options: FolderOptions, rows: list[Row], framing: Framing) -> None:
        self._folder, self._min_scale, self._framing = options.folder, options.min_scale, framing
        self._room = options.memory_mb * 2**20
        self._kept: dict[str, tuple[int, np.ndarray]] = {}  # file name to (first frame, frames)
        self._facts: dict[str, tuple[float, int, int]] = {}  # file name to (fps, height, width)
        self._lengths: dict[str, int] = {}
        self._spans: dict[str, tuple[int, int | None]] = {}  # what the rows need of each file
        for row in rows:
            start, end = row.start_frame, row.start_frame + row.num_frames if row.num_frames else None
            low, high = self._spans.get(row.file_name, (start, end))
            self._spans[row.file_name] = (min(low, start), None if high is None or end is None else max(high, end))

    def frames(self, row: Row, numbers: np.ndarray) -> np.ndarray:
        """Frames of the row's window by number: uint8 (T, h, w, 3)."""
        numbers = numbers + row.start_frame
        kept = self._keep(row)
        if kept is not None:
            first, frames = kept
            if numbers[-1] - first >= len(frames):
                raise ValueError(
                    f"{row.where}: frame {numbers[-1]} is asked for, {row.file_name} has {first + len(frames)}."
                )
            return frames[numbers - first]
        first, last = int(numbers[0]), int(numbers[-1])
        return self._read(row, first, last + 1 - first)[numbers - first]

    def num_frames(self, row: Row) -> int:
        """Frames from the row's start to the end of the file."""
        if row.file_name not in self._lengths:
            self._keep(row)
        return self._lengths[row.file_name] - row.start_frame

    def fps(self, row: Row) -> float:
        return self._look(row)[0]

    def _keep(self, row: Row) -> tuple[int, np.ndarray] | None:
        """The kept frames of the row's file, decoding it if there is room."""
        name = row.file_name
        if name in self._kept:
            return self._kept[name]
        low, high = self._spans[name]
        if high is not None and self._cost(row, high - low) > self._room:
            return None
        if high is None and name in self._lengths:
            return None  # decoded before, and too large
        frames = self._read(row, low, None if high is None else high - low)
        self._lengths[name] = low + len(frames)
        if frames.nbytes > self._room:
            return None
        self._room -= frames.nbytes
        self._kept[name] = (low, frames)
        return self._kept[name]

    def _cost(self, row: Row, num_frames: int) -> int:
        height, width = self._size(row)
        return num_frames * height * width * 3

    def _size(self, row: Row) -> tuple[int, int]:
        """Height and width to decode to: just enough for the smallest crop, never more than the file has."""
        _, h, w = self._look(row)
        scale = min(1.0, max(self._framing.height / h, self._framing.width / w) / self._min_scale)
        return math.ceil(h * scale - 1e-6), math.ceil(w * scale - 1e-6)

    def _look(self, row: Row) -> tuple[float, int, int]:
        from flipbook.video import Video

        if row.file_name not in self._facts:
            video = Video.read(self._folder / row.file_name, start_frame=0, num_frames=1, audio=False)
            self._facts[row.file_name] = (video.fps, video.height, video.width)
        return self._facts[row.file_name]

    def _read(self, row: Row, start_frame: int, num_frames: int | None) -> np.ndarray:
        from flipbook.video import Video

        height, width = self._size(row)
        try:
            return Video.read(
                self._folder / row.file_name,
                start_frame=start_frame,
                num_frames=num_frames,
                height=height,
                width=width,
                fit="stretch",
                audio=False,
            ).frames
        except ValueError as error:
            raise ValueError(f"{row.where}: {error}") from error
