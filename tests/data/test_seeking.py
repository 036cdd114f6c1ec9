"""Windows in any order hold the frames that decoding from the beginning shows."""

from __future__ import annotations

import numpy as np
import pytest

from flipbook.data.clips import Media
from flipbook.data.media import OpenMedia
from flipbook.data.seeking import SeekingContainer
from flipbook.video import Video
from footage import encode, gradients, numbered, numbers_of

STARTS = [30, 2, 7, 33, 0, 20, 36, 12, 12, 24, 5]


@pytest.mark.parametrize(
    "options",
    [
        {"g": "60", "bf": "3", "b_strategy": "0"}, {"g": "10", "bf": "2"}, {"g": "1"}, {"g": "12", "flags": "-cgop", "bf": "3"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("stamps", [None, [40 * i + (i % 3) * 5 for i in range(40)]])
def test_windows_in_any_order_are_exact(tmp_path, options, stamps):
    path = encode(tmp_path / "a.mp4", numbered(40), stamps=stamps, **options)
    whole = Video.read(path, height=32, width=48, fit="stretch").frames
    reader = OpenMedia()
    for start in STARTS:
        frames = reader.read(Media(str(path)), np.arange(start, start + 4), 32, 48)
        assert numbers_of(frames) == [start, start + 1, start + 2, start + 3]
        assert np.array_equal(frames, whole[start : start + 4])


def test_less_is_decoded_than_from_the_key_frame_each_time(tmp_path):
    path = encode(tmp_path / "a.mp4", gradients(40, 32, 48), g="60", bf="3", b_strategy="0", sc_threshold="0")
    reader = SeekingContainer(path)
    counts = []
    for first in (10, 20, 8):
        shown = 0
        decode = reader.decode

        def counting(rewind=True, decode=decode):
            nonlocal shown
            for frame in decode(rewind):
                shown += 1
                yield frame

        reader.decode = counting
        assert [i for i, _ in reader.seek_frames(first, first + 3)] == list(range(first, first + 4))
        reader.decode = decode
        counts.append(shown)
    reader.close()
    assert counts[0] < 14  # some B-frames before the window were left out
    assert counts[1] <= 10  # frames 14 to 23 at most: the paused decoding went on
    assert counts[2] < 12


def test_a_reader_that_stopped_early_does_not_spoil_the_next_window(tmp_path):
    path = encode(tmp_path / "a.mp4", numbered(30), g="30")
    source = SeekingContainer(path)
    next(source.seek_frames(5, 9))
    assert [i for i, _ in source.seek_frames(12, 14)] == [12, 13, 14]
    source.close()


def test_closed_readers_do_not_travel_and_old_ones_are_closed(tmp_path):
    import pickle

    paths = [encode(tmp_path / f"{i}.mp4", numbered(6)) for i in range(3)]
    reader = OpenMedia(most=2)
    for path in paths:
        reader.read(Media(str(path)), np.arange(2), 32, 48)
    assert len(reader._open) == 2
    assert not pickle.loads(pickle.dumps(reader))._open
