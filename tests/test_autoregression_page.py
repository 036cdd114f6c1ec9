"""The commands and the code of docs/autoregression.md, as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from flipbook import systems
from flipbook.cli import main
from flipbook.interop.folder import save_pretrained
from flipbook.video import Video
from footage import gradients
from pages import blocks

PAGE = Path(__file__).resolve().parent.parent / "docs/autoregression.md"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the models and files that the page names, tiny and untrained."""
    torch.manual_seed(0)
    for name, folder in (("videogpt", "videogpt-2-prior"), ("next-frame", "systems/next-frame/2-next-frame-own-frames")):
        save_pretrained(systems.build(name, tiny=True), tmp_path / "runs" / folder / "model")
    raw = Video(gradients(20, 32, 32), fps=8.0)
    raw.write(tmp_path / "raw.mp4")
    from PIL import Image

    for name, frame in zip("abc", raw.frames, strict=False):
        Image.fromarray(frame).save(tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_code_of_the_page_runs(here):
    names = {"clip": torch.rand(1, 3, 4, 32, 32) * 2 - 1}
    for block in blocks(PAGE, "python"):
        exec(block, names)
    assert len(names["video"]) == 8
    assert names["said"].shape == (1, 3, 3, 32, 32)
    assert [len(clip) for clip in names["clips"]] == [16]


def test_the_clips_of_the_page_are_made(here, capsys):
    lines = [line for block in blocks(PAGE, "bash") for line in block.splitlines() if line.startswith("flipbook generate")]
    assert len(lines) == 2
    for line in lines:
        with pytest.raises(SystemExit) as stop:
            main(shlex.split(line)[1:])
        assert stop.value.code == 0, capsys.readouterr().err
    made = sorted(here.glob("outputs/*.mp4"))
    assert [Video.read(path).num_frames for path in made] == [8, 16] or [Video.read(path).num_frames for path in made] == [16, 8]


def test_the_other_commands_name_what_is_there():
    lines = [line.split() for block in blocks(PAGE, "bash") for line in block.splitlines() if not line.startswith("flipbook generate")]
    for line in lines:
        if line[:2] == ["flipbook", "systems"]:
            assert line[3] in systems.SYSTEMS
        else:
            assert (PAGE.parents[1] / next(word for word in line if "/" in word)).is_file()
    rows = re.findall(r"^\| `([\w-]+)`", PAGE.read_text(), flags=re.MULTILINE)
    assert set(rows) == {"videogpt", "next-frame", "convlstm", "tcn"} <= set(systems.SYSTEMS)
    assert np.isclose(np.log(512), 6.24, atol=0.005)
