"""The commands and the code of docs/adversarial.md, as they stand there."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from flipbook import systems
from flipbook.cli import main
from flipbook.interop.folder import save_pretrained
from flipbook.video import Video
from pages import blocks

PAGE = Path(__file__).resolve().parent.parent / "docs/adversarial.md"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the model that the page names, tiny and untrained."""
    torch.manual_seed(0)
    save_pretrained(systems.build("digan", tiny=True), tmp_path / "runs/digan/model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_code_of_the_page_runs(here):
    names = {}
    for block in blocks(PAGE, "python"):
        exec(block, names)
    assert names["frames"].shape == (1, 3, 3, 16, 16)


def test_the_clips_of_the_page_are_made_and_begin_alike(here, capsys):
    lines = [line for block in blocks(PAGE, "bash") for line in block.splitlines() if line.startswith("flipbook generate")]
    made = []
    for number, line in enumerate(lines):
        with pytest.raises(SystemExit) as stop:
            main([*shlex.split(line)[1:], "--output", f"{number}.mp4"])
        assert stop.value.code == 0, capsys.readouterr().err
        made.append(Video.read(here / f"{number}.mp4"))
    assert [video.num_frames for video in made] == [16, 64, 16]
    first = [video.frames[0].astype(int) for video in made]
    assert max(np.abs(one - first[0]).mean() for one in first) < 6           # one picture, in three files


def test_the_other_commands_name_what_is_there():
    lines = [line.split() for block in blocks(PAGE, "bash") for line in block.splitlines() if not line.startswith("flipbook generate")]
    for line in lines:
        if line[:2] == ["flipbook", "systems"]:
            assert line[3] in systems.SYSTEMS
        files = [word for word in line if word.startswith(("recipes/", "tests/"))]
        assert files or line[1] == "systems"
        assert all((PAGE.parents[1] / name).is_file() for name in files)
