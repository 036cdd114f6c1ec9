"""Layouts: what is listed, what is refused, and that the frames which training sees are the right ones."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import replicas
from replicas import clip, frames_of, numbers_of, picture, table

from flipbook.data.layouts import list_clips
from flipbook.data.layouts.columns import resolve


def shown(folder, count, **options):
    """Caption to frame numbers of `count` samples."""
    samples = [frames_of(folder, k, num_frames=8, **options) for k in range(count)]
    return {s.caption: numbers_of(s.video) for s in samples}


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.json", "metadata.jsonl", "metadata.tsv", "metadata.parquet", "my.csv"])
@pytest.mark.parametrize(("file", "caption"), [("file_name", "text"), ("Video Path", "Prompt"), ("path", "description"), ("video", "name")])
def test_a_table_in_any_format_and_spelling_gives_the_same_clips(tmp_path, name, file, caption):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    clip(tmp_path / "a.mp4", 12)
    table(tmp_path / name, [{file: "a.mp4", caption: "one", "start_frame": 2, "num_frames": 6}])
    listing = list_clips(tmp_path)
    (found,) = listing.clips
    assert (found.captions, found.start_frame, found.num_frames) == (("one",), 2, 6)
    assert not listing.dropped


@pytest.mark.parametrize(
    ("columns", "frames"),
    [
        ({"start_frame": 3, "num_frames": 4}, [3, 4, 5, 6]),
        ({"start_frame": 3, "end_frame": 7}, [3, 4, 5, 6]),
        ({"start": 0.5, "end": 1.0}, [4, 5, 6, 7]),
        ({"start_time": "0:00:00.5", "end_time": "0:00:01.0"}, [4, 5, 6, 7]),
        ({"start": 1.0}, [8, 9, 10, 11]),
    ],
)
def test_a_window_in_frames_or_seconds_is_the_same_window(tmp_path, columns, frames):
    clip(tmp_path / "a.mp4", 12)
    table(tmp_path / "metadata.jsonl", [{"file_name": "a.mp4", "text": "x", **columns}])
    assert numbers_of(frames_of(tmp_path).video) == frames


def test_two_columns_that_could_be_the_caption_are_refused_until_one_is_chosen(tmp_path):
    clip(tmp_path / "a.mp4")
    table(tmp_path / "metadata.csv", [{"file_name": "a.mp4", "text": "short", "description": "long"}])
    with pytest.raises(ValueError, match=r"text and description could all be the caption.*Columns there: file_name, text, desc"):
        list_clips(tmp_path)
    assert list_clips(tmp_path, columns={"caption": "description"}).clips[0].captions == ("long",)


def test_the_columns_of_a_table_without_files_are_listed():
    with pytest.raises(ValueError, match=r"no column says which file. Columns there: id, words"):
        resolve(["id", "words"])
    with pytest.raises(ValueError, match=r"video and path could all be the file"):
        resolve(["video", "path"])
    assert resolve(["file_name", "video"])["file"] == "file_name"  # a standard, not a guess
    assert resolve(["name", "caption"]) == {"file": "name", "caption": "caption"}
    assert resolve(["video", "name"]) == {"file": "video", "caption": "name"}


def test_files_are_found_in_videos_and_without_their_suffix(tmp_path):
    clip(tmp_path / "videos" / "a.mp4")
    table(tmp_path / "metadata.csv", [{"video": "a", "text": "x"}])
    listing = list_clips(tmp_path)
    assert listing.clips[0].media.path == str(tmp_path / "videos" / "a.mp4")
    assert len(listing.notes) == 2


def test_bad_rows_are_listed_with_their_line_and_the_others_stay(tmp_path):
    (tmp_path / "metadata.csv").write_text(
        'file_name,text,start_frame\na.mp4,good,0\n,lost,0\nb.mp4,x,minus\nc.mp4,one, two,0\nd.mp4,x,1.5\n'
    )
    listing = list_clips(tmp_path)
    assert [c.name for c in listing.clips] == ["a.mp4"]
    lines = [(d.where.rsplit(" ", 1)[1], d.rule) for d in listing.dropped]
    assert lines == [("3", "bad row"), ("4", "bad row"), ("5", "bad row"), ("6", "bad row")]


def test_lists_of_videos_and_prompts_match_line_by_line_or_are_refused(tmp_path):
    clip(tmp_path / "v" / "a.mp4"), clip(tmp_path / "v" / "b.mp4", first=4)
    (tmp_path / "videos.txt").write_text("v/a.mp4\nv/b.mp4\n")
    (tmp_path / "prompts.txt").write_text("first\nsecond\n\n")
    assert [(c.name, c.captions) for c in list_clips(tmp_path).clips] == [("v/a.mp4", ("first",)), ("v/b.mp4", ("second",))]
    (tmp_path / "prompts.txt").write_text("only\n")
    with pytest.raises(ValueError, match=r"videos.txt has 2 lines and prompts.txt 1"):
        list_clips(tmp_path)


def test_webvid_s_caption_is_called_name_and_its_path_is_made_of_two_columns(tmp_path):
    path = replicas.webvid(tmp_path)
    listing = list_clips(path)
    assert listing.layout == "WebVid"
    assert [c.captions[0] for c in listing.clips] == ["Sky 0, slow", "Sky 1, slow", "Sky 2, slow"]
    assert listing.clips[0].declared.seconds == 1.0
    with pytest.warns(UserWarning, match=r"1 of 3 clips are left out .missing 1"):
        seen = [frames_of(tmp_path, k, num_frames=8) for k in range(2)]
    assert {s.caption: numbers_of(s.video)[0] for s in seen} == {"Sky 0, slow": 0, "Sky 1, slow": 8}


@pytest.mark.filterwarnings("ignore:.*have no caption")
def test_sky_time_lapse_folders_are_clips_in_the_order_of_their_last_number(tmp_path):
    replicas.sky_timelapse(tmp_path)
    listing = list_clips(tmp_path)
    assert (listing.layout, len(listing.clips)) == ("frame folders", 6)
    assert {c.split for c in listing.clips} == {"train", "val"}
    assert len({c.group for c in listing.clips}) == 3
    assert numbers_of(frames_of(tmp_path, num_frames=12).video) == list(range(12))  # frame 2 before frame 10


def test_ucf101_keeps_groups_whole_and_says_classes_in_words(tmp_path):
    replicas.ucf101(tmp_path)
    listing = list_clips(tmp_path)
    assert [d.rule for d in listing.dropped] == ["no split list"]
    sides = {(c.captions[0], c.group): c.split for c in listing.clips}
    assert sides == {
        ("apply eye makeup", "ApplyEyeMakeup_g01"): "val", ("apply eye makeup", "ApplyEyeMakeup_g02"): "train",
        ("yo yo", "YoYo_g01"): "val", ("yo yo", "YoYo_g02"): "train",
    }  # fmt: skip
    with pytest.warns(UserWarning, match=r"no split list 1"):
        assert numbers_of(frames_of(tmp_path, num_frames=8).video) == list(range(8, 16))  # a training group


def test_ucf101_lists_that_tear_a_group_are_refused(tmp_path):
    replicas.ucf101(tmp_path)
    lists = tmp_path / "ucfTrainTestlist"
    rows = (lists / "trainlist01.txt").read_text().splitlines()
    (lists / "testlist01.txt").write_text((lists / "testlist01.txt").read_text() + rows[0].split()[0] + "\n")
    (lists / "trainlist01.txt").write_text("\n".join(rows[1:]))
    with pytest.raises(ValueError, match=r"tear 1 groups apart, the first is ApplyEyeMakeup_g02"):
        list_clips(tmp_path)


def test_moving_mnist_has_time_first(tmp_path):
    path = replicas.moving_mnist(tmp_path)
    assert len(list_clips(path).clips) == 10
    from flipbook.data.sources import Framing, build_stream

    sample = build_stream([{"folder": str(path)}], Framing(num_frames=8, clip_frames=8), seed=0).sample(3)
    lit = [np.argwhere(frame[..., 0] > 100) for frame in sample.video]  # the square moves down, never to the right
    assert [int(place[:, 0].min()) for place in lit] == list(range(0, 16, 2))
    assert len({int(place[:, 1].min()) for place in lit}) == 1
    np.save(tmp_path / "clips.npy", np.zeros((9, 4, 8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"time comes first.*swapaxes"):
        list_clips(tmp_path / "clips.npy")
    with pytest.raises(ValueError, match=r"clips.npy, mnist_test_seq.npy could all be the clips"):
        list_clips(tmp_path)


def test_pick_a_pic_gives_both_pictures_of_a_pair_and_which_was_preferred(tmp_path):
    pytest.importorskip("pyarrow")
    replicas.pick_a_pic(tmp_path)
    listing = list_clips(tmp_path)
    assert [c.preference for c in listing.clips] == [1.0, 0.0, 0.5, 1.0]
    assert [d.rule for d in listing.dropped] == ["no label"]
    with pytest.warns(UserWarning, match=r"no label 1"):
        sample = frames_of(tmp_path, num_frames=1)
    i = int(sample.caption.split()[1])
    assert sample.is_image
    assert numbers_of(sample.video) == [2 * i]
    assert sample.extra["rival"].shape == (1, 16, 32, 3)
    assert sample.extra["preference"] == listing.clips[i].preference


def test_shards_are_read_by_position_and_a_broken_one_is_listed(tmp_path):
    replicas.shards(tmp_path / "whole")
    assert shown(tmp_path / "whole", 4) == {f"caption 0000{s}000{i}": [4 * (2 * s + i) + n for n in range(8)] for s in (0, 1) for i in (0, 1)}
    listing = list_clips(replicas.shards(tmp_path / "broken", truncated=True))
    assert len(listing.clips) == 2
    assert listing.dropped
    assert {d.rule for d in listing.dropped} <= {"damaged", "truncated", "bad row"}
    with pytest.raises(ValueError, match=r"neither a folder of clips nor a table"):
        (tmp_path / "x.bin").write_text("x"), list_clips(tmp_path / "x.bin")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")  # it leaves shards open
def test_shards_agree_with_webdataset_s_own_reader(tmp_path):
    wds = pytest.importorskip("webdataset")
    replicas.shards(tmp_path)
    paths = [str(p) for p in sorted(tmp_path.glob("*.tar"))]
    theirs = [(s["__key__"], s["txt"].decode(), len(s["mp4"])) for s in wds.WebDataset(paths, shardshuffle=False)]
    gc.collect()
    ours = [(c.name.split(":")[1], c.captions[0], c.media.length) for c in list_clips(tmp_path).clips]
    assert ours == theirs


def test_images_with_words_are_stills_and_say_so(tmp_path):
    for i in range(3):
        picture(tmp_path / f"img_{i}.png", i)
        (tmp_path / f"img_{i}.txt").write_text(f"picture {i}")
    assert list_clips(tmp_path).layout == "images"
    sample = frames_of(tmp_path, num_frames=1)
    assert sample.is_image
    assert numbers_of(sample.video) == [int(sample.caption.split()[1])]
    with pytest.raises(ValueError, match=r"too short"):
        frames_of(tmp_path, num_frames=4)


def test_two_tables_in_one_folder_are_not_guessed_between(tmp_path):
    for name in ("a.csv", "b.csv"):
        table(tmp_path / name, [{"file": "x.mp4"}])
    with pytest.raises(ValueError, match=r"a.csv, b.csv could all be the table"):
        list_clips(tmp_path)
