"""Decoding against OpenCV, decord and torchcodec, as far as they are installed, the same files in one process.

    python benchmarks/decoding.py FOLDER_OF_VIDEOS [rounds]

(a) all frames as RGB; (b) 16 frames from random starts; (c) the same, 64 pixels on the shorter side. Outputs are compared
first, then the sides take turns; printed are median and least CPU seconds of one thread (wall time beside a busy machine
says nothing), frames per second of CPU, and what a side's pixels differ by from ours: PSNR, and the mean of the signed
difference in grey levels. FFmpeg's decoders are the floor of all sides.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

LENGTH, SIDE, WINDOWS = 16, 64, 2


def small(height: int, width: int) -> tuple[int, int]:
    scale = SIDE / min(height, width)
    return round(height * scale), round(width * scale)


# --- the sides: each takes jobs (path, first frame, number of frames, size or None) and returns arrays (T, H, W, 3) -----


class Flipbook:
    """`OpenMedia`, which the training's source reads with: files stay open, indexed once."""

    def __init__(self) -> None:
        from flipbook.data.clips import Media
        from flipbook.data.media import OpenMedia

        self.media, self.open = Media, OpenMedia(64)

    def __call__(self, path: Path, first: int, count: int, size: tuple[int, int]) -> np.ndarray:
        return self.open.read(self.media(str(path)), np.arange(first, first + count), *size)


class OpenCV:
    """A capture per file that stays open, as for us; area interpolation is its antialiased way to shrink."""

    def __init__(self) -> None:
        import cv2

        cv2.setNumThreads(1)
        self.cv2, self.open = cv2, {}

    def __call__(self, path: Path, first: int, count: int, size: tuple[int, int]) -> np.ndarray:
        cv2 = self.cv2
        if path not in self.open:
            threads = [cv2.CAP_PROP_N_THREADS, 1]
            self.open[path] = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, threads)
        capture = self.open[path]
        capture.set(cv2.CAP_PROP_POS_FRAMES, first)
        out = np.empty((count, *size, 3), np.uint8)
        for k in range(count):
            good, frame = capture.read()
            if not good:
                raise ValueError(f"OpenCV: {path} has no frame {first + k}")
            frame = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            out[k] = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA) if frame.shape[:2] != size else frame
        return out


class Decord:
    """A reader per file that stays open, at the size asked for."""

    def __init__(self) -> None:
        import decord

        self.decord, self.open = decord, {}

    def __call__(self, path: Path, first: int, count: int, size: tuple[int, int]) -> np.ndarray:
        if (path, size) not in self.open:
            self.open[path, size] = self.decord.VideoReader(str(path), width=size[1], height=size[0], num_threads=1)
        return self.open[path, size].get_batch(range(first, first + count)).asnumpy()


class TorchCodec:
    """An exact-seek decoder per file that stays open."""

    def __init__(self) -> None:
        from torchcodec.decoders import VideoDecoder

        self.decoder, self.open = VideoDecoder, {}

    def __call__(self, path: Path, first: int, count: int, size: tuple[int, int]) -> np.ndarray:
        from torch.nn.functional import interpolate

        if path not in self.open:
            self.open[path] = self.decoder(str(path), num_ffmpeg_threads=1, dimension_order="NCHW")
        frames = self.open[path].get_frames_in_range(first, first + count).data
        if tuple(frames.shape[2:]) != size:
            frames = interpolate(frames, size, mode="bilinear", antialias=True)
        return frames.permute(0, 2, 3, 1).contiguous().numpy()


def facts(paths: list[Path]) -> dict[Path, tuple[int, int, int]]:
    from flipbook.files.read import open_source

    found = {}
    for path in paths:
        with closing(open_source(path)) as source:
            found[path] = source.count, source.height, source.width
    return found


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(np.float64) - b) ** 2))))


def main(folder: Path, rounds: int) -> None:
    paths = sorted(p for p in folder.rglob("*.mp4"))
    known = {p: f for p, f in facts(paths).items() if f[0] > LENGTH}
    sides: dict[str, Callable[..., np.ndarray]] = {}
    for name, side in (
        ("flipbook", Flipbook), ("opencv", OpenCV), ("decord", Decord), ("torchcodec", TorchCodec),
    ):
        try:
            sides[name] = side()
        except (ImportError, RuntimeError, OSError) as error:
            print(f"{name} is not here: {str(error).strip().splitlines()[0]}")
    import av

    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, PyAV {av.__version__}, "
          f"{len(known)} files, {rounds} rounds")  # fmt: skip
    chance = np.random.default_rng(0)
    starts = [(p, int(chance.integers(c - LENGTH + 1))) for p, (c, _, _) in known.items() for _ in range(WINDOWS)]
    order = chance.permutation(len(starts))
    jobs = {
        "(a) all frames": [(p, 0, c, (h, w)) for p, (c, h, w) in known.items()],
        "(b) 16 frames, random starts": [(*starts[i], LENGTH, known[starts[i][0]][1:]) for i in order],
        "(c) the same at 64 pixels": [(*starts[i], LENGTH, small(*known[starts[i][0]][1:])) for i in order],
    }
    for task, work in jobs.items():
        race(task, work, sides, rounds)


def race(task: str, work: list[tuple], sides: dict[str, Callable[..., np.ndarray]], rounds: int) -> None:
    ours = [sides["flipbook"](*job) for job in work[:12]]
    theirs = {name: [side(*job) for job in work[: len(ours)]] for name, side in sides.items()}
    likeness = {name: statistics.median(psnr(a, b) for a, b in zip(ours, found, strict=True)) for name, found in theirs.items()}
    darker = {name: np.mean([b.mean() - a.mean() for a, b in zip(ours, found, strict=True)]) for name, found in theirs.items()}
    frames = sum(job[2] for job in work)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.process_time()
            for job in work:
                side(*job)
            times[name].append(time.process_time() - start)
    print(f"{task}: {frames} frames")
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        print(f"  {name:11} {middle:7.3f} s (least {min(seconds):.3f}), {frames / middle:7.0f} frames/s, "
              f"{middle / statistics.median(times['flipbook']):5.2f} x flipbook, PSNR to it {likeness[name]:.1f} dB, {darker[name]:+.2f} levels")  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 7)
