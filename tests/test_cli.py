"""The command line: light before it is heavy, nothing overwritten, errors in one line."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flipbook import Video, save_pretrained
from flipbook.cli import COMMANDS, main
from flipbook.cli.output import free_path, output_path, slug
from flipbook.replay import replay
from flipbook.video import read_recipe
from tiny import tiny_system


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder with a tiny model; returns its exit code and what it printed."""
    save_pretrained(tiny_system(), tmp_path / "model")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            main(arguments)
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_help_and_version_import_nothing_heavy():
    code = (
        "import sys; from flipbook.cli import main; main(['--help']); main(['--version']); print(sorted(sys.modules))"
    )
    out = python(code)
    assert "Usage: flipbook COMMAND" in out
    for heavy in ("torch", "numpy", "av", "typer", "rich", "pydantic"):
        assert f"'{heavy}'" not in out


def test_help_names_every_command_and_every_command_is_there():
    out = python("from flipbook.cli import main; main(['--help'])")
    for name in COMMANDS:
        assert f"  {name}" in out
        assert callable(getattr(importlib.import_module(f"flipbook.cli.{name}"), name))


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_explains_itself_without_torch(name):
    code = f"""
import sys
from flipbook.cli import main
try:
    main(["{name}", "--help"])
finally:
    assert "torch" not in sys.modules
"""
    assert f"flipbook {name}" in python(code)


def test_generate_writes_video_sheet_and_recipe(run):
    code, out, err = run("generate", "a red circle falls", "--model", "model", "--seed", "3")
    path = Path("outputs/a-red-circle-falls-3.mp4")
    assert (code, err) == (0, "")
    assert out.startswith(str(path))
    assert Video.read(path).frames.shape == (4, 32, 32, 3)
    with Image.open("outputs/a-red-circle-falls-3-sheet.png") as sheet:
        assert sheet.width > 64
    assert read_recipe(path) == read_recipe(path.with_suffix(".json"))
    assert read_recipe(path)["seed"] == 3


def test_generate_overwrites_nothing(run):
    for _ in range(3):
        assert run("generate", "a red circle", "--model", "model", "--output", "clip.gif")[0] == 0
    assert sorted(p.name for p in Path().glob("*.gif")) == ["clip-2.gif", "clip-3.gif", "clip.gif"]
    Path("out").mkdir()
    code, out, _ = run(
        "generate", "a red circle", "--model", "model", "--num-videos", "2", "--seed", "5", "--output", "out", "--json"
    )
    assert code == 0
    assert [(item["path"], item["seed"]) for item in json.loads(out)] == [
        ("out/a-red-circle-5.mp4", 5),
        ("out/a-red-circle-6.mp4", 6),
    ]


@pytest.mark.parametrize(("sampler", "threshold", "noted"), [("euler_ancestral", "0.2", True), ("euler_ancestral", "0", False), ("euler", "0.2", False)])
def test_a_step_cache_that_has_nothing_to_skip_is_noted_with_what_to_try(run, sampler, threshold, noted):
    code, _, err = run("generate", "a red circle", "--model", "model", "--sampler", sampler, "--step-cache", threshold)
    note = "note: step_cache hardly skips anything with sampler=euler_ancestral, which puts noise between its steps: try sampler=euler.\n"
    assert (code, err) == (0, note if noted else "")


def test_a_large_request_is_told_its_forecast_and_one_that_does_not_fit_is_refused(run, monkeypatch):
    from flipbook import machine

    monkeypatch.setattr(machine, "free_memory", lambda device="cpu": 2**22)
    code, out, err = run("generate", "a red circle", "--model", "model", "--height", "96", "--width", "96")
    assert (code, err.startswith("note: this takes about "), err.endswith("of memory beside the weights; 4 MiB are free.\n")) == (0, True, True)
    code, out, err = run("generate", "a red circle", "--model", "model", "--width", "100000", "--output", "wide.mp4")
    assert (code, out) != (0, "")
    assert "width=100000" in err
    assert "4 MiB are free. Try height=" in err
    assert not list(Path().glob("wide*"))


def test_generate_passes_every_setting_on(run):
    code, out, err = run(
        "generate", "a red circle", "--model", "model", "--num-frames", "3", "--fps", "12", "--height", "48",
        "--width", "16", "--num-inference-steps", "2", "--guidance-scale", "2.5", "--negative-prompt", "blue",
        "--sampler", "heun", "--best-of", "2", "--dtype", "float32", "--output", "a.mkv", "--json",
    )  # fmt: skip
    assert code == 0, err
    recipe = read_recipe(json.loads(out)[0]["path"])
    assert recipe["settings"] == {
        "num_frames": 3, "fps": 12.0, "height": 48, "width": 16, "sampler": "heun", "num_inference_steps": 2,
        "guidance_scale": 2.5, "guidance_interval": None, "guidance_rescale": 0.0, "step_cache": None, "best_of": 2,
        "dtype": "float32", "compile": False,
    }  # fmt: skip
    assert recipe["conditions"] == [{"kind": "Text", "prompt": "a red circle", "negative_prompt": "blue"}]
    video = Video.read("a.mkv")
    assert (video.frames.shape, video.fps) == ((3, 48, 16, 3), 12.0)


def test_pictures_are_given_by_place(run):
    for name, value in (("first", 0), ("middle", 128), ("last", 255)):
        Image.fromarray(np.full((32, 32, 3), value, np.uint8)).save(f"{name}.png")
    code, _, err = run(
        "generate",
        "--model",
        "model",
        "--first-frame",
        "first.png",
        "--last-frame",
        "last.png",
        "--frames",
        "1=middle.png",
    )
    assert code == 0, err
    given = read_recipe("outputs/video-0.mp4")["conditions"][1]
    assert list(given["pictures"]) == ["0", "1", "3"]


def test_unknown_words_are_told_on_the_error_stream(run):
    code, out, err = run("generate", "a red zebra", "--model", "model", "--json")
    assert code == 0
    assert "'zebra'" in err
    assert json.loads(out)[0]["unknown_words"] == ["zebra"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["generat", "x"], 2, "Did you mean 'generate'"),
        (["generate"], 1, "nothing was asked for"),
        (["generate", "x", "--bogus"], 2, "--bogus"),
        (["generate", "x", "--model", "nowhere"], 1, "'nowhere'"),
        (["generate", "x", "--model", "model", "--height", "40"], 1, "Try 32 or 48"),
        (["generate", "x", "--model", "model", "--frames", "first.png"], 1, "is not I=PATH"),
        (["generate", "x", "--model", "model", "--dtype", "int3"], 1, "float32"),
        (["generate", "x", "--model", "model", "--device", "gpu"], 1, "Try 'cpu'"),
        (["generate", "x", "--model", "model", "--guidance-scale", "nan"], 1, "guidance_scale=nan"),
        (["generate", "x", "--model", "model", "--output", "x.xyz"], 1, "no writer for '.xyz'"),
        (["generate", "x", "--model", "model", "--output", "x.png"], 1, "holds one frame"),
        (["generate", "x", "--model", "model", "--output", "model/card.json/x.mp4"], 1, "card.json is a file"),
        (["replay", "model/card.json"], 1, "no recipe"),
        (["replay", "nowhere.mp4"], 1, "nowhere.mp4"),
        (["evaluate", "--count", "tow=40"], 1, "Did you mean 'two'?"),
    ],
)
def test_mistakes_end_in_one_line_and_leave_nothing(run, arguments, code, says):
    got, out, err = run(*arguments)
    assert (got, out) == (code, "")
    assert says in err
    assert "Traceback" not in err
    assert os.listdir() == ["model"]


def test_what_cannot_be_written_is_refused_before_it_is_made(run, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("work was begun")

    monkeypatch.setattr("flipbook.model.Model.generate", refuse)
    assert run("generate", "x", "--model", "model", "--output", "x.xyz")[0] == 1
    monkeypatch.setattr(os, "access", lambda *_: False)
    code, _, err = run("generate", "x", "--model", "model", "--output", "new/x.mp4")
    assert code == 1
    assert "you may not write in" in err
    assert os.listdir() == ["model"]


def test_a_name_with_a_slash_behind_it_is_a_folder(run):
    code, out, _ = run("generate", "a red circle", "--model", "model", "--output", "new/")
    assert code == 0
    assert out.startswith("new/a-red-circle-0.mp4")


def test_words_that_are_too_many_are_told_on_the_error_stream(run):
    code, _, err = run("generate", "a red circle falls " * 30, "--model", "model")
    assert code == 0
    assert "longer than this model reads" in err
    assert "the last 72 words, from 'a' on" in err


def test_warnings_are_notes_without_lines_of_code(monkeypatch, capsys):
    before = warnings.formatwarning
    monkeypatch.setattr("flipbook.cli.command", lambda name: lambda **_: print(warnings.formatwarning("a clip is left out", UserWarning, "plan.py", 82)))
    main(["train"])
    assert capsys.readouterr().out == "note: a clip is left out\n\n"
    assert warnings.formatwarning is before


def test_an_extra_that_is_not_installed_is_told_in_one_line(monkeypatch, capsys):
    def lacking(message):
        def run(**_):
            raise ImportError(message)

        return lambda name: run

    monkeypatch.setattr("flipbook.cli.command", lacking("curation needs opencv-python-headless. Try pip install 'flipbook[data]'"))
    with pytest.raises(SystemExit) as stop:
        main(["curate", "raw-footage"])
    assert stop.value.code == 1
    assert capsys.readouterr().err == "error: curation needs opencv-python-headless. Try pip install 'flipbook[data]'\n"
    monkeypatch.setattr("flipbook.cli.command", lacking("cannot import name 'walk'"))
    with pytest.raises(ImportError, match="walk"):                          # ours to mend: it keeps its traceback
        main(["curate", "raw-footage"])


def test_help_is_filled_into_the_width_of_the_terminal(run, monkeypatch):
    """A docstring's own line breaks are nobody's business: no line of a paragraph ends early."""
    monkeypatch.setenv("COLUMNS", "200")
    assert "a setting of generation (guidance_scale). Started again with the same words" in run("compare", "--help")[1]
    assert "A system that starts from an image model trains" in run("systems", "run", "--help")[1]


def test_replay_makes_the_same_file_again(run):
    Image.fromarray(np.full((40, 32, 3), 90, np.uint8)).save("first.png")
    run("generate", "a red circle", "--model", "model", "--first-frame", "first.png", "--output", "a.mp4")
    Path("first.png").unlink()  # the recipe carries its pictures
    code, out, err = run("replay", "a.mp4")
    assert (code, err) == (0, "")
    assert "identical" in out
    code, out, _ = run("replay", "a.mp4", "--json", "--output", "b.mp4")
    assert json.loads(out) == {"same_frames": True, "same_file": True, "differences": [], "path": "b.mp4"}
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()


def test_replay_of_a_video_among_several_is_identical_too(run):
    run("generate", "a red circle", "--model", "model", "--num-videos", "3", "--output", "a.webm")
    assert run("replay", "a-2.webm")[0] == 0


def test_replay_uses_as_many_threads_as_then(run):
    run("generate", "a red circle", "--model", "model", "--output", "a.mp4")
    then, seen = read_recipe("a.mp4")["machine"]["threads"], []
    torch.set_num_threads(then + 1)
    try:
        replay("a.mp4", progress=lambda *_: seen.append(torch.get_num_threads()))
        assert torch.get_num_threads() == then + 1
    finally:
        torch.set_num_threads(then)
    assert set(seen) == {then}


def test_replay_tells_what_changed(run):
    run("generate", "a red circle", "--model", "model", "--output", "a.mp4")
    save_pretrained(tiny_system(seed=1), "other")
    code, out, _ = run("replay", "a.mp4", "--model", "other")
    assert code == 1
    assert "NOT identical" in out
    assert "weights of tiny are not those of then" in out


def test_doctor_reports_as_json(run):
    code, out, _ = run("doctor", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["versions"]["torch"]
    assert report["speed"]["float32 GFLOP/s"] > 0
    assert report["encoders"]["libx264"].startswith("yes")
    assert "models" in report
    assert run("doctor")[1].startswith("versions\n")


def test_names_of_files_come_from_sentences(tmp_path):
    assert slug("A red circle, moves right!") == "a-red-circle-moves-right"
    assert slug("../../etc/passwd") == "etc-passwd"
    assert slug("Ein Kreis fällt") == "ein-kreis-fallt"
    assert slug("円") == "video"
    assert len(slug("word " * 100)) <= 60
    assert output_path(tmp_path / "x.gif", "name", 2, 7) == tmp_path / "x-7.gif"
    (tmp_path / "x.json").write_text("{}")
    assert free_path(tmp_path / "x.mp4") == tmp_path / "x-2.mp4"
