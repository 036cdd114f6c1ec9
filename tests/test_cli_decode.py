"""A decoder that fails loses nothing from the command line either: what was sampled is on disk, and `flipbook decode` goes on from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from flipbook import Video, save_pretrained
from flipbook.autoencoders.frame import FrameAutoencoder
from flipbook.cli import main
from flipbook.video import read_recipe
from tiny import tiny_system

ASKED = ("generate", "a red circle falls", "--model", "model", "--seed", "3", "--num-inference-steps", "1", "--dtype", "float32")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    save_pretrained(tiny_system(), tmp_path / "model")
    monkeypatch.chdir(tmp_path)

    def run(*arguments, code=0):
        with pytest.raises(SystemExit) as ended:
            main([str(one) for one in arguments])
        out, err = capsys.readouterr()
        assert (ended.value.code or 0) == code, err
        assert "Traceback" not in out + err
        return out, err

    return run


def no_memory(self, z):
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_failed_decoding_says_how_to_go_on_and_going_on_makes_the_same_video(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrameAutoencoder, "decode", no_memory)
        out, err = run(*ASKED, code=1)
    assert out == ""
    assert "does not fit in memory" in err
    (left,) = Path("outputs").iterdir()
    assert left.name.endswith(".latents.safetensors")
    assert f"flipbook decode {left}" in err
    run("decode", left)
    decoded = Path("outputs/a-red-circle-falls-3.mp4")
    run(*ASKED, "--output", "whole.mp4")
    assert Video.read(decoded).frames.tobytes() == Video.read("whole.mp4").frames.tobytes()
    assert read_recipe(decoded) == read_recipe("whole.mp4")
    assert left.is_file()
    out, _ = run("decode", left, "--chunk", "1", "--tile", "3", "--output", "again.mp4", "--json")
    assert [one["path"] for one in json.loads(out)] == ["again.mp4"]
    assert not [path for path in Path().rglob("*.latents.safetensors") if path != left]       # what went well leaves nothing


def test_what_holds_no_latents_is_refused(run):
    assert "does not exist" in run("decode", "gone.latents.safetensors", code=1)[1]
    save_file({"z": torch.ones(1)}, "other.safetensors")
    assert "holds no latents of flipbook" in run("decode", "other.safetensors", code=1)[1]
