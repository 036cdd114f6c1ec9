"""`flipbook world` leaves a folder that explains itself."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flipbook.cli.world import world
from flipbook.data.world import draw
from flipbook.video import Video


def test_the_folder_holds_clips_captions_and_truth(tmp_path):
    world(tmp_path / "set", domain="shapes", num_clips=2, seed=7, num_frames=4, height=32, width=32, lossless=True)
    rows = [json.loads(line) for line in (tmp_path / "set/metadata.jsonl").read_text().splitlines()]
    assert [row["seed"] for row in rows] == [7, 8]
    clip = draw("shapes", 7, num_frames=4, height=32, width=32)
    assert rows[0]["caption"] == clip.caption
    assert np.array_equal(Video.read(tmp_path / "set" / rows[0]["file_name"]).frames, clip.frames)
    assert json.loads((tmp_path / "set/shapes-000007.scene.json").read_text()) == clip.scene
    with np.load(tmp_path / "set/shapes-000007.truth.npz") as facts:
        assert np.array_equal(facts["optical_flow"], clip.optical_flow)
        assert np.array_equal(facts["masks"], clip.masks)
    assert (tmp_path / "set/sheet.png").exists()


def test_a_finished_set_is_not_written_over(tmp_path):
    (tmp_path / "metadata.jsonl").write_text("")
    with pytest.raises(ValueError, match="already holds a set of clips"):
        world(tmp_path, num_clips=1)


def test_a_wrong_domain_makes_no_folder(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        world(tmp_path / "set", domain="clouds")
    assert not (tmp_path / "set").exists()
