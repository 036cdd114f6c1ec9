"""Several videos side by side: where each is, how long it plays, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from flipbook.files.grid import video_grid
from flipbook.video import Video


def plain(colour, frames=3, side=64, fps=8.0):
    """A video whose frame t has the colour, darker by t."""
    return Video(np.stack([np.full((side, side, 3), colour, np.uint8) - np.uint8(t) for t in range(frames)]), fps)


def found(grid, colour):
    """(T,) number of pixels of a colour in each frame."""
    return (grid.frames == np.array(colour, np.uint8)).all(-1).sum((1, 2))


def test_each_video_fills_its_cell_and_plays_there_frame_by_frame():
    grid = video_grid([plain((200, 40, 40)), plain((40, 200, 40))], titles=["red", "green"])
    assert len(grid) == 3
    assert grid.fps == 8
    for colour in ((200, 40, 40), (40, 200, 40)):
        for t in range(3):
            assert found(grid, np.array(colour) - t).tolist() == [128 * 128 * (k == t) for k in range(3)]
    columns = [np.flatnonzero((grid.frames[0] == np.array(colour, np.uint8)).all(-1).any(0)) for colour in ((200, 40, 40), (40, 200, 40))]
    assert columns[0].max() < columns[1].min()


def test_a_shorter_video_stays_on_its_last_frame():
    grid = video_grid([plain((200, 40, 40), frames=2), plain((40, 200, 40), frames=4)])
    assert found(grid, (199, 39, 39)).tolist() == [0, 128 * 128, 128 * 128, 128 * 128]


def test_titles_stand_below_and_both_sides_are_even():
    without, with_titles = (video_grid([plain((90, 90, 90), side=63)] * 3, columns=2, titles=titles) for titles in (None, ["a long title of many words"] * 3))
    assert with_titles.height > without.height
    assert not any(side % 2 for video in (without, with_titles) for side in (video.height, video.width))


@pytest.mark.parametrize(("wrong", "told"), [
    ({"videos": []}, "no videos"),
    ({"videos": [plain((9, 9, 9)), plain((9, 9, 9), fps=4.0)]}, "4, 8 fps"),
    ({"videos": [plain((9, 9, 9))], "titles": ["a", "b"]}, "2 titles for 1"),
    ({"videos": [plain((9, 9, 9))], "columns": 0}, "columns=0"),
])  # fmt: skip
def test_what_cannot_stand_in_a_grid_is_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        video_grid(wrong.pop("videos"), **wrong)
