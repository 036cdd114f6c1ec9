"""The plan: every clip has a fate, and it is the one that training gives it."""

from __future__ import annotations

import json
import os
import warnings

import pytest
from broken import broken_in_every_way
from replicas import clip, picture, table

from flipbook.cli import main
from flipbook.data.buckets import Buckets
from flipbook.data.clips import Media
from flipbook.data.framing import Framing
from flipbook.data.options import FolderOptions
from flipbook.data.plan import make_plan, summary
from flipbook.data.sources import build_stream
from flipbook.data.survey import Broken, Facts, close_helpers, look_at_all, pool
from footage import encode

FRAMING = Framing(num_frames=8, clip_frames=8, height=16, width=32)


def plan_of(folder, framing=FRAMING, buckets=None, look="open", **options):
    made = make_plan([FolderOptions(folder=folder, **options)], framing, buckets, look=look)
    return made, {fate.name: fate for fate in made.fates}


def test_files_broken_in_every_way_are_listed_by_the_right_rule_and_the_odd_ones_kept(tmp_path):
    wanted = broken_in_every_way(tmp_path)
    made, fates = plan_of(tmp_path)
    assert {name: fate.rule for name, fate in fates.items()} == wanted
    assert fates["rotated.mp4"].window.height == 48  # as it is shown
    assert fates["variable.mp4"].window.times is not None
    assert made.error is None


def test_what_the_plan_keeps_is_what_training_shows(tmp_path):
    broken_in_every_way(tmp_path)
    _, fates = plan_of(tmp_path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        stream = build_stream([{"folder": str(tmp_path)}], FRAMING, seed=0)
        (source,) = stream.sources
        shapes = {stream.sample(k).video.shape for k in range(source.num_clips)}
    kept = [name for name, fate in fates.items() if not fate.rule]
    assert [window.clip.name for window in source._windows] == kept
    assert shapes == {(8, 16, 32, 3)}
    assert any("6 of 11 clips are left out" in str(w.message) for w in told)


def test_each_change_and_each_rule_has_a_clip_that_meets_it(tmp_path):
    clip(tmp_path / "exact.mkv", 8, 16, 32)
    clip(tmp_path / "long.mkv", 20, 16, 32)
    clip(tmp_path / "short.mkv", 5, 16, 32)
    clip(tmp_path / "square.mkv", 8, 64, 64)
    clip(tmp_path / "tiny.mkv", 8, 8, 16)
    clip(tmp_path / "fast.mkv", 32, 16, 32, fps=16.0)
    _, fates = plan_of(tmp_path, fps=8.0, max_upscale=1.5)
    assert {name.split(".")[0]: (fate.changes or fate.rule) for name, fate in fates.items()} == {
        "exact": "", "long": ("cut",), "short": "too short", "square": ("cropped", "scaled down"), "tiny": "too small",
        "fast": ("cut", "retimed"),
    }  # fmt: skip


def test_a_clip_is_retimed_by_time_and_not_by_counting_frames(tmp_path):
    from footage import numbered, numbers_of

    stamps = [0, 100, 200, 1000, 1100, 1200, 1300, 1400]  # the third frame stays for 0.8 s
    encode(tmp_path / "v.mkv", numbered(8, 16, 32), codec="ffv1", pixel_format="bgr0", stamps=stamps)
    (tmp_path / "v.txt").write_text("x")
    stream = build_stream([{"folder": str(tmp_path), "fps": 5.0}], Framing(num_frames=7, clip_frames=7, height=16, width=32), seed=0)
    sample = stream.sample(0)
    shown = numbers_of(sample.video)
    assert shown in ([0, 2, 2, 2, 2, 3, 5], [2, 2, 2, 2, 3, 5, 7])
    assert sample.fps == 5.0
    plain = build_stream([{"folder": str(tmp_path)}], Framing(num_frames=8, clip_frames=8, height=16, width=32), seed=0).sample(0)
    assert plain.frame_index.tolist() == pytest.approx([8 * s / 1000 for s in stamps], abs=0.05)


def test_a_file_that_hangs_its_decoder_is_killed_and_one_that_crashes_it_is_named(tmp_path, monkeypatch):
    script = tmp_path / "helper.py"
    script.write_text(
        "import os, sys, time\nfrom flipbook.data.survey import worker\nlook = worker.look\n"
        "def odd(media, *a, **k):\n    name = os.path.basename(media.path)\n    if 'hang' in name: time.sleep(600)\n"
        "    if 'crash' in name: os.abort()\n    return look(media, *a, **k)\n"
        "worker.look = odd\nworker.main()\n"
    )
    close_helpers()
    monkeypatch.setattr(pool, "COMMAND", (pool.COMMAND[0], str(script)))
    medias = [Media(str(clip(tmp_path / f"{name}.mkv"))) for name in ("a", "hang", "crash", "b")]
    found = look_at_all(medias, time_limit=2.0, num_helpers=1)
    close_helpers()
    assert [type(f) for f in found] == [Facts, Broken, Broken, Facts]
    assert [f.rule for f in found if isinstance(f, Broken)] == ["hangs", "crashes"]
    assert "SIGABRT" in found[2].reason


def test_the_reader_of_a_pipe_that_never_ends_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    clip(tmp_path / "a.mkv")
    _, fates = plan_of(tmp_path)
    assert (fates["pipe.mp4"].rule, fates["a.mkv"].rule) == ("no video", "")


def test_duplicates_are_found_by_their_bytes_and_captions_counted(tmp_path):
    for name in ("a", "b", "c"):
        clip(tmp_path / f"{name}.mkv", first=0 if name != "c" else 8)
        (tmp_path / f"{name}.txt").write_text("same words" if name != "c" else "other words here")
    made, _ = plan_of(tmp_path)
    facts = summary(made)
    assert facts["duplicates"] == [["a.mkv", "b.mkv"]]
    assert facts["captions"]["different"] == 2
    assert facts["captions"]["words"] == {"least": 2, "median": 2, "mean": 2.33, "most": 3}
    assert facts["hours"]["kept"] == pytest.approx(3 * 1.0 / 3600, abs=1e-6)
    assert facts["train"] + facts["validation"] + facts["dropped"] == facts["clips"] == 3


def test_a_large_table_is_planned_from_its_columns_alone(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"never opened")
    rows = [{"file_name": "a.mp4", "text": f"clip {i}", "frames": 4 + i % 8, "fps": 8, "height": 64, "width": 64} for i in range(6000)]
    rows[7]["file_name"] = "gone.mp4"
    table(tmp_path / "metadata.csv", rows)
    made, _ = plan_of(tmp_path / "metadata.csv", look="auto")
    facts = summary(made)
    assert facts["sources"][0]["files"].startswith("not opened")
    assert facts["rules"]["missing"] == 1
    assert facts["clips"] == 6000 == facts["train"] + facts["dropped"]


def test_the_command_prints_json_writes_a_page_and_fails_when_nothing_is_left(tmp_path, capsys):
    clip(tmp_path / "set" / "a.mkv")
    (tmp_path / "set" / "zero.mp4").touch()
    picture(tmp_path / "set" / "x.png", 1)
    page = tmp_path / "page.html"
    with pytest.raises(SystemExit) as ended:
        main(["data", "plan", str(tmp_path / "set"), "--num-frames", "8", "--json", "--page", str(page)])
    assert not ended.value.code
    facts = json.loads(capsys.readouterr().out)
    assert (facts["train"], facts["rules"]) == (1, {"empty": 1})
    assert "data:image/jpeg;base64," in page.read_text()
    assert "zero bytes" in page.read_text()
    with pytest.raises(SystemExit) as ended:
        main(["data", "plan", str(tmp_path / "set"), "--num-frames", "9"])
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert "The rule that dropped most is 'too short' (too short 1, empty 1)" in said.err
    assert "dropped: too short" in said.out


def test_a_recipe_is_planned_with_its_own_sources_and_buckets(tmp_path, capsys):
    clip(tmp_path / "set" / "a.mkv", 8, 32, 48)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"output: {tmp_path}/run\nsystem: thumb\nnum_frames: 8\nclip_frames: 8\nheight: 32\nwidth: 32\n"
        f"data: [{{world: shapes}}, {{folder: {tmp_path}/set, weight: 2}}]\n"
        "buckets: {levels: [{side: 32, num_frames: 4}], aspects: [1, 1.5]}\n"
    )
    with pytest.raises(SystemExit) as ended:
        main(["data", "plan", str(recipe), "--json"])
    assert not ended.value.code
    (bucket,) = json.loads(capsys.readouterr().out)["buckets"]
    assert (bucket["num_frames"], bucket["height"], bucket["width"]) == (4, 24, 40)


def test_the_plan_of_buckets_says_where_each_clip_goes(tmp_path):
    clip(tmp_path / "wide.mkv", 8, 40, 64), clip(tmp_path / "tall.mkv", 8, 64, 40), clip(tmp_path / "short.mkv", 3, 48, 48)
    buckets = Buckets.model_validate({"levels": [{"side": 48, "num_frames": 8}, {"side": 48, "num_frames": 1}]})
    _, fates = plan_of(tmp_path, buckets=buckets)
    assert {name: tuple(fate.bucket) for name, fate in fates.items()} == {
        "wide.mkv": (8, 40, 56), "tall.mkv": (8, 56, 40), "short.mkv": (1, 48, 48),
    }  # fmt: skip
