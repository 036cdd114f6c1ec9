"""Files with faults are handled or refused by name: nothing hangs, nothing is guessed."""

from __future__ import annotations

import os
import random
from contextlib import suppress

import numpy as np
import pytest

from flipbook.files import container, read
from flipbook.files.errors import (
    DamagedVideo,
    EmptyVideo,
    MissingVideo,
    NotAVideo,
    TooLarge,
    TruncatedVideo,
    VideoError,
)
from flipbook.files.probe import probe
from flipbook.video import Video
from footage import encode, gradients, numbered, numbers_of, sound_only, tone, video

FORMATS = ["clip.mp4", "clip.mov", "clip.mkv", "clip.webm", "clip.gif", "clip.webp"]


def test_a_missing_file_is_also_a_file_not_found_error(tmp_path):
    with pytest.raises(MissingVideo, match="no such file") as caught:
        Video.read(tmp_path / "gone.mp4")
    assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("name", [*FORMATS, "clip.png"])
def test_zero_bytes_are_named(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(EmptyVideo, match="zero bytes"):
        Video.read(tmp_path / name)


def test_text_with_the_name_of_a_video_is_called_text(tmp_path):
    (tmp_path / "clip.mp4").write_text("<html>404 not found</html>\n")
    with pytest.raises(NotAVideo, match="text"):
        Video.read(tmp_path / "clip.mp4")


def test_random_bytes_are_no_video(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(random.Random(0).randbytes(5000))
    with pytest.raises(VideoError, match=r"format|decoded"):
        Video.read(tmp_path / "clip.mp4")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_file_that_was_cut_off_is_called_so(tmp_path, name, share):
    path = video(16, audio=tone(2.0)).write(tmp_path / name)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    for look in (Video.read, probe):
        with pytest.raises(TruncatedVideo, match="cut off"):
            look(path)


def test_a_cut_off_still_is_called_so(tmp_path):
    path = Video(gradients(1), 1.0).write(tmp_path / "still.png")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TruncatedVideo, match="cut off"):
        Video.read(path)


@pytest.mark.parametrize("name", FORMATS)
def test_flipped_bytes_end_in_frames_or_in_a_named_error(tmp_path, name):
    path = video(8, audio=tone(1.0)).write(tmp_path / name)
    data = path.read_bytes()
    for seed in range(12):
        luck, broken = random.Random(seed), bytearray(data)
        for _ in range(1 + 10 * (seed % 3)):
            broken[luck.randrange(len(broken))] = luck.randrange(256)
        path.write_bytes(broken)
        for look in (Video.read, probe):
            with suppress(VideoError):  # any other error fails the test
                look(path)


def test_sound_alone_has_no_frames(tmp_path):
    with pytest.raises(NotAVideo, match="sound only"):
        Video.read(sound_only(tmp_path / "song.mp4"))


def test_a_folder_without_images_says_so(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(EmptyVideo, match="no images"):
        Video.read(tmp_path)


def test_images_of_different_sizes_are_refused_by_name_or_brought_to_one(tmp_path):
    from PIL import Image

    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    Image.new("RGB", (50, 30)).save(tmp_path / "b.png")
    with pytest.raises(VideoError, match=r"b\.png.*50x30.*40x30.*height"):
        Video.read(tmp_path)
    assert Video.read(tmp_path, height=16, width=16).frames.shape == (2, 16, 16, 3)


def test_pipes_do_not_hang_the_reader(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(NotAVideo, match="pipe"):
        Video.read(tmp_path / "pipe.mp4")


@pytest.mark.parametrize("name", ["one.mp4", "one.gif", "one.webp", "one.webm", "one.png"])
def test_one_frame_is_a_video(tmp_path, name):
    clip = Video.read(video(1).write(tmp_path / name))
    assert len(clip) == 1
    assert clip.seconds > 0


def test_a_video_that_would_not_fit_in_memory_is_refused_before_decoding(tmp_path, monkeypatch):
    path = video(20).write(tmp_path / "clip.mp4")
    monkeypatch.setattr(read, "LARGEST_READ", 20_000)
    with pytest.raises(TooLarge, match="num_frames"):
        Video.read(path)
    assert len(Video.read(path, num_frames=4)) == 4


def test_a_decoder_that_brings_no_frames_is_stopped(tmp_path, monkeypatch):
    path = video(20).write(tmp_path / "clip.mp4")
    monkeypatch.setattr(container, "PATIENCE", -1.0)
    with pytest.raises(DamagedVideo, match="no new frame"):
        Video.read(path)


STAMPS = [0, 40, 80, 200, 240, 260, 500, 520]  # milliseconds


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_variable_rate_is_kept_or_resampled_by_presentation_time(tmp_path, name):
    path = encode(tmp_path / name, numbered(8), stamps=STAMPS)
    kept = Video.read(path)
    assert kept.times == pytest.approx(np.array(STAMPS) / 1000)
    assert not probe(path).constant_rate
    even = Video.read(path, fps=10)
    assert numbers_of(even.frames) == [0, 2, 3, 5, 5, 6]
    assert even.times is None
    window = Video.read(path, start_frame=2, num_frames=3)
    assert window.times == pytest.approx([0, 0.12, 0.16])
    assert window.seconds == pytest.approx(0.18)


def test_a_recording_that_begins_late_begins_at_its_first_frame(tmp_path):
    path = encode(tmp_path / "clip.mp4", numbered(8), stamps=[s + 3000 for s in STAMPS])
    assert numbers_of(Video.read(path, start=0.2, end=0.25).frames) == [3, 4]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("clip.mp4", "libx264", {"bf": "3", "g": "12"}),
        ("clip.ts", "libx264", {"bf": "3", "g": "12"}),
        # without cutree, which writes past its buffers for pictures this small
        ("clip.mkv", "libx265", {"x265-params": "log-level=0:cutree=0:bframes=3:keyint=12:open-gop=1"}),
        ("clip.webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16"}),
        ("clip.avi", "mpeg4", {"bf": "2"}),
        ("clip.mpg", "mpeg2video", {}),
    ],
)
def test_frames_are_counted_and_found_exactly_in_whatever_way_they_are_stored(tmp_path, name, codec, options):
    path = encode(tmp_path / name, numbered(40), codec=codec, **options)
    assert numbers_of(Video.read(path).frames) == list(range(40))
    assert probe(path).num_frames == 40
    for first, count in [(11, 3), (12, 1), (13, 2), (37, 3)]:
        assert numbers_of(Video.read(path, start_frame=first, num_frames=count).frames) == list(
            range(first, first + count)
        )


def test_what_an_edit_list_cuts_away_does_not_count(tmp_path):
    """A phone's 'trim' leaves the frames in the file and lets an edit list (ISO 14496-12, elst) skip them."""
    path = encode(tmp_path / "clip.mp4", numbered(20), bf="2")
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 16
    ticks_per_frame = 512  # libav's time base for 25 fps is 1/12800
    data[at : at + 4] = (int.from_bytes(data[at : at + 4], "big") + 5 * ticks_per_frame).to_bytes(4, "big")
    path.write_bytes(data)
    assert numbers_of(Video.read(path).frames)[0] == 5
    count = len(Video.read(path))
    assert probe(path).num_frames == count
    assert numbers_of(Video.read(path, start_frame=3, num_frames=2).frames) == [8, 9]


def test_a_poster_before_an_animated_png_is_not_a_frame(tmp_path):
    from PIL import Image

    stills = [Image.fromarray(frame) for frame in numbered(4)]
    stills[0].save(tmp_path / "clip.png", save_all=True, append_images=stills[1:], default_image=True, duration=50)
    clip = Video.read(tmp_path / "clip.png")
    assert numbers_of(clip.frames) == [1, 2, 3]
    assert clip.fps == 20


def test_gif_delays_of_zero_are_a_tenth_of_a_second_as_in_browsers(tmp_path):
    from PIL import Image

    stills = [Image.fromarray(frame) for frame in numbered(4)]
    stills[0].save(tmp_path / "clip.gif", save_all=True, append_images=stills[1:], duration=0)
    assert Video.read(tmp_path / "clip.gif").fps == 10
