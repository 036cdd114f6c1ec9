"""The memory forecast: what it counts, how near it comes, and what is refused by it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import flipbook
from flipbook import forecast as module
from flipbook import machine
from flipbook.conditions import Text
from flipbook.forecast import Line, LiveBytes, forecast
from flipbook.generate import generate, latents_of
from flipbook.sampling import prepare, settle
from tiny import tiny_system

GIB = 2**30


@pytest.fixture(scope="module")
def ready():
    return prepare(tiny_system(), dtype="float32")


@pytest.fixture
def asked_about(monkeypatch):
    """Even the smallest requests are forecast, on a machine of 64 GiB."""
    monkeypatch.setattr(module, "PER_PIXEL", 2**40)
    monkeypatch.setattr(machine, "free_memory", lambda device="cpu": 64 * GIB)


def told(ready, batch=1, videos=1, **settings):
    return forecast(ready, (Text("a red circle"),), settle(ready.system, **settings), batch, videos, latents_of)


def test_live_bytes_are_those_of_tensors_that_were_made_and_are_still_there():
    old = torch.ones(1000)
    with LiveBytes() as live:
        new = old + 1
        assert live.now == 4000
        view, _ = new.view(10, 100), new.mul_(2)
        assert live.now == 4000                                             # no new memory
        pair = torch.stack([new, old])
        del pair
        assert (live.now, live.peak) == (4000, 12000)
        del new
        assert live.now == 4000                                             # the view holds it
        del view, _
        assert live.now == 0


def test_a_line_through_two_points_meets_them_and_never_falls():
    line = Line.through((10, 500), (40, 1100))
    assert (line.fixed, line.slope, line.at(100)) == (300, 20, 2300)
    assert Line.through((10, 500), (40, 400)).at(100) == 500


REQUESTS = {
    "small": {"height": 96, "width": 64},
    "wide": {"height": 32, "width": 256, "num_frames": 6},
    "long": {"num_frames": 48},
    "batch": {"batch": 4, "height": 64, "width": 64},
    "plain": {"guidance_scale": 1.0, "height": 96, "width": 96},
    "candidates": {"best_of": 3, "height": 64, "width": 64},
    "cached": {"step_cache": 0.2, "height": 96, "width": 96, "sampler": "dpmpp_2m", "num_inference_steps": 4},
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_forecast_is_within_a_factor_of_what_is_measured(ready, asked_about, monkeypatch, name):
    settings = dict(REQUESTS[name])
    batch = settings.pop("batch", 1)
    expected = told(ready, batch=batch, videos=batch, **settings)
    monkeypatch.setattr(module, "PER_PIXEL", 0)
    with LiveBytes() as live:
        generate(ready, ["a red circle"] * batch, batch_size=batch, **settings)
    assert 1 < expected.peak / live.peak < 1.5                             # what kernels use inside themselves is no tensor


GROWTH = """
import gc
from pathlib import Path

from flipbook import forecast, machine
from flipbook.conditions import Text
from flipbook.generate import generate, latents_of
from flipbook.sampling import prepare, settle
from tiny import tiny_system

ready = prepare(tiny_system(), dtype="float32")
resident = lambda field: next(1024 * int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
settings = {"height": 256, "width": 256, "num_frames": 12, "num_inference_steps": 1}
generate(ready, "a red circle", height=32, width=32, num_inference_steps=1)          # what is loaded once is loaded
machine.free_memory = lambda device="cpu": 64 * 2**30
forecast.PER_PIXEL = 2**40
expected = forecast.forecast(ready, (Text("a red circle"),), settle(ready.system, **settings), 1, 1, latents_of)
forecast.PER_PIXEL = 0
gc.collect()
Path("/proc/self/clear_refs").write_text("5")                                        # the peak starts again from here
before = resident("VmRSS:")
generate(ready, "a red circle", **settings)
print(expected.peak, resident("VmHWM:") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel tells the peak of a process on Linux")
def test_a_forecast_is_within_a_factor_of_what_a_fresh_process_grows_by():
    """A process that has worked before may hold freed memory, and grow by less than it takes."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run([sys.executable, "-c", GROWTH], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected, grown = map(int, done.stdout.split())
    assert 0.5 < expected / grown < 2


def test_videos_that_wait_for_the_last_one_are_counted(ready, asked_about):
    one, five = (told(ready, videos=videos, height=64, width=64) for videos in (1, 5))
    assert five.peak - one.peak == 4 * 4 * 64 * 64 * 3


def test_the_forecast_of_a_long_clip_is_made_on_a_short_one(ready, asked_about):
    asked = []
    sample = lambda ready, requests, settings, seeds: asked.append(settings.num_frames) or latents_of(ready, requests, settings, seeds)
    settings = settle(ready.system, num_frames=4000)
    assert forecast(ready, (Text("a red circle"),), settings, 1, 1, sample).peak > 10 * told(ready, num_frames=33).peak
    assert set(asked) == {33}


def test_a_small_request_is_not_asked_about(ready, monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda device="cpu": 64 * GIB)
    monkeypatch.setattr(module, "_lines", None)
    assert told(ready) is None
    monkeypatch.setattr(machine, "free_memory", lambda device="cpu": None)
    assert told(ready, width=100_000) is None                               # nothing says what is free


def nothing_may_be_made(*_, **__):
    raise AssertionError("a request that does not fit was begun")


@pytest.mark.parametrize(
    ("asked", "ways"),
    [({"width": 100_000}, ["height=", "fewer frames"]), ({"height": 8000, "width": 8000, "batch_size": 2, "best_of": 2}, ["batch_size=1", "best_of=1"])],
)
def test_a_request_that_does_not_fit_is_refused_before_anything_is_made_with_what_may_fit(ready, monkeypatch, asked, ways):
    monkeypatch.setattr(machine, "free_memory", lambda device="cpu": GIB // 4)
    monkeypatch.setattr("flipbook.generate.resolve", nothing_may_be_made)
    with pytest.raises(ValueError, match=r"about .* of memory beside the weights; 256 MiB are free\. Try ") as refused:
        generate(ready, ["a red circle", "a blue square"], **asked)
    assert all(f"{name}={value}" in str(refused.value) for name, value in asked.items() if name in ("height", "width"))
    assert all(way in str(refused.value) for way in [*ways, "--anyway"])
    with pytest.raises(AssertionError, match="was begun"):
        generate(ready, ["a red circle", "a blue square"], anyway=True, **asked)


def test_what_the_refusal_says_to_try_is_not_refused(ready, monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda device="cpu": 2**22)
    with pytest.raises(ValueError, match="Try height=") as refused:
        generate(ready, "a red circle", height=512, width=256)
    height, width = (int(word.split("=")[1].strip(",;")) for word in str(refused.value).split("Try ")[1].split()[:2])
    assert (height, width) < (512, 256)
    assert told(ready, height=height, width=width).peak <= 2**22


def test_frames_are_decoded_as_many_at_a_time_as_the_forecast_fits_in(ready, monkeypatch):
    settings = {"height": 64, "width": 64, "num_frames": 16, "seed": 1}
    [whole] = generate(ready, "a red circle", **settings)
    monkeypatch.setattr(module, "PER_PIXEL", 2**40)
    monkeypatch.setattr(machine, "free_memory", lambda device="cpu": 2**21)
    decoded, sizes = ready.system.autoencoder.decode, []
    heard = []
    with monkeypatch.context() as change:
        change.setattr(ready.system.autoencoder, "decode", lambda z: sizes.append(z.shape[2]) or decoded(z))
        [pieces] = generate(ready, "a red circle", tell=heard.append, **settings)
    assert abs(whole.frames.astype(int) - pieces.frames).max() <= 1         # products of fewer rows round differently
    assert 1 <= heard[0].chunk < 16
    assert sizes[2:] == [heard[0].chunk] * (16 // heard[0].chunk) + [16 % heard[0].chunk] * bool(16 % heard[0].chunk)  # behind those of the forecast


def test_the_shipped_model_refuses_a_picture_as_wide_as_a_street_at_once():
    with pytest.raises(ValueError, match="width=100000, 16 frames, 1 at a time: this takes about"):
        flipbook.load("thumb").generate("a red circle falls", height=6400, width=100_000)
