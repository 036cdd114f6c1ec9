"""Contact sheets show all frames, numbered, at a size worth looking at."""

from __future__ import annotations

import numpy as np
import pytest

from flipbook.video import Video, contact_sheet
from footage import gradients, video


def test_every_frame_stands_on_the_sheet_pixel_for_pixel(tmp_path):
    clip = Video(gradients(16), 8.0)
    page = np.asarray(clip.contact_sheet(columns=8))
    for k, frame in enumerate(clip.frames):
        large = frame.repeat(2, 0).repeat(2, 1)  # 64 pixels are enlarged by a whole factor
        top, left = 20 + k // 8 * (128 + 24), 20 + k % 8 * (128 + 8)
        assert np.array_equal(page[top : top + 128, left : left + 128], large)


def test_several_videos_are_rows_under_their_titles():
    one, two = video(16), video(5)
    plain = contact_sheet([one, two], columns=4)
    titled = contact_sheet([one, two], columns=4, titles=["a red ball falls", "a very long title " * 20])
    assert titled.width == plain.width
    assert titled.height > plain.height + 2 * 21


def test_a_long_video_is_sampled_from_its_first_to_its_last_frame():
    dark = Video(np.zeros((500, 16, 16, 3), np.uint8), 8.0)
    dark.frames[0], dark.frames[-1] = (255, 0, 0), (0, 255, 0)
    page = np.asarray(dark.contact_sheet()).reshape(-1, 3)
    assert (page == (255, 0, 0)).all(1).any()
    assert (page == (0, 255, 0)).all(1).any()
    assert len(page) < 4_000_000


def test_videos_of_different_sizes_share_a_sheet():
    contact_sheet([Video(gradients(3, 30, 50), 8.0), Video(gradients(9, 500, 300), 8.0), video(1)])


def test_a_sheet_is_written_as_the_suffix_says(tmp_path):
    from PIL import Image

    for name in ("sheet.png", "sheet.jpg", "sheet.webp"):
        with Image.open(video(3).write_sheet(tmp_path / name, title="three frames")) as page:
            assert page.format.lower().startswith(name[6:8])


@pytest.mark.parametrize(("wrong", "words"), [({"columns": 0}, "column"), ({"titles": ["a", "b"]}, "titles")])
def test_wrong_wishes_are_named(wrong, words):
    with pytest.raises(ValueError, match=words):
        contact_sheet(video(3), **wrong)
    with pytest.raises(ValueError, match="no videos"):
        contact_sheet([])
