"""How often each probe of `flipbook check` fires on clips in which nothing was broken.

    python benchmarks/false_alarms.py [--seeds 5000 5030] [--recordings FOLDER --clips 40]

World clips of seeds that no threshold was set on: all probes but `cuts` and `frozen` on `takes`, which truly have both (there the true
cuts are given). Recordings: a folder of packed clips with its index.jsonl, the first 16 frames of clips spread evenly over the index.
Prints alarms / clips for each domain, and every alarm by name, so that somebody can look whether the fault is not there after all.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from flipbook.data.world import draw
from flipbook.files.sheet import spread
from flipbook.metrics.probes import PROBES, probe_video
from flipbook.video import Video

TRUE_OF_TAKES = {"cuts", "frozen"}


def alarms(video: Video, shot_starts: list[int] | None = None) -> dict[str, float]:
    """Probes that fire, with their values."""
    return {reading.probe: reading.value for reading in probe_video(video, shot_starts=shot_starts) if reading.fired}


def of_the_world(domain: str, seeds: range) -> Iterator[tuple[str, dict[str, float]]]:
    for seed in seeds:
        clip = draw(domain, seed)
        if domain != "takes":
            yield f"{domain} {seed}", alarms(Video(clip.frames, 8.0))
            continue
        cuts = sorted(cut["frame"] for cut in clip.scene["cuts"])
        found = alarms(Video(clip.frames, 8.0), cuts)
        yield f"{domain} {seed}", {name: value for name, value in found.items() if name not in TRUE_OF_TAKES}


def of_recordings(folder: Path, count: int) -> Iterator[tuple[str, dict[str, float]]]:
    rows = [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]
    for index in spread(len(rows), count):
        row = rows[index]
        start = row["start_frame"]
        yield f"{row['file_name']} {start}", alarms(Video.read(folder / row["file_name"], start_frame=start, num_frames=16, audio=False))


def report(title: str, clips: Iterator[tuple[str, dict[str, float]]]) -> None:
    counts: Counter[str] = Counter()
    lines, number, calm = [], 0, 0
    for name, found in clips:
        number += 1
        calm += not found
        counts.update(found.keys())
        lines += [f"    {name}: {probe} {value:.3g}" for probe, value in found.items()]
    every = ", ".join(f"{probe} {counts[probe]}" for probe in PROBES if counts[probe]) or "none"
    print(f"{title}: {number} clips, {calm} without any alarm, {sum(counts.values())} alarms in {number * len(PROBES)} readings: {every}")
    print("\n".join(lines), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs=2, type=int, default=(5000, 5030), metavar=("FIRST", "END"))
    parser.add_argument("--recordings", type=Path, help="folder with an index.jsonl")
    parser.add_argument("--clips", type=int, default=40)
    arguments = parser.parse_args()
    for domain in ("shapes", "sky", "figures"):
        report(domain, of_the_world(domain, range(*arguments.seeds)))
    if arguments.recordings:
        report(arguments.recordings.name, of_recordings(arguments.recordings, arguments.clips))
    report("takes", of_the_world("takes", range(*arguments.seeds)))                  # last, for they are long


if __name__ == "__main__":
    main()
