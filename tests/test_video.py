"""`Video` and the formats it is written in: what goes in comes out."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from flipbook.files.container import Container
from flipbook.video import Audio, Video, VideoError
from footage import encode, gradients, numbered, numbers_of, tone, video

LOSSY = ["clip.mp4", "clip.mov", "clip.mkv", "clip.webm", "clip.gif", "clip.webp"]
EXACT = ["clip.mp4", "clip.mov", "clip.mkv", "clip.webm", "clip.webp", "clip"]


def test_importing_video_brings_no_decoder_and_no_torch():
    check = "import sys, flipbook.video; print([m for m in ('torch', 'av', 'PIL', 'typer') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("name", LOSSY)
def test_every_format_keeps_each_frame_its_order_and_the_rate(tmp_path, name):
    back = Video.read(video(20, fps=12.5).write(tmp_path / name))
    assert numbers_of(back.frames) == list(range(20))
    assert back.fps == 12.5
    assert back.times is None


@pytest.mark.parametrize("name", LOSSY)
def test_equal_frames_are_not_merged(tmp_path, name):
    still = Video(np.full((7, 32, 32, 3), 90, np.uint8), 8.0)
    assert len(Video.read(still.write(tmp_path / name))) == 7


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("size", [(32, 48), (31, 17)])
def test_lossless_files_return_every_bit(tmp_path, name, size):
    noise = np.random.default_rng(0).integers(0, 256, (5, *size, 3), dtype=np.uint8)
    back = Video.read(Video(noise, 8.0).write(tmp_path / name, lossless=True))
    assert np.array_equal(back.frames, noise)


def test_a_gif_is_exact_where_a_frame_has_at_most_256_colours(tmp_path):
    few = np.random.default_rng(0).integers(0, 6, (4, 20, 30, 3), dtype=np.uint8) * 50
    assert np.array_equal(Video.read(Video(few, 10.0).write(tmp_path / "few.gif")).frames, few)


@pytest.mark.parametrize("name", [*LOSSY, "clip"])
def test_the_same_frames_give_the_same_bytes(tmp_path, name):
    clip = Video(gradients(6), 8.0, tone(0.75), {"seed": 3})
    first, second = (clip.write(tmp_path / folder / name) for folder in ("a", "b"))
    for path in [first] if first.is_file() else sorted(first.iterdir()):
        assert path.read_bytes() == (second / path.name if second.is_dir() else second).read_bytes()


@pytest.mark.parametrize("fps", [8, 10, 12.5, 24, 25, 29.97, 30000 / 1001, 60, 7.3, 0.5])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.webm"])
def test_rates_survive(tmp_path, name, fps):
    back = Video.read(video(9, fps=fps).write(tmp_path / name))
    assert back.times is None
    assert back.fps == pytest.approx(fps, rel=1e-5)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.webm", "clip.gif", "clip.webp", "clip"])
def test_frames_of_unequal_length_keep_their_times(tmp_path, name):
    times = np.array([0, 0.04, 0.1, 0.3, 0.35])
    back = Video.read(Video(numbered(5), 5 / 0.5, times=times).write(tmp_path / name))
    assert back.times == pytest.approx(times, abs=0.001)
    assert back.seconds == pytest.approx(0.5, abs=0.002)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_long_last_frame_keeps_its_length(tmp_path, name):
    """mp4 stores lengths in the order of decoding, so B-frames would give this one to another frame."""
    texture = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    sliding = np.stack([texture[:, 2 * i : 2 * i + 64] for i in range(6)])  # what an encoder likes to use B-frames for
    lengths = np.array([0.06, 0.07, 0.06, 0.07, 0.06, 0.1])
    times = np.append(0, lengths.cumsum()[:-1])
    path = Video(sliding, 6 / lengths.sum(), times=times).write(tmp_path / name)
    assert Video.read(path).seconds == pytest.approx(lengths.sum(), abs=0.002)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mov", "clip.mkv", "clip.webm"])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_is_kept_and_in_step(tmp_path, name, channels):
    clip = video(16, audio=tone(2.0, channels=channels))
    back = Video.read(clip.write(tmp_path / name)).audio
    assert back.rate == 48_000
    assert back.samples.shape == (channels, 96_000)
    assert np.abs(back.samples - clip.audio.samples)[:, 2000:-2000].max() < 0.03


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_lossless_sound_is_exact_also_in_a_window(tmp_path, name):
    noise = np.random.default_rng(0).uniform(-1, 1, (2, 44_100 * 3)).astype(np.float32)
    path = video(24, audio=Audio(noise, 44_100)).write(tmp_path / name, lossless=True)
    assert np.array_equal(Video.read(path).audio.samples, noise)
    part = Video.read(path, start=1.5, num_frames=8).audio.samples
    assert np.array_equal(part, noise[:, 66_150 : 66_150 + 44_100])


def test_sound_can_be_left_in_the_file(tmp_path):
    assert Video.read(video(8, audio=tone(1.0)).write(tmp_path / "clip.mp4"), audio=False).audio is None


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_window_is_the_same_cut_out_of_the_whole(tmp_path, name):
    """40 frames with B-frames: windows begin before, at and behind key frames."""
    path = video(40).write(tmp_path / name, quality="small")
    whole = Video.read(path).frames
    for first, count in [(0, 3), (7, 9), (20, 1), (39, 1)]:
        window = Video.read(path, start_frame=first, num_frames=count)
        assert np.array_equal(window.frames, whole[first : first + count])
    assert numbers_of(Video.read(path, start=1.0, end=2.0).frames) == list(range(8, 16))
    assert numbers_of(Video.read(path, start=1.0, num_frames=3, fps=4).frames) == [8, 10, 12]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_late_window_costs_a_seek_and_not_the_whole_file(tmp_path, monkeypatch, name):
    path, decoded = encode(tmp_path / name, numbered(60), g="10", bf="2"), []
    decode = Container.decode
    monkeypatch.setattr(Container, "decode", lambda *a, **k: (decoded.append(f) or f for f in decode(*a, **k)))
    assert numbers_of(Video.read(path, start_frame=45, num_frames=3).frames) == [45, 46, 47]
    assert len(decoded) <= 8


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ({"start_frame": 10, "num_frames": 3}, "there are 12"),
        ({"start": 9.0}, "runs from 0 to 1.500"),
        ({"end": 9.0}, "ends at 1.500"),
        ({"start": 0.0, "start_frame": 0}, "once"),
        ({"fps": 0}, "positive"),
        ({"height": 0}, "positive"),
    ],
)
def test_windows_that_are_not_there_are_refused_by_name(tmp_path, window, words):
    path = video(12).write(tmp_path / "clip.mp4")
    with pytest.raises(VideoError, match=words):
        Video.read(path, **window)


def test_resampling_shows_the_frame_on_screen_at_each_moment(tmp_path):
    path = video(12, fps=12).write(tmp_path / "clip.mkv", lossless=True)
    assert numbers_of(Video.read(path, fps=6).frames) == [0, 2, 4, 6, 8, 10]
    assert numbers_of(Video.read(path, fps=24).frames) == [i // 2 for i in range(24)]
    assert np.array_equal(Video.read(path, fps=5).frames, Video.read(path).resample(5).frames)


def test_odd_sizes_are_refused_unless_told_how(tmp_path):
    odd = Video(gradients(3, 33, 47), 8.0)
    with pytest.raises(VideoError, match=r"47x33 .*48x34.*46x32"):
        odd.write(tmp_path / "clip.mp4")
    assert not list(tmp_path.iterdir())
    assert Video.read(odd.write(tmp_path / "pad.mp4", odd="pad")).frames.shape == (3, 34, 48, 3)
    assert Video.read(odd.write(tmp_path / "crop.mp4", odd="crop")).frames.shape == (3, 32, 46, 3)
    assert Video.read(odd.write(tmp_path / "same.webm")).frames.shape == (3, 33, 47, 3)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(20, 20), (24, None), (None, 24), (128, 100), (7, 90)])
def test_resizing_gives_the_size_asked_for(tmp_path, fit, size):
    path = Video(gradients(2, 48, 64), 8.0).write(tmp_path / "clip.mkv", lossless=True)
    height, width = size
    expected = (height or round(48 * width / 64), width or round(64 * height / 48))
    back = Video.read(path, height=height, width=width, fit=fit)
    assert (back.height, back.width) == expected
    assert np.array_equal(back.frames, Video.read(path).resize(height, width, fit=fit).frames)


def test_crop_keeps_the_centre_and_pad_shows_the_background():
    wide = Video(np.zeros((1, 20, 60, 3), np.uint8), 8.0)
    wide.frames[:, :, 20:40] = 255
    assert wide.resize(20, 20).frames.min() == 255
    padded = wide.resize(60, 60, fit="pad", background=(10, 20, 30)).frames[0]
    assert np.all(padded[:20] == (10, 20, 30))
    assert np.all(padded[40:] == (10, 20, 30))


def test_shrinking_averages_instead_of_skipping():
    """A fine checkerboard is grey from far away; sampling without a filter would make it black or white."""
    y, x = np.mgrid[:64, :64]
    board = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[None, ..., None], 3, -1)
    small = Video(board, 8.0).resize(8, 8).frames
    assert np.abs(small[:, 1:-1, 1:-1].astype(int) - 127).max() <= 3


@pytest.mark.parametrize("name", [*LOSSY, "clip", "still.png"])
def test_the_recipe_rides_inside_and_beside(tmp_path, name):
    from flipbook.video import read_recipe

    recipe = {"prompt": 'ein "roter" Ball → rechts', "seed": 7, "weights": [1.5, None, True], "long": "x" * 5000}
    path = video(1 if "still" in name else 4, recipe=recipe).write(tmp_path / name)
    beside = path.with_suffix(".json")
    assert read_recipe(beside) == recipe
    beside.unlink()
    assert read_recipe(path) == recipe
    assert Video.read(path).recipe == recipe


def test_a_foreign_json_of_the_same_name_is_neither_read_nor_overwritten(tmp_path):
    from flipbook.video import read_recipe

    (tmp_path / "clip.json").write_text('{"boxes": []}')
    with pytest.raises(VideoError, match="would be overwritten"):
        video(2, recipe={"seed": 1}).write(tmp_path / "clip.mp4")
    assert not (tmp_path / "clip.mp4").exists()
    path = video(2).write(tmp_path / "clip.mp4")
    assert read_recipe(path) is None
    assert (tmp_path / "clip.json").read_text() == '{"boxes": []}'


def test_a_folder_of_images_is_read_in_the_order_of_its_numbers(tmp_path):
    from PIL import Image

    for i, frame in enumerate(numbered(12)):
        Image.fromarray(frame).save(tmp_path / f"frame_{i}.png")
    clip = Video.read(tmp_path, fps=6)
    assert numbers_of(clip.frames) == list(range(12))
    assert clip.fps == 6


def test_still_images_are_one_frame_videos(tmp_path):
    frame = gradients(1)
    for name in ("still.png", "still.bmp", "still.tif"):
        assert np.array_equal(Video.read(Video(frame, 1.0).write(tmp_path / name)).frames, frame)
    with pytest.raises(VideoError, match="holds one frame"):
        video(2).write(tmp_path / "still.png")


def test_a_written_folder_replaces_its_own_kind_only(tmp_path):
    video(9).write(tmp_path / "frames")
    assert len(Video.read(video(4).write(tmp_path / "frames"))) == 4
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear")
    with pytest.raises(VideoError, match="did not write"):
        video(4).write(tmp_path / "mine")


@pytest.mark.parametrize(
    ("name", "module"),
    [("clip.mp4", "encode"), ("clip.gif", "animate"), ("clip.webp", "animate"), ("clip", "write")],
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, name, module):
    import importlib

    old = Video.read(video(3).write(tmp_path / name)).frames
    writer = importlib.import_module(f"flipbook.files.{module}")

    class Stopped(Exception):
        pass

    def stop(*args, **kwargs):
        raise Stopped

    monkeypatch.setattr(writer, {"encode": "ticks", "animate": "riff_chunk", "write": "json"}[module], stop)
    if name == "clip.gif":
        monkeypatch.setattr(writer, "gif_image", stop)
    with pytest.raises((Stopped, AttributeError)):
        video(8).write(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert np.array_equal(Video.read(tmp_path / name).frames, old)


def test_a_new_video_does_not_inherit_the_recipe_of_the_one_it_replaces(tmp_path):
    video(2, recipe={"seed": 1}).write(tmp_path / "clip.mp4")
    assert Video.read(video(2).write(tmp_path / "clip.mp4")).recipe is None


def test_an_overwritten_recipe_is_the_new_one(tmp_path):
    for seed in (1, 2):
        path = video(2, recipe={"seed": seed}).write(tmp_path / "clip.mp4")
    assert Video.read(path).recipe == {"seed": 2}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.json", "clip.mp4"]


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((2, 4, 4, 3)),
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((0, 4, 4, 3), np.uint8),
        np.zeros((2, 4, 4, 4), np.uint8),
    ],
)
def test_only_uint8_rgb_frames_make_a_video(frames):
    with pytest.raises(ValueError, match="uint8"):
        Video(frames, 8.0)


def test_rates_times_and_sound_are_checked():
    frames = numbered(3)
    for broken in ({"fps": 0.0}, {"fps": float("nan")}, {"fps": 8.0, "times": np.array([0.0, 0.2, 0.1])}):
        with pytest.raises(ValueError, match=r"fps|times"):
            Video(frames, **broken)
    with pytest.raises(ValueError, match="float32"):
        Audio(np.zeros(10), 48_000)


def test_unknown_formats_and_choices_name_the_known_ones(tmp_path):
    with pytest.raises(VideoError, match=r"\.webm"):
        video(2).write(tmp_path / "clip.xyz")
    with pytest.raises(VideoError, match="medium"):
        video(2).write(tmp_path / "clip.mp4", quality="best")
    with pytest.raises(VideoError, match="50 frames per second"):
        video(2, fps=60).write(tmp_path / "clip.gif")
    with pytest.raises(VideoError, match="stretch"):
        video(2).resize(4, 4, fit="fill")
