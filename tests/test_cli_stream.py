"""`flipbook generate --stream`: a file that grows, a bar with frames per second, and Ctrl-C as the end of the video."""

import dataclasses
import json
import signal

import numpy as np
import pytest

from flipbook import Video, load, save_pretrained
from flipbook.cli import live, main
from flipbook.long.streaming import Streaming
from flipbook.replay import replay
from flipbook.video import read_recipe
from tiny import tiny_system

WORDS = "a red circle falls"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    save_pretrained(tiny_system(), tmp_path / "whole")
    save_pretrained(dataclasses.replace(tiny_system(), streaming=Streaming(chunk=2, window=4)), tmp_path / "causal")
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        try:
            main(["generate", WORDS, "--num-inference-steps", "1", *arguments])
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return (code, *capsys.readouterr())

    return run


def test_a_stream_is_written_told_and_replayed(run, tmp_path):
    code, out, _ = run("--model", "causal", "--stream", "--num-frames", "7", "--output", "v.mp4", "--seed", "3")
    assert code == 0
    assert "v.mp4  (7 frames," in out
    assert "a second" in out
    video = Video.read("v.mp4")
    assert len(video) == 7
    assert (tmp_path / "v-sheet.png").is_file()
    recipe = read_recipe("v.mp4")
    assert recipe["settings"]["num_frames"] == 7
    assert recipe["seed"] == 3
    assert replay("v.mp4").video.recipe["frames_sha256"] == recipe["frames_sha256"]


def test_as_json_it_says_what_was_made(run):
    code, out, err = run("--model", "causal", "--stream", "--num-frames", "3", "--output", "v.webm", "--json")
    (made,) = json.loads(out)
    assert (code, err) == (0, "")
    assert (made["frames"], made["interrupted"], made["path"]) == (3, False, "v.webm")
    assert made["frames_per_second"] > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_video_behind_the_chunk_that_is_being_made(run, monkeypatch, number):
    """The signal comes while the third chunk is made: six frames are there, and a recipe that makes these six."""
    add, before = live.Spread.add, signal.getsignal(number)

    def add_and_interrupt(self, chunk):
        add(self, chunk)
        if self.seen == 6:
            signal.raise_signal(number)

    monkeypatch.setattr(live.Spread, "add", add_and_interrupt)
    code, out, _ = run("--model", "causal", "--stream", "--num-frames", "1000", "--output", "v.mp4")
    assert code == 0
    assert "6 frames, ended early" in out
    recipe = read_recipe("v.mp4")
    assert len(Video.read("v.mp4")) == recipe["settings"]["num_frames"] == 6
    monkeypatch.setattr(live.Spread, "add", add)
    again = load("causal").generate(WORDS, num_frames=6, num_inference_steps=1)
    assert again.recipe["frames_sha256"] == recipe["frames_sha256"]
    assert signal.getsignal(number) == before


def test_pressed_twice_ctrl_c_interrupts():
    with live.stops() as asked:
        signal.raise_signal(signal.SIGINT)
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_sheet_of_a_stream_spreads_over_all_of_it():
    spread = live.Spread()
    for start in range(0, 500, 4):
        spread.add(np.arange(start, start + 4)[:, None, None, None])
    shown = [int(frame.item()) for frame in spread.frames]
    assert shown == list(range(0, 500, spread.every))
    assert live.SHEET // 2 < len(shown) <= live.SHEET


@pytest.mark.parametrize(("arguments", "says"), [
    (["--model", "whole"], "tiny is not causal"), (["--model", "causal", "--num-videos", "2"], "Try another --seed"),
    (["--model", "causal", "--output", "v.gif"], "Try .mp4"), (["--model", "causal", "--best-of", "2"], "Try best_of=1"),
])  # fmt: skip
def test_what_cannot_stream_says_what_to_try(run, arguments, says):
    code, _, err = run("--stream", "--num-frames", "4", *arguments)
    assert code == 1
    assert says in err
