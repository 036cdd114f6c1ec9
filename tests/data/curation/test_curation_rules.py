"""What stages decide, on rows written by hand: where shots begin, what slides are, which copy stays, who validates, what is packed."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2", reason="curation needs the extra `data`")

from flipbook.data.curation.cut import Cut
from flipbook.data.curation.dedup import Dedup, copies_of
from flipbook.data.curation.detector import Border, Signals, find_borders
from flipbook.data.curation.ledger import digest, dumps, pack_vector, read_rows, write_rows
from flipbook.data.curation.overlay import find_text, text_lines
from flipbook.data.curation.pack import Pack
from flipbook.data.curation.select import Select
from flipbook.data.curation.split import Split
from flipbook.data.curation.still import Slideshow
from flipbook.data.world.font import bitmap
from flipbook.video import Video
from footage import gradients

SOURCE = {"path": "a.mp4", "source": "a.mp4", "start_frame": 100, "frames": 40, "fps": 10.0}


@pytest.fixture
def shots(monkeypatch):
    """The shots (start, frames, cut_before) of a source with a cut at its frame 10 and a dissolve from 22 to 28."""
    borders = [Border(10, "cut", 10, 10, 1.0), Border(25, "dissolve", 22, 28, 1.0)]
    monkeypatch.setattr(Cut, "find", lambda self, frames, fps: (borders, np.zeros(40)))
    return lambda **options: Cut(**{"min_frames": 1, **options}).run(SOURCE, None)


def test_shots_lie_between_borders_and_what_a_dissolve_mixes_belongs_to_none(shots):
    found = shots()
    assert [(s["start_frame"], s["frames"], s["cut_before"]) for s in found] == [(100, 10, None), (110, 12, "cut"), (128, 12, "dissolve")]
    assert [(s["start_s"], s["end_s"]) for s in found] == [(10.0, 11.0), (11.0, 12.2), (12.8, 14.0)]


def test_a_margin_is_left_out_at_borders_and_not_at_the_ends_of_the_source(shots):
    assert [(s["start_frame"], s["frames"]) for s in shots(margin=2)] == [(100, 8), (112, 8), (130, 10)]


def test_a_long_shot_is_divided_evenly_and_a_short_one_is_dropped_with_its_length(shots):
    assert [s["frames"] for s in shots(max_seconds=0.5)] == [5, 5, 4, 4, 4, 4, 4, 4]
    short, *others = shots(min_frames=11)
    assert (short["keep"], short["drop_rule"]) == (False, "shot too short")
    assert "10 frames" in short["drop_reason"]
    assert all("keep" not in shot for shot in others)


def test_a_shot_that_breaks_all_the_time_is_wild_and_not_cut_at_every_frame():
    wild = Signals(np.full(40, 5.0), np.zeros((3, 40)), np.zeros((3, 40)))
    assert find_borders(wild, threshold=4.0) == []
    wild.breaks[17] = 30.0
    assert [border.frame for border in find_borders(wild, threshold=4.0)] == [17]


def slides(*shots: tuple[int, int, str | None, float, str]) -> list[bool]:
    names = ("start_frame", "frames", "cut_before", "still_share", "path")
    rows = [dict(zip(names, shot, strict=True)) for shot in shots]
    return [row["slideshow"] for row in Slideshow().run(rows, Path())]


def test_slides_stand_follow_each_other_by_cuts_and_keep_pace():
    assert slides((0, 8, None, 1.0, "a"), (8, 8, "cut", 1.0, "a"), (16, 9, "cut", 0.8, "a")) == [True, True, True]
    assert slides((0, 5, "dissolve", 1.0, "a"), (5, 8, "cut", 1.0, "a"), (13, 8, "cut", 1.0, "a")) == [True, True, True]
    assert slides((0, 8, None, 1.0, "a"), (8, 16, "cut", 1.0, "a")) == [False, False]                # no even pace
    assert slides((0, 8, None, 1.0, "a"), (12, 8, "cut", 1.0, "a")) == [False, False]                # something between
    assert slides((0, 8, None, 1.0, "a"), (8, 8, "cut", 1.0, "b")) == [False, False]                 # another file
    assert slides((0, 8, None, 1.0, "a"), (8, 8, "dissolve", 1.0, "a")) == [False, False]
    assert slides((0, 8, None, 1.0, "a"), (8, 8, "cut", 0.4, "a")) == [False, False]                 # it moves
    assert slides((0, 8, None, 1.0, "a")) == [False]


def test_dark_writing_is_found_and_what_flickers_or_has_two_letters_is_none():
    ink = bitmap("NEWS 24")
    page = np.full((4, 64, 64, 3), 200, np.uint8)
    dark = page.copy()
    dark[:, 20 : 20 + ink.shape[0], 5 : 5 + ink.shape[1]][:, ink] = 20
    assert max(right - left for left, _, right, _ in find_text(dark, (64,))) * 64 == pytest.approx(ink.shape[1], abs=2)
    dark[2] = page[2]                                          # gone in one of four frames
    assert find_text(dark, (64,)) == []
    pieces = np.zeros((30, 60), bool)
    for left, count in ((2, 1), (14, 2), (26, 3)):
        pieces[10:15, left : left + 10] = True
        assert len(text_lines(pieces, 12.0)) == (count == 3)


def seen(name: str, hashes: int, vector: list[float], frames: int = 16, course: float = 10.0, grain: float = 0.0) -> dict:
    facts = {"clip_id": name, "frames": frames, "fps": 8.0, "height": 64, "width": 64}
    chance = np.random.default_rng(0)
    change = course * chance.choice([-1, 1], 512) + grain * chance.choice([-1, 1], 512)
    return {**facts, "phash": [f"{hashes:016x}"] * 3, "embedding": pack_vector(np.array(vector)), "course": pack_vector(change)}


def test_a_duplicate_agrees_in_hash_and_embedding_and_length():
    first = seen("a", 0, [1, 0])
    assert Dedup().pairs([first, seen("b", 0, [1, 0], 17)]) == [(0, 1)]
    assert Dedup().pairs([first, seen("b", 0, [1, 0], 24)]) == []
    assert Dedup().pairs([first, seen("b", 0, [0, 1])]) == []
    assert Dedup().pairs([first, seen("b", 2**17 - 1, [1, 0])]) == []
    assert Dedup().pairs([first, seen("b", 2**16 - 1, [1, 0])]) == [(0, 1)]


@pytest.mark.parametrize(
    ("changes", "same"),
    [({}, True), ({"grain": 5.0}, True), ({"grain": 7.0}, False), ({"course": -10.0}, False), ({"course": 0.0}, False)],
)
def test_clips_that_look_alike_and_change_in_other_ways_are_no_copies(changes, same):
    """Levels of change are 10; a distance of 5, less 1.5 for grain, is 0.31 of the larger change of 11.2."""
    assert Dedup().pairs([seen("a", 0, [1, 0]), seen("b", 0, [1, 0], **changes)]) == ([(0, 1)] if same else [])


def test_clips_that_stand_are_copies_whatever_their_grain():
    assert Dedup().pairs([seen("a", 0, [1, 0], course=0.0), seen("b", 0, [1, 0], course=0.0, grain=1.4)]) == [(0, 1)]


def test_a_clip_whose_only_twin_goes_stays():
    rows = [{"clip_id": name, "height": side, "width": 64, "sharpness": 1.0} for name, side in (("a", 96), ("b", 80), ("c", 64))]
    assert {name: row["clip_id"] for name, row in copies_of([(0, 1), (1, 2)], rows).items()} == {"b": "a"}


def test_a_clip_must_pass_every_rule_and_percentiles_are_of_what_came_so_far(tmp_path):
    rows = [{"clip_id": str(i), "speed": float(i), "luma": 0.5} for i in range(5)]
    rows[4]["luma"] = 0.99
    gone = {"clip_id": "gone", "speed": 1000.0, "luma": 0.5, "keep": False, "dropped_by": "probe"}
    done = Select(keep_if=("speed >= percentile(speed, 50)", "luma <= 0.9")).run([*rows, gone, dict(gone)], tmp_path)
    assert [row["clip_id"] for row in done if row.get("keep", True)] == ["2", "3"]
    assert done[4]["drop_rule"] == "luma <= 0.9"
    assert done[5] == gone


def test_copies_share_a_split_and_a_table_may_state_it(tmp_path):
    rows = []
    for i in range(40):
        rows += [{"clip_id": f"a{i}", "source": f"a{i}", "dup_of": None}, {"clip_id": f"b{i}", "source": f"b{i}", "dup_of": f"a{i}"}]
    done = Split(val_share=0.5).run(rows, tmp_path)
    assert [row["split"] for row in done[::2]] == [row["split"] for row in done[1::2]]
    assert {row["split"] for row in done} == {"train", "val"}
    stated = [{"clip_id": str(i), "source": f"v{i // 2}", "given_split": "test"} for i in range(20)]
    assert {row["split"] for row in Split(given=True).run(stated, tmp_path)} == {"test"}
    assert "test" not in {row["split"] for row in Split().run(stated, tmp_path)}
    stated[0]["given_split"] = "train"                         # the clips of v0 do not agree
    assert Split(given=True).run(stated, tmp_path)[0]["split"] != "test"


@pytest.fixture
def kept(tmp_path) -> list[dict]:
    """Two clips of one file of 12 frames without loss, and a row that was dropped."""
    Video(gradients(12, 48, 64), 8.0).write(tmp_path / "film.mkv", lossless=True)
    facts = {"path": str(tmp_path / "film.mkv"), "source": "film.mkv", "fps": 8.0, "height": 48, "width": 64}
    return [
        {**facts, "clip_id": "one", "start_frame": 0, "frames": 4, "caption": "first"},
        {**facts, "clip_id": "two", "start_frame": 4, "frames": 5, "caption": "zweiter Teil, größer"},
        {**facts, "clip_id": "bad", "start_frame": 9, "frames": 3, "caption": "", "keep": False},
    ]


def test_the_packed_clip_is_its_window_and_what_an_earlier_run_left_goes(kept, tmp_path):
    place = tmp_path / "out" / "clips"
    place.mkdir(parents=True)
    for name in ("old-9.mp4", "notes.txt"):
        (place / name).touch()
    done = Pack(quality="lossless").run(kept, tmp_path / "out")
    assert sorted(path.name for path in place.iterdir()) == ["metadata.jsonl", "notes.txt", "one-4.mp4", "two-5.mp4"]
    frames = Video.read(tmp_path / "out" / done[1]["file_name"]).frames
    assert np.array_equal(frames, Video.read(kept[1]["path"]).frames[4:9])
    told = read_rows(place / "metadata.jsonl")
    assert [(row["clip_id"], row["caption"]) for row in told] == [("one", "first"), ("two", "zweiter Teil, größer")]
    assert "file_name" not in done[2]


def test_shards_hold_clip_words_and_facts_and_the_same_clips_make_the_same_bytes(kept, tmp_path):
    for name in ("a", "b"):
        Pack(form="shards", per_shard=1).run(kept, tmp_path / name)
    shards = sorted((tmp_path / "a" / "clips").glob("*.tar"))
    assert [shard.name for shard in shards] == ["00000.tar", "00001.tar"]
    with tarfile.open(shards[1]) as tar:
        parts = {name: tar.extractfile(name).read() for name in tar.getnames()}
    assert sorted(parts) == ["two.json", "two.mp4", "two.txt"]
    assert parts["two.txt"].decode() == "zweiter Teil, größer"
    assert json.loads(parts["two.json"])["num_frames"] == 5
    assert all(shard.read_bytes() == (tmp_path / "b" / "clips" / shard.name).read_bytes() for shard in shards)


def test_the_ledger_holds_every_row_and_its_text_depends_on_values_alone(tmp_path):
    rows = [{"clip_id": "a", "keep": True}, {"keep": False, "clip_id": "b"}]
    write_rows(tmp_path / "ledger.jsonl", rows)
    assert read_rows(tmp_path / "ledger.jsonl") == rows
    assert dumps({"b": 0.1 + 0.2, "a": np.float32(0.5)}) == dumps({"a": 0.5, "b": 0.3}) == '{"a": 0.5, "b": 0.3}'
    assert dumps({"a": float("nan")}) == '{"a": null}'
    (tmp_path / "ledger.jsonl").write_text('{"a": 1}\nnot json\n')
    with pytest.raises(ValueError, match="line 2"):
        read_rows(tmp_path / "ledger.jsonl")


def test_other_options_or_another_row_ask_for_another_key():
    keys = {digest(["1.0", ("cut", {"min_frames": n})], {"clip_id": name}) for n in (8, 9) for name in "ab"}
    assert len(keys) == 4
