"""Whole runs: broken files, resuming after a kill, the ledger, the report, what is packed; and detection on `takes`."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("cv2", reason="curation needs the extra `data`")

import flipbook
from flipbook.data.curation.dedup import Dedup
from flipbook.data.curation.detector import find_borders, read_signals
from flipbook.data.curation.funnel import funnel
from flipbook.data.curation.hashes import Hash
from flipbook.data.curation.ledger import Journal, read_rows
from flipbook.data.curation.overlay import find_text
from flipbook.data.curation.pipeline import curate
from flipbook.data.curation.recipe import load_recipe, parse_recipe, shipped_recipes
from flipbook.data.curation.report import write_report
from flipbook.data.curation.still import Slideshow, still_ranges
from flipbook.data.layouts import list_clips
from flipbook.data.world import draw
from flipbook.video import Video
from footage import encode, gradients, numbered, sound_only

STAGES = ["probe", {"cut": {"min_frames": 5}}, "motion", "still", "picture", "hash", "slideshow", "dedup", "split", "pack"]


def broken_set(folder: Path) -> Path:
    """Every kind of file that a download brings, good ones among them."""
    folder.mkdir()
    moving = draw("shapes", 5).frames
    good = Video(moving, 8.0).write(folder / "good.mp4")
    (folder / "empty.mp4").touch()
    (folder / "cut-off.mp4").write_bytes(good.read_bytes()[:2000])
    (folder / "page.mp4").write_text("<html>404</html>")
    sound_only(folder / "song.mp4")
    encode(folder / "turned.mp4", gradients(12, 48, 64), rotation=90)
    encode(folder / "uneven.mp4", gradients(8, 48, 64), stamps=[0, 40, 80, 200, 240, 260, 500, 520])
    encode(folder / "deep.mkv", gradients(12, 48, 64), codec="ffv1", pixel_format="yuv420p10le")
    Video(gradients(12, 47, 63), 8.0).write(folder / "odd.webm")
    Video(gradients(1), 1.0).write(folder / "one.mp4")
    return folder


def test_broken_files_are_dropped_with_a_reason_and_odd_ones_go_through(tmp_path):
    rows = curate([broken_set(tmp_path / "raw")], tmp_path / "out", parse_recipe({"stages": STAGES}, "test"))
    fate = {row["source"]: row.get("drop_rule") for row in rows}
    assert {name for name, rule in fate.items() if rule is None} >= {"good.mp4", "turned.mp4", "uneven.mp4", "deep.mkv", "odd.webm"}
    assert {fate[name] for name in ("empty.mp4", "cut-off.mp4", "page.mp4", "song.mp4")} == {"empty", "truncated", "no video"}
    assert fate["one.mp4"] == "shot too short"
    assert all(row["drop_reason"] for row in rows if not row["keep"])
    lost = sum(count for step in funnel(rows, parse_recipe({"stages": STAGES}, "t").stages) for _, count in step.reasons)
    assert lost == sum(not row["keep"] for row in rows)


def test_a_second_run_computes_nothing_and_a_torn_journal_is_mended(tmp_path, monkeypatch):
    raw, out, recipe = tmp_path / "raw", tmp_path / "out", parse_recipe({"stages": STAGES[:6]}, "test")
    raw.mkdir()
    for seed in (1, 2):
        Video(draw("shapes", seed).frames, 8.0).write(raw / f"{seed}.mp4")
    whole = curate([raw], out, recipe)
    ledger = (out / "ledger.jsonl").read_bytes()
    data = (out / "journal.jsonl").read_bytes()
    (out / "journal.jsonl").write_bytes(data[:-40])            # killed while it wrote the last line
    assert curate([raw], out, recipe) == whole
    assert (out / "ledger.jsonl").read_bytes() == ledger
    assert (out / "journal.jsonl").read_bytes() == data
    added = []
    monkeypatch.setattr(Journal, "add", lambda self, key, rows, **_: added.append(key))
    curate([raw], out, recipe)
    assert not added


def test_what_is_packed_is_a_training_set_and_the_report_needs_nothing_else(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    Video(draw("shapes", 5).frames, 8.0).write(raw / "a.mp4")
    (raw / "a.txt").write_text("a caption")
    recipe = parse_recipe({"stages": ["probe", "cut", "pack"]}, "test")
    rows = curate([raw], tmp_path / "out", recipe)
    (clip,) = list_clips(tmp_path / "out" / "clips").clips
    assert clip.captions == ("a caption",)
    page = write_report(rows, recipe, tmp_path / "report.html").read_text()
    assert "data:image/jpeg;base64" in page
    assert "http:" not in page.replace("http://www.w3.org", "")
    assert read_rows(tmp_path / "out" / "ledger.jsonl") == [{**row} for row in rows]


def test_every_shipped_recipe_reads_and_names_its_source():
    assert len(shipped_recipes()) >= 8
    for name in shipped_recipes():
        recipe = load_recipe(name)
        assert recipe.source
        assert recipe.stages[0].name == "probe"


def test_every_figure_of_a_published_recipe_says_whether_it_was_read_there():
    folder = resources.files("flipbook.data.curation") / "recipes"
    for name in set(shipped_recipes()) - {"house", "world"}:
        stages = (folder / f"{name}.yaml").read_text(encoding="utf-8").partition("\nstages:\n")[2]
        figures = [line for line in stages.splitlines() if re.search(r"[ =]\d", line.partition("#")[0]) and "url:" not in line]
        assert figures, name
        for line in figures:
            assert re.search(r"# .*\b(read|unverified|ours)\b", line), f"{name}: {line.strip()}"


def test_a_rule_without_its_column_is_refused_and_leaves_with_its_stage():
    with pytest.raises(ValueError, match="reads aesthetic"):
        parse_recipe({"stages": ["probe", {"select": {"keep_if": ["aesthetic > 5"]}}]}, "test")
    left = load_recipe("open-sora", without=["aesthetic", "caption", "clip"])
    select = next(stage for stage in left.stages if stage.name == "select")
    assert not any("aesthetic" in rule for rule in select.keep_if)


def test_missing_weights_are_refused_before_any_work(tmp_path):
    pytest.importorskip("transformers")
    Video(numbered(12), 8.0).write(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="--without"):
        curate([tmp_path], tmp_path / "out", load_recipe("stable-video-diffusion"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_killed_at_ten_random_moments_a_run_ends_as_an_undisturbed_one(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for seed in range(3):
        Video(draw("takes", seed).frames, 8.0).write(raw / f"{seed}.mp4")
    (tmp_path / "r.yaml").write_text(json.dumps({"stages": STAGES}))
    environment = {**os.environ, "PYTHONPATH": str(Path(flipbook.__file__).parents[1]), "OMP_NUM_THREADS": "1"}

    def start(out: str) -> subprocess.Popen:
        words = ["curate", str(raw), "--output", str(tmp_path / out), "--recipe", str(tmp_path / "r.yaml"), "--no-report"]
        return subprocess.Popen([sys.executable, "-m", "flipbook", *words], env=environment, stdout=subprocess.DEVNULL)

    begun = time.monotonic()
    assert start("whole").wait() == 0
    seconds, luck = time.monotonic() - begun, random.Random(0)
    for _ in range(10):
        process = start("killed")
        time.sleep(luck.uniform(0.3, 0.9) * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start("killed").wait() == 0
    files = {p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*") if p.is_file()} - {Path("journal.jsonl")}
    assert len(files) > 6
    for file in files:
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def shares(right: int, said: int, true: int) -> tuple[float, float]:
    return right / max(said, 1), right / max(true, 1)


@pytest.mark.slow
def test_faults_of_takes_are_found(tmp_path):
    """Cuts, dissolves, still stretches, slideshows, writing, copies of fresh takes, as decoded from H.264 files."""
    tallies = {name: [0, 0, 0] for name in ("cut", "dissolve", "still", "slides", "text", "copies")}
    rows, families = [], {}
    for seed in range(5000, 5080):
        clip = draw("takes", seed)
        scene = clip.scene
        frames = Video.read(Video(clip.frames, 8.0).write(tmp_path / "take.mp4")).frames
        borders = find_borders(read_signals(frames))
        for kind in ("cut", "dissolve"):
            true = [c["frame"] for c in scene["cuts"] if (c["kind"] == "dissolve") == (kind == "dissolve")]
            said = [b.frame for b in borders if b.kind == kind]
            count(tallies[kind], true, said, lambda a, b: abs(a - b) <= 2)
        count(tallies["still"], [s for s in scene["still_ranges"] if s[1] - s[0] >= 5], still_ranges(frames, 5), overlaps)
        edges = [(0, 0, None), *((b.start, b.end, b.kind) for b in borders), (96, 96, None)]
        shots = []
        for (_, begin, kind), (end, _, _) in pairwise(edges):
            if end - begin >= 5:
                share = sum(b - a for a, b in still_ranges(frames[begin:end], 5)) / (end - begin)
                shots.append({"path": "x", "start_frame": begin, "frames": end - begin, "cut_before": kind, "still_share": share})
        for shot in Slideshow().run(shots, tmp_path):
            middle = shot["start_frame"] + shot["frames"] // 2
            truth = any(a <= middle < b for a, b in scene["slideshow_ranges"])
            add(tallies["slides"], truth, shot["slideshow"])
        written = any(find_text(frames[i : i + 4], (64,)) for i in range(0, 93, 4))
        add(tallies["text"], any(o["end"] - o["start"] >= 8 for o in scene["overlays"]), written)
        facts = {"clip_id": str(seed), "frames": 96, "fps": 8.0, "height": 64, "width": 64}
        look = type("Look", (), {"every": Video(frames, 8.0)})
        rows.append({**facts, **Hash().run({}, look)})
        families[len(rows) - 1] = scene["duplicate_of"] if scene["duplicate_of"] is not None else seed
    true = {(i, j) for i in families for j in families if i < j and families[i] == families[j]}
    said = set(Dedup(mirrored=True).pairs(rows))
    tallies["copies"] = [len(true & said), len(said), len(true)]
    scores = {name: shares(*tally) for name, tally in tallies.items()}
    print(scores)
    f1 = {name: 2 * p * r / (p + r) for name, (p, r) in scores.items()}
    assert f1["cut"] >= 0.95
    assert f1["dissolve"] >= 0.85
    for name in ("still", "slides", "text", "copies"):
        assert scores[name][0] >= 0.95, name
        assert scores[name][1] >= 0.9, name


def overlaps(a, b) -> bool:
    common = min(a[1], b[1]) - max(a[0], b[0])
    return common >= 0.5 * (max(a[1], b[1]) - min(a[0], b[0]))


def count(tally: list[int], true: list, said: list, same) -> None:
    left = list(said)
    for one in true:
        match = next((other for other in left if same(one, other)), None)
        if match is not None:
            left.remove(match)
            tally[0] += 1
    tally[1] += len(said)
    tally[2] += len(true)


def add(tally: list[int], true: bool, said: bool) -> None:
    tally[0] += true and said
    tally[1] += said
    tally[2] += true
