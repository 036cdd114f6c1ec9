"""How well `flipbook curate` finds the faults of takes whose truth is known, as files of H.264 that the recipe reads.

    OMP_NUM_THREADS=1 python benchmarks/curation.py FIRST_SEED NUM_TAKES

Cuts and dissolves count as found within two frames; still stretches (of five frames or more) if they share half of their
union; slideshows per shot; writing per take (there for eight frames or more); copies as pairs of takes; broken captions per take.
The stages have the options of the recipe `world`, except that shots down to five frames are kept, so that short ones count too.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from flipbook.data.curation.pipeline import curate
from flipbook.data.curation.recipe import parse_recipe
from flipbook.data.world import draw
from flipbook.video import Video

FPS, SHORTEST = 8.0, 5
OF_SHOTS = ("probe", {"cut": {"min_frames": SHORTEST}}, "still", "text", "world_truth", "slideshow", {"caption_check": {"clause": True}})
OF_TAKES = ("probe", "hash", {"dedup": {"mirrored": True, "drop": False}})
BOUNDS = {"cut": (None, None, 0.95), "dissolve": (None, None, 0.85)}
OTHERS = (0.95, 0.9, None)


@dataclass
class Tally:
    """Findings that are right, findings, and what there is to find."""

    right: int = 0
    said: int = 0
    true: int = 0

    def match(self, true: list[Any], said: list[Any], same: Callable[[Any, Any], bool]) -> None:
        """Count a list of findings against the truth; each finding answers for one thing."""
        left = list(said)
        for one in true:
            found = next((other for other in left if same(one, other)), None)
            if found is not None:
                left.remove(found)
                self.right += 1
        self.said += len(said)
        self.true += len(true)

    def judge(self, true: bool, said: bool) -> None:
        """Count one yes or no."""
        self.right += true and said
        self.said += said
        self.true += true

    @property
    def scores(self) -> tuple[float, float, float]:
        """Precision, recall, F1."""
        precision, recall = self.right / max(self.said, 1), self.right / max(self.true, 1)
        return precision, recall, 2 * precision * recall / max(precision + recall, 1e-9)


def measure(first: int, count: int, folder: Path) -> dict[str, Tally]:
    """Draw the takes, write them as files below `folder`, curate them, and compare the ledgers with the truth."""
    raw, scenes = folder / "raw", {}
    raw.mkdir()
    for seed in range(first, first + count):
        clip = draw("takes", seed)
        name = f"{seed:06d}"
        Video(clip.frames, FPS).write(raw / f"{name}.mp4", sidecar=False)
        (raw / f"{name}.txt").write_text(clip.scene["caption"], encoding="utf-8")
        scenes[f"{name}.mp4"] = clip.scene
    tallies: dict[str, Tally] = defaultdict(Tally)
    shots = defaultdict(list)
    for row in curate([raw], folder / "shots", parse_recipe({"stages": list(OF_SHOTS)}, "shots")):
        shots[row["source"]].append(row)
    for name, scene in scenes.items():
        score_take(scene, sorted(shots[name], key=lambda row: row["start_frame"]), tallies)
    score_copies(scenes, curate([raw], folder / "takes", parse_recipe({"stages": list(OF_TAKES)}, "takes")), tallies["copies"])
    return tallies


def score_take(scene: dict[str, Any], rows: list[dict[str, Any]], tallies: dict[str, Tally]) -> None:
    """The shots of one take against what was drawn."""
    borders = list(pairwise(rows))
    middles = {"cut": [after["start_frame"] for _, after in borders if after["cut_before"] == "cut"], "dissolve": [
        (before["start_frame"] + before["frames"] + after["start_frame"]) / 2 for before, after in borders if after["cut_before"] == "dissolve"]}  # fmt: skip
    for kind, said in middles.items():
        true = [cut["frame"] for cut in scene["cuts"] if (cut["kind"] == "dissolve") == (kind == "dissolve")]
        tallies[kind].match(true, said, lambda a, b: abs(a - b) <= 2)
    long = [row for row in rows if "still_ranges" in row]
    stood = [(row["start_frame"] + a, row["start_frame"] + b) for row in long for a, b in row["still_ranges"]]
    tallies["still"].match([span for span in scene["still_ranges"] if span[1] - span[0] >= SHORTEST], stood, share_half)
    for row in long:
        middle = row["start_frame"] + row["frames"] // 2
        tallies["slideshow"].judge(any(a <= middle < b for a, b in scene["slideshow_ranges"]), row["slideshow"])
    written = any(overlay["end"] - overlay["start"] >= 8 for overlay in scene["overlays"])
    tallies["writing"].judge(written, any(row["text_area"] > 0.005 for row in long))
    tallies["captions"].judge(scene["caption_fault"] is not None, any(row["caption_broken"] for row in long))


def score_copies(scenes: dict[str, Any], rows: list[dict[str, Any]], tally: Tally) -> None:
    """Takes that share a family, by truth and by what `dup_of` ties together."""
    source = {row["clip_id"]: row["source"] for row in rows}
    tied = {row["source"]: source.get(row["dup_of"]) or row["source"] for row in rows}
    drawn = {name: name if (seed := scene["duplicate_of"]) is None else f"{seed:06d}.mp4" for name, scene in scenes.items()}
    pairs = [{(a, b) for a in family for b in family if a < b and family[a] == family[b]} for family in (drawn, tied)]
    tally.match(sorted(pairs[0]), sorted(pairs[1]), lambda a, b: bool(a == b))


def share_half(a: Any, b: Any) -> bool:
    """Whether two ranges share at least half of their union."""
    return min(a[1], b[1]) - max(a[0], b[0]) >= 0.5 * (max(a[1], b[1]) - min(a[0], b[0]))


def misses(tallies: dict[str, Tally]) -> list[str]:
    """Bounds that are not reached, in words."""
    told = []
    for name, tally in tallies.items():
        for word, value, bound in zip(("precision", "recall", "F1"), tally.scores, BOUNDS.get(name, OTHERS), strict=True):
            if bound is not None and value < bound:
                told.append(f"{name}: {word} {value:.3f} is below {bound}")
    return told


def table(tallies: dict[str, Tally]) -> str:
    """The figures, as they stand in docs/curation.md."""
    lines = ["| fault | there | found | right | precision | recall | F1 |", "|---|---:|---:|---:|---:|---:|---:|"]
    for name, tally in tallies.items():
        precision, recall, f1 = tally.scores
        lines.append(f"| {name} | {tally.true} | {tally.said} | {tally.right} | {precision:.3f} | {recall:.3f} | {f1:.3f} |")
    return "\n".join(lines)


def main(first: int, count: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        tallies = measure(first, count, Path(folder))
    print(f"takes {first} to {first + count - 1}\n\n{table(tallies)}")
    print("\n".join(["", *misses(tallies)]) if misses(tallies) else "\nevery bound is reached")
    return bool(misses(tallies))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
