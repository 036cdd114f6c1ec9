"""Real footage, recorded by nobody here: every clip reads exactly and survives a round trip."""

from __future__ import annotations

import re

import numpy as np
import pytest

from flipbook.files.probe import probe
from flipbook.files.select import frame_times
from flipbook.video import Video

ROW = re.compile(r"^\| `(?P<name>\S+\.mp4)` \|.*\| (?P<width>\d+)x(?P<height>\d+) \| (?P<fps>[^|]+) \| (?P<frames>\d+) \| "
                 r"(?P<seconds>[\d.]+) \| (?P<sound>yes)? *\|", re.M)  # fmt: skip


def moments(clip: Video) -> np.ndarray:
    return frame_times(len(clip), clip.fps, clip.times)


@pytest.fixture(scope="module")
def table(shared_clips):
    """The rows of the clips' own README: name, width, height, fps, frames, seconds, sound."""
    rows = [match.groupdict() for match in ROW.finditer((shared_clips / "README.md").read_text())]
    assert {row["name"] for row in rows} == {path.name for path in shared_clips.glob("*.mp4")}
    return rows


def test_every_clip_reads_with_the_frames_size_rate_and_sound_that_its_table_says(shared_clips, table):
    for row in table:
        clip = Video.read(shared_clips / row["name"])
        assert len(clip) == int(row["frames"]), row["name"]
        assert (clip.width, clip.height) == (int(row["width"]), int(row["height"])), row["name"]
        assert clip.seconds == pytest.approx(float(row["seconds"]), abs=0.02), row["name"]
        assert (clip.audio is not None) == (row["sound"] == "yes"), row["name"]
        assert (clip.times is not None) == ("_vfr" in row["name"]), row["name"]
        if clip.times is None:
            assert clip.fps == pytest.approx(float(row["fps"]), abs=0.005), row["name"]
        else:
            shortest, longest = (int(x) / 1000 for x in re.findall(r"\d+", row["fps"]))
            lengths = np.diff(clip.times)
            assert (lengths.min(), lengths.max()) == pytest.approx((shortest, longest), abs=0.002), row["name"]


def test_every_clip_survives_a_round_trip_frame_for_frame(shared_clips, table, tmp_path):
    for row in table:
        clip = Video.read(shared_clips / row["name"], num_frames=12)
        back = Video.read(clip.write(tmp_path / row["name"]))
        assert back.frames.shape == clip.frames.shape
        assert back.fps == pytest.approx(clip.fps, rel=1e-4)
        difference = back.frames.astype(float) - clip.frames
        assert 10 * np.log10(255**2 / (difference**2).mean()) > 40, row["name"]
        assert abs(difference.mean()) < 0.1, row["name"]
        assert moments(back) == pytest.approx(moments(clip), abs=0.001)


def drift_after_ten_trips(first: Video, path) -> float:
    """Mean change in grey levels over all pixels and colours."""
    clip = first
    for _ in range(10):
        clip = Video.read(clip.write(path))
    return float(abs((clip.frames.astype(float) - first.frames).mean()))


def test_ten_trips_through_mp4_move_real_footage_by_at_most_a_tenth_of_a_grey_level(shared_clips, tmp_path):
    clip = Video.read(shared_clips / "film_cuts.mp4", start_frame=20, num_frames=3, audio=False)
    assert drift_after_ten_trips(clip, tmp_path / "clip.mp4") <= 0.1


@pytest.mark.slow
def test_ten_trips_through_mp4_move_no_clip_by_more_than_a_tenth_of_a_grey_level(shared_clips, table, tmp_path):
    for row in table:
        clip = Video.read(shared_clips / row["name"], num_frames=6, audio=False)
        assert drift_after_ten_trips(clip, tmp_path / "clip.mp4") <= 0.1, row["name"]


def test_windows_of_a_packed_training_file_are_the_frames_of_the_whole(shared_train_clips):
    path = shared_train_clips / "toycar" / "lap.mp4"
    facts = probe(path)
    assert facts.num_frames >= 2592
    window = Video.read(path, start_frame=1000, num_frames=40).frames
    for first in (1000, 1016, 1023):
        part = Video.read(path, start_frame=first, num_frames=16).frames
        assert np.array_equal(part, window[first - 1000 : first - 984])
