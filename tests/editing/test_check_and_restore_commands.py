"""`flipbook check` and `flipbook restore`: found, drawn, mended, and nothing overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import damage
from flipbook.cli import main
from flipbook.cli.restore import parse_steps
from flipbook.data.world import draw
from flipbook.video import Audio, Video


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """A folder with a flickering video `a.mp4`; runs a command there: exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    sound = Audio(np.zeros((1, 16000), np.float32), 8000)
    Video(damage.flicker(draw("figures", 1).frames, 0.08), 8.0, audio=sound).write("a.mp4", lossless=True)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = 0
        try:
            main(arguments)
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run


def size(path: str) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_check_names_the_fault_and_draws_it(run):
    code, out, _ = run("check", "a.mp4")
    assert code == 0
    assert "a.mp4  (flicker, local flicker)" in out
    assert size("checks/a-check.png")[0] == 1180
    run("check", "a.mp4")
    assert size("checks/a-check-2.png") == size("checks/a-check.png")


def test_check_as_json_holds_the_series(run, tmp_path):
    code, out, _ = run("check", "a.mp4", "--json", "--no-picture", "--only", "flicker,frozen", "--strict")
    [report] = json.loads(out)
    assert code == 1                                                                 # strict, and there is a fault
    assert report["faults"] == ["flicker"]
    assert [len(reading["series"]) for reading in report["readings"]] == [16, 16]
    assert not (tmp_path / "checks").exists()


def test_a_file_that_cannot_be_read_is_listed_and_the_others_go_on(run, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"")
    code, out, err = run("check", "broken.mp4", "a.mp4", "--no-picture")
    assert code == 1
    assert "broken.mp4" in err
    assert "a.mp4  (" in out


def test_restore_mends_and_keeps_the_sound_and_the_original(run):
    before = Path("a.mp4").read_bytes()
    code, out, err = run("restore", "a.mp4", "--with", "deflicker:sigma=3", "--lossless", "--sheet", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["path"] == "a-restored.mp4"
    mended = Video.read("a-restored.mp4")
    assert mended.audio is not None
    assert mended.fps == 8
    assert damage.psnr(mended.frames, draw("figures", 1).frames) > 35
    assert size(result["sheet"])[1] > 200
    assert Path("a.mp4").read_bytes() == before


def test_restore_cuts_what_it_mended_into_clips_of_one_length(run):
    code, out, err = run("restore", "a.mp4", "--with", "deflicker", "--clips", "5", "--lossless", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["path"], told["clips"], told["frames"]) == ("a-clips", 3, 5)
    made = [Video.read(path) for path in sorted(Path("a-clips").glob("*.mp4"))]
    assert [len(clip) for clip in made] == [5, 5, 5]
    run("restore", "a.mp4", "--with", "deflicker", "--lossless")
    assert np.array_equal(np.concatenate([clip.frames for clip in made]), Video.read("a-restored.mp4").frames[:15])
    code, _, err = run("restore", "a.mp4", "--with", "deflicker", "--clips", "40")
    assert code == 1
    assert "no shot of a.mp4 has 40 frames" in err


@pytest.mark.parametrize(
    ("steps", "says"),
    [("denois", "Did you mean 'denoise'"), ("deflicker:sigma", "NAME:OPTION=VALUE"), ("deflicker:sigma=x", "numbers"),
     ("match-colour", "--reference")],
)  # fmt: skip
def test_mistakes_end_in_one_line(run, steps, says):
    code, out, err = run("restore", "a.mp4", "--with", steps)
    assert (code, out) == (1, "")
    assert says in err


def test_an_unknown_probe_is_told(run):
    code, _, err = run("check", "a.mp4", "--only", "flickr")
    assert code == 1
    assert "Did you mean 'flicker'" in err


def test_steps_are_read_as_written():
    assert parse_steps("denoise, interpolate:factor=3,deblur:sigma=1.5:iterations=5") == [
        ("denoise", {}), ("interpolate", {"factor": 3}), ("deblur", {"sigma": 1.5, "iterations": 5}),
    ]  # fmt: skip
