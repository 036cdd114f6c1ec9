"""A file that grows can be watched while it does, and is in the end what an ordinary one is."""

import hashlib

import av
import numpy as np
import pytest

from flipbook import Video
from flipbook.files.errors import VideoError
from flipbook.files.growing import write_growing
from flipbook.video import read_recipe


def chunks(count, size=4):
    g = np.random.default_rng(0)
    for i in range(count):
        yield np.clip(g.normal(20 * (i % 10) + 30, 4, (size, 32, 48, 3)), 0, 255).astype(np.uint8)


def write(path, frames, **more):
    return write_growing(path, frames, **({"fps": 8.0, "height": 32, "width": 48, "begun": {"a": 1}, "done": lambda: {"a": 2}} | more))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_what_grew_is_read_as_what_was_handed_over(tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    assert write(path, chunks(10)) == 40
    video, truth = Video.read(path), np.concatenate(list(chunks(10)))
    assert video.frames.shape == truth.shape
    assert video.fps == 8
    assert np.abs(video.frames.astype(int) - truth).mean() < 6
    assert read_recipe(path) == read_recipe(tmp_path / "v.json") == {"a": 2}


def test_most_frames_can_be_read_before_the_last_ones_are_made(tmp_path):
    """What stands on the disk after 80 of 100 frames, as a player or a crash would find it."""
    path, seen = tmp_path / "v.mp4", []

    def watched():
        for i, chunk in enumerate(chunks(25)):
            if i == 20:
                copy = tmp_path / "copy.mp4"
                copy.write_bytes(path.read_bytes())
                seen.append(len(Video.read(copy)))
                seen.append(read_recipe(copy))
            yield chunk

    write(path, watched())
    assert 48 <= seen[0] <= 80
    assert seen[1] == {"a": 1}


def test_in_the_end_the_index_stands_in_front_and_the_packets_are_those_that_grew(tmp_path):
    path, grown = tmp_path / "v.mp4", []

    def done():
        grown.append(_packets(path))
        return {"a": 2}

    write(path, chunks(10), done=done)
    assert _packets(path) == grown[0]
    head = path.read_bytes()
    assert b"moof" not in head
    assert head.index(b"moov") < head.index(b"mdat")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v.json", "v.mp4"]


def _packets(path):
    with av.open(str(path)) as file:
        return [(p.pts, hashlib.sha256(bytes(p)).hexdigest()) for p in file.demux(video=0) if p.size]


def test_an_error_on_the_way_leaves_the_frames_that_came(tmp_path):
    def broken():
        yield from chunks(10)
        raise RuntimeError("the power failed")

    with pytest.raises(RuntimeError, match="power"):
        write(tmp_path / "v.mp4", broken())
    assert len(Video.read(tmp_path / "v.mp4")) >= 32


@pytest.mark.parametrize(("name", "more", "says"), [
    ("v.gif", {}, "Try .mp4"), ("v", {}, "a folder is written whole"), ("v.mp4", {"height": 31}, "needs even sizes. Try 48x30"),
    ("v.mkv", {"chunks": ()}, "not one frame came"),
])  # fmt: skip
def test_what_cannot_grow_is_refused_and_nothing_stays(tmp_path, name, more, says):
    frames = more.pop("chunks", None)
    with pytest.raises(VideoError, match=says):
        write(tmp_path / name, chunks(1) if frames is None else frames, **more)
    assert not list(tmp_path.iterdir())


def test_a_foreign_file_beside_it_is_not_overwritten(tmp_path):
    (tmp_path / "v.json").write_text("{}")
    with pytest.raises(VideoError, match="is not a recipe"):
        write(tmp_path / "v.mp4", chunks(1))
