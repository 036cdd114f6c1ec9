"""A folder of clips as a training source: which frames come out, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flipbook.data.sources import Framing, build_stream
from flipbook.video import Video


def write(path, num_frames, size=(16, 16), fps=8.0):
    """A lossless clip whose frame k is grey level k + 1, with a white right half in its lower right corner."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = np.tile((np.arange(num_frames, dtype=np.uint8) + 1)[:, None, None, None], (1, *size, 3))
    frames[:, size[0] // 2 :, size[1] // 2 :] = 255
    Video(frames, fps).write(path, lossless=True, sidecar=False)


def rows(folder, *rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def stream(folder, split="train", framing=None, **options):
    framing = framing or Framing(num_frames=4, clip_frames=4, height=16, width=16)
    return build_stream([{"folder": str(folder), **options}], framing, seed=0, split=split)


def numbers(sample):
    return (sample.video[:, 0, 0, 0].astype(int) - 1).tolist()


@pytest.fixture
def packed(tmp_path):
    """One file of 24 frames at 12 per second with three windows of 8, the last one for validation."""
    write(tmp_path / "packed.mp4", 24, fps=12.0)
    windows = [
        {"file_name": "packed.mp4", "start_frame": 8 * i, "num_frames": 8, "caption": f"part {i}", "split": split}
        for i, split in enumerate(["train", "train", "val"])
    ]
    rows(tmp_path, *windows)
    return tmp_path


@pytest.mark.parametrize("memory_mb", [100, 0])
def test_a_sample_shows_frames_of_its_own_window_with_its_own_caption(packed, memory_mb):
    source = stream(packed, memory_mb=memory_mb)
    starts = set()
    for k in range(40):
        sample = source.sample(k)
        first = numbers(sample)[0]
        assert numbers(sample) == list(range(first, first + 4))
        assert sample.caption == f"part {first // 8}"
        assert first // 8 == (first + 3) // 8 < 2
        starts.add(first)
    assert starts == {*range(5), *range(8, 13)}


def test_the_same_sample_comes_whether_frames_are_kept_or_read_again(packed):
    kept, read = stream(packed, memory_mb=100), stream(packed, memory_mb=0)
    assert all(np.array_equal(kept.sample(k).video, read.sample(k).video) for k in range(8))


def test_an_epoch_shows_every_window_once_and_the_next_one_in_another_order(tmp_path):
    for i in range(7):
        write(tmp_path / f"{i}.mp4", 4)
        (tmp_path / f"{i}.txt").write_text(f"clip {i}\n")
    source = stream(tmp_path)
    epochs = [[source.sample(7 * epoch + k).caption for k in range(7)] for epoch in range(4)]
    assert all(sorted(epoch) == [f"clip {i}" for i in range(7)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_validation_sees_the_val_split_only_and_without_chance(packed):
    held = stream(packed, "val", Framing(num_frames=2, clip_frames=8, height=16, width=16), flip=True)
    assert {held.sample(k).caption for k in range(8)} == {"part 2"}
    assert all(held.sample(k).video[0, -1, -1, 0] == 255 for k in range(8))


def test_source_videos_without_a_split_can_be_held_back_for_validation_and_are_never_torn(tmp_path):
    for i in range(10):
        write(tmp_path / f"{i}.mkv", 8)
    windows = [{"file_name": f"{i}.mkv", "start_frame": s, "num_frames": 4, "caption": str(i)} for i in range(10) for s in (0, 4)]
    rows(tmp_path, *windows)
    seen = {
        split: {stream(tmp_path, split, val_share=0.3).sample(k).caption for k in range(20)}
        for split in ("train", "val")
    }
    assert seen["val"]
    assert not seen["train"] & seen["val"]
    assert len(seen["train"] | seen["val"]) == 10
    with pytest.warns(UserWarning, match="validation looks at training clips"):
        stream(tmp_path, "val")


def test_the_stride_of_source_and_run_and_the_rate_that_is_told(packed):
    framing = Framing(num_frames=2, frame_stride=2, clip_frames=4, height=16, width=16)
    sample = stream(packed, stride=2, framing=framing).sample(0)
    assert np.diff(numbers(sample)).tolist() == [4]
    assert sample.fps == 12 / 2 / 2
    assert sample.frame_index.tolist() == pytest.approx([0, 2 * 8 / 6])
    told = stream(packed, index_fps=8, framing=framing).sample(0)
    assert told.frame_index.tolist() == [0, 2]
    assert told.fps == 4


def test_a_still_is_any_frame_of_the_clip_and_knows_its_place(packed):
    source = stream(packed, index_fps=8, framing=Framing(num_frames=1, clip_frames=8, height=16, width=16))
    seen = {(numbers(sample)[0] % 8, float(sample.frame_index[0])) for sample in map(source.sample, range(100))}
    assert seen == {(i, float(i)) for i in range(8)}


@pytest.mark.parametrize(("size", "min_scale"), [((16, 32), 1.0), ((48, 32), 0.5), ((8, 8), 1.0), ((17, 23), 0.8)])
def test_any_aspect_and_size_is_cut_and_scaled_to_the_run_s(tmp_path, size, min_scale):
    write(tmp_path / "a.mkv", 4, size)
    (tmp_path / "a.txt").write_text("a")
    source = stream(tmp_path, min_scale=min_scale)
    assert {source.sample(k).video.shape for k in range(6)} == {(4, 16, 16, 3)}
    if min_scale < 1 or size == (16, 32):
        assert len({source.sample(k).video.tobytes() for k in range(6)}) > 1


def test_sentences_that_are_true_of_some_clips_are_told_half_of_the_time_but_not_in_validation(packed):
    also = {"": ["seen from above"], "part 1": ["the second part"]}
    source, held = stream(packed, also=also), stream(packed, "val", also=also)
    told = [(sample.caption, int(sample.frame_index[0])) for sample in map(source.sample, range(300))]
    plain, common, second = (sum(words.startswith(start) for words, _ in told) for start in ("part", "seen", "the second"))
    assert plain + common + second == 300
    assert 130 < plain < 170
    assert common > 90
    assert 20 < second < common
    assert {held.sample(k).caption for k in range(20)} == {"part 2"}


def test_a_caption_filter_keeps_the_clips_that_say_so(packed):
    assert {stream(packed, caption_filter="part 1").sample(k).caption for k in range(6)} == {"part 1"}


def test_flipping_mirrors_some_clips(tmp_path):
    write(tmp_path / "a.mp4", 4)
    (tmp_path / "a.txt").write_text("a")
    assert {int(stream(tmp_path, flip=True).sample(k).video[0, -1, -1, 0]) == 255 for k in range(20)} == {True, False}
    assert {int(stream(tmp_path).sample(k).video[0, -1, -1, 0]) == 255 for k in range(20)} == {True}


def test_tables_may_be_csv_and_captions_lists_of_paraphrases(tmp_path):
    write(tmp_path / "a.mp4", 9)
    (tmp_path / "metadata.csv").write_text('file_name,text,start_frame,num_frames,fps\na.mp4,"one, two",3,,6\n')
    sample = stream(tmp_path, framing=Framing(num_frames=2, clip_frames=6, height=16, width=16)).sample(0)
    assert (sample.caption, numbers(sample), sample.fps) == ("one, two", [3, 4], 6.0)
    (tmp_path / "metadata.csv").unlink()
    rows(tmp_path, {"file_name": "a.mp4", "caption": ["one", "two"]})
    assert {stream(tmp_path).sample(k).caption for k in range(20)} == {"one", "two"}


def test_a_clip_without_words_trains_with_a_warning(tmp_path):
    write(tmp_path / "a.mp4", 4)
    with pytest.warns(UserWarning, match=r"1 of 1 clips have no caption.*a\.mp4"):
        assert stream(tmp_path).sample(0).caption == ""


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"caption": "x"}, r"bad row 1\); the first: .*line 2: file_name: no file is named"),
        ({"file_name": "b.mp4", "caption": "x"}, r"missing 1.*line 2: .*b\.mp4: there is no such file"),
        ({"file_name": "a.mp4", "caption": "x", "start_frame": -1}, "bad row 1.*line 2: start_frame: -1 is not"),
        ({"file_name": "a.mp4", "caption": "x", "start_frame": 4, "num_frames": 8}, "window 1.*line 2: the window of 8"),
        ({"file_name": "a.mp4", "caption": "x", "start_frame": 90}, "window 1.*the window of -82 frames from frame 90"),
        ({"file_name": "a.mp4", "caption": "x", "num_frames": 3}, "too short 1.*line 2: the window has 3 .* sample spans 4"),
        ({"file_name": "empty.mp4", "caption": "x"}, r"empty 1.*line 2: .*empty\.mp4"),
        ("text", "bad row 1.*line 2: each row is an object"),
    ],
)  # fmt: skip
def test_a_bad_row_is_left_out_and_named_by_its_line_and_rule(tmp_path, row, message):
    write(tmp_path / "a.mp4", 8)
    (tmp_path / "empty.mp4").touch()
    rows(tmp_path, {"file_name": "a.mp4", "caption": "good"}, row)
    with pytest.warns(UserWarning, match=f"1 of 2 clips are left out .{message}"):
        assert stream(tmp_path).sample(0).caption == "good"
    if "file_name" in row:
        rows(tmp_path, row, row)
        with pytest.raises(ValueError, match=r"none of the 2 clips is left.*The rule that dropped most is"):
            stream(tmp_path)


def test_what_is_no_folder_of_clips_is_refused(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        stream(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="lists no clip"):
        stream(tmp_path)
    (tmp_path / "metadata.jsonl").write_text("{oops\n")
    with pytest.raises(ValueError, match="line 1: not valid JSON"):
        stream(tmp_path)


def test_a_broken_clip_is_named_once_and_the_sentence_ends_once(tmp_path):
    for name in ("a", "empty"):
        (tmp_path / f"{name}.txt").write_text("a clip")
    write(tmp_path / "a.mp4", 8)
    (tmp_path / "empty.mp4").touch()
    with pytest.warns(UserWarning, match="1 of 2 clips are left out") as caught:
        stream(tmp_path).sample(0)
    said = str(caught[0].message)
    assert said.count("empty.mp4") == 1
    assert ".." not in said


def test_options_and_filters_that_do_not_fit_are_refused(packed):
    with pytest.raises(ValueError, match=r"data\.0: strid: unknown key\. Did you mean 'stride'\?"):
        stream(packed, strid=2)
    with pytest.raises(ValueError, match=r"data\.0: val_share: .* \(got 3\)\."):
        stream(packed, val_share=3)
    with pytest.raises(ValueError, match=r"rule that dropped most is 'filter' .filter 3.*asked for name 'goes'"):
        stream(packed, filter="goes")
    with pytest.raises(ValueError, match=r"rule that dropped most is 'other split'.*split \"train\", and \"dev\" trains"):
        build_stream([{"folder": str(packed), "split": "dev"}], Framing(num_frames=4), seed=0)


def test_real_training_clips_come_out_by_window(shared_train_clips):
    framing = Framing(num_frames=8, frame_stride=2, height=32, width=32)
    source = build_stream([{"folder": str(shared_train_clips), "filter": "goes/vis", "index_fps": 8}], framing, seed=0)
    sample = source.sample(3)
    assert sample.video.shape == (8, 32, 32, 3)
    assert sample.frame_index.tolist() == list(range(0, 16, 2))
    assert "satellite" in sample.caption
    assert sample.video.std() > 5
