"""The gallery's page says what the runs say, and its pictures stay small."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flipbook import gallery
from flipbook.systems.describe import DEMOS

PAGE = Path(__file__).parent.parent / "docs/gallery/README.md"
RESULT = {
    "sheet": "sheet.png", "shown": ["a red circle falls"], "parameters": {"vdm": 1_500_000}, "threads": 2, "seed": 0,
    "lessons": [{"network": "vdm", "stage": "joint", "from": "", "updates": 40, "batch": 16, "frames": 8, "seconds": 61.2, "loss": 0.1}],
    "measured": {"clips": 16, "colour": 0.875, "shape": 0.5, "motion": 0.25, "steady": 1.0, "flicker": 1.26},
}  # fmt: skip


def test_page_and_list_are_written_from_the_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "DEMOS", tmp_path / "demos.json")
    (tmp_path / "runs/vdm").mkdir(parents=True)
    Image.new("RGB", (64, 48), "red").save(tmp_path / "runs/vdm/sheet.png")
    gallery.write_gallery({"vdm": RESULT}, tmp_path / "runs", tmp_path / "docs/README.md", "scripts/gallery --minutes 1")
    text = (tmp_path / "docs/README.md").read_text()
    assert "| [vdm](#vdm) | 61 s | 88 % | 50 % | 25 % | 100 % | 1.3 |" in text
    assert "joint (vdm): 40 updates of 16 clips of 8 frames, 61 s" in text
    assert "2204.03458" in text
    assert (tmp_path / "docs/vdm.png").is_file()
    told = json.loads((tmp_path / "demos.json").read_text())
    assert told["systems"]["vdm"]["measured"] == RESULT["measured"]
    assert "sheet" not in told["systems"]["vdm"]
    assert "without" not in told["systems"]["vdm"]


def test_a_network_with_inserts_is_set_beside_itself_without_them():
    without = {"network": "base", "together": RESULT["measured"], "apart": {**RESULT["measured"], "steady": 0.0, "flicker": 2.26}}
    text = gallery.page_text({"command": "", "systems": {"vdm": {**RESULT, "without": without}}})
    assert "| vdm | base | 100 % | 0 % | 1.3 | 2.3 |" in text
    assert "switched off" not in gallery.page_text({"command": "", "systems": {"vdm": RESULT}})


def test_pictures_lose_colours_until_they_are_small(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "LARGEST", 3_000)
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "in.png")
    assert (tmp_path / "in.png").stat().st_size > gallery.LARGEST        # as it stands it is too large
    gallery.small_picture(tmp_path / "in.png", tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size < gallery.LARGEST
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)).save(tmp_path / "in.png")
    with pytest.raises(ValueError, match="fewer clips"):
        gallery.small_picture(tmp_path / "in.png", tmp_path / "out.png")


@pytest.mark.skipif(not DEMOS.is_file(), reason="the gallery has not been made in this checkout")
def test_the_published_page_is_that_of_the_published_runs():
    told = json.loads(DEMOS.read_text(encoding="utf-8"))
    assert PAGE.read_text(encoding="utf-8") == gallery.page_text(told)
    for name in re.findall(r"\]\(([\w-]+\.png)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / name).stat().st_size < gallery.LARGEST
