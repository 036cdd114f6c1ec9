"""Colours through files: no drift, the right tags, deep pixels, transparency, rotation."""

from __future__ import annotations

import numpy as np
import pytest

from flipbook.files.probe import probe
from flipbook.video import Video
from footage import encode, gradients


def after_trips(frames: np.ndarray, path, trips: int = 10) -> np.ndarray:
    clip = Video(frames, 8.0)
    for _ in range(trips):
        clip = Video.read(clip.write(path))
    return clip.frames.astype(np.float64)


@pytest.mark.parametrize("contrast", [1.0, 0.6])
def test_ten_trips_through_mp4_move_smooth_colours_by_at_most_a_tenth_of_a_grey_level(tmp_path, contrast):
    frames = np.round(gradients(8) * contrast + 60 * (1 - contrast)).astype(np.uint8)
    back = after_trips(frames, tmp_path / "clip.mp4")
    assert abs((back - frames).mean()) <= 0.1
    assert 10 * np.log10(255**2 / ((back - frames) ** 2).mean()) > 46


def test_ten_trips_do_not_move_colour_edges_sideways(tmp_path):
    """Writer and reader must agree where chroma samples lie: a disagreement moves red by a few pixels in ten trips."""
    frames = np.zeros((2, 32, 64, 3), np.uint8)
    frames[:, :, :32, 0] = frames[:, :, 32:, 2] = 200
    back = after_trips(frames, tmp_path / "clip.mp4")
    red = back[..., 0].mean(axis=(0, 1)).clip(0, 200) / 200
    assert red.sum() == pytest.approx(32, abs=0.5)


def test_greys_of_every_level_come_back(tmp_path):
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, None, :, None], (2, 16, 256, 3)).copy()
    back = Video.read(Video(ramp, 8.0).write(tmp_path / "clip.mp4")).frames
    assert np.abs(back.astype(int) - ramp).max() <= 2
    assert abs(back.astype(float).mean() - ramp.mean()) < 0.05


def test_mp4_says_bt709_limited(tmp_path):
    facts = probe(Video(gradients(2), 8.0).write(tmp_path / "clip.mp4"))
    assert facts.pixel_format == "yuv420p"
    assert facts.colour == {"matrix": "bt709", "range": "limited", "primaries": "bt709", "transfer": "bt709"}


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "bound"),
    [
        ("deep.mp4", "libx264", "yuv420p10le", 2.5),
        ("deep422.mp4", "libx264", "yuv422p10le", 2.5),
        ("deep.mkv", "ffv1", "gbrp10le", 0.6),
        ("full444.mp4", "libx264", "yuv444p", 2.0),
        ("jpeg.mov", "mjpeg", "yuvj420p", 4.0),
    ],
)
def test_other_pixel_formats_come_as_the_same_rgb(tmp_path, name, codec, pixel_format, bound):
    frames = gradients(3)
    options = {"crf": "4"} if codec == "libx264" else {}
    back = Video.read(encode(tmp_path / name, frames, codec=codec, pixel_format=pixel_format, **options)).frames
    assert np.abs(back.astype(float) - frames).mean() < bound


def transparent() -> np.ndarray:
    """A red frame whose left half is clear: the colour under the clear half must not show."""
    rgba = np.zeros((2, 32, 32, 4), np.uint8)
    rgba[..., 0], rgba[:, :, 16:, 3] = 255, 255
    rgba[:, :1, :, 3] = 128  # webp drops alpha that is only on or off at the edge of the first frame
    return rgba


@pytest.mark.parametrize("name", ["clip.webm", "clip.mov", "clip.png", "clip.gif", "clip.webp"])
def test_transparent_pixels_show_the_background(tmp_path, name):
    from PIL import Image

    path = tmp_path / name
    if name == "clip.webm":
        encode(path, transparent(), codec="libvpx-vp9", pixel_format="yuva420p", given="rgba", crf="4", b="0")
    elif name == "clip.mov":
        encode(path, transparent(), codec="qtrle", pixel_format="argb", given="rgba")
    else:
        stills = [Image.fromarray(frame) for frame in transparent()]
        stills[0].save(path, save_all=True, append_images=[stills[1].rotate(180)], duration=100)
    frame = Video.read(path, background=(0, 90, 200)).frames[0].astype(int)
    assert np.abs(frame[4:-4, 2:12] - (0, 90, 200)).max() <= 3
    assert np.abs(frame[4:-4, 20:30] - (255, 0, 0)).max() <= 3


def test_half_transparent_is_half_the_colour(tmp_path):
    from PIL import Image

    Image.new("RGBA", (8, 8), (200, 100, 0, 128)).save(tmp_path / "veil.png")
    assert Video.read(tmp_path / "veil.png", background=(0, 0, 100)).frames[0, 0, 0].tolist() == [100, 50, 50]


def with_matrix(path, a: int, b: int, c: int, d: int):
    """Set the display matrix of an mp4 (ISO 14496-12, tkhd): (x, y) is shown at (a x + c y, b x + d y)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    one = 1 << 16
    values = (a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    data[at : at + 36] = b"".join(int(v).to_bytes(4, "big", signed=True) for v in values)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("matrix", "seen", "degrees"),
    [
        ((1, 0, 0, 1), lambda f: f, 0),
        ((0, 1, -1, 0), lambda f: np.rot90(f, -1), 90),
        ((-1, 0, 0, -1), lambda f: np.rot90(f, 2), 180),
        ((0, -1, 1, 0), lambda f: np.rot90(f, 1), 270),
        ((-1, 0, 0, 1), lambda f: f[:, ::-1], 0),
        ((0, 1, 1, 0), lambda f: f.transpose(1, 0, 2), 270),
    ],
)
def test_rotated_and_mirrored_recordings_stand_upright(tmp_path, matrix, seen, degrees):
    frames = gradients(2, 32, 48)
    path = with_matrix(Video(frames, 8.0).write(tmp_path / "clip.mp4"), *matrix)
    back, expected = Video.read(path), seen(frames[0])
    assert back.frames[0].shape == expected.shape
    assert np.abs(back.frames[0].astype(int) - expected).mean() < 2
    facts = probe(path)
    assert (facts.height, facts.width) == expected.shape[:2]
    assert facts.rotation == degrees
    assert Video.read(path, height=20, width=30).frames.shape == (2, 20, 30, 3)


def test_photographs_obey_their_exif_orientation(tmp_path):
    from PIL import Image

    picture = Image.fromarray(gradients(1, 32, 48)[0])
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    picture.save(tmp_path / "photo.jpg", exif=exif, quality=95)
    back = Video.read(tmp_path / "photo.jpg").frames[0]
    assert np.abs(back.astype(int) - np.rot90(np.asarray(picture), -1)).mean() < 3
    assert probe(tmp_path / "photo.jpg").height == 48


def test_sixteen_bit_grey_images_are_rounded_not_clipped(tmp_path):
    from PIL import Image

    Image.fromarray(np.array([[0, 257, 32896, 65535]], np.uint16)).save(tmp_path / "depth.png")
    assert Video.read(tmp_path / "depth.png").frames[0, 0, :, 0].tolist() == [0, 1, 128, 255]
