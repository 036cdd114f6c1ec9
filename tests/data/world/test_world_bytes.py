"""The same seed gives the same bytes: everywhere, at any choice of frames, and in any order."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from flipbook.data.world import DOMAINS, draw, from_scene
from flipbook.data.world.geometry import cos_turns, sin_turns
from flipbook.data.world.rng import Random

FROZEN = {
    "shapes": ["48c6311b08426511", "715b6400931b704e", "936509f6ebf78e58", "3e585ef9ab3e9c1d"],
    "sky": ["fa1422d59d8f2c44", "9d477bbd9a29d6c3", "5bad85f7adf580ed", "9770b126f2d31a0b"],
    "figures": ["0aac4839901aaa26", "19695db88f6098d4", "fa9ec4d08f3177f4", "0d362030fe60f83f"],
    "takes": ["b3d975b884f59cb0", "b907912d3c8adcae", "70c366ba39ba0fda", "90f1bc4b2d503389"],
}


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_bytes_of_a_seed_are_frozen(domain):
    """If these change on purpose, so do all trained weights' data: say so in the changelog."""
    found = [hashlib.sha256(draw(domain, seed).frames.tobytes()).hexdigest()[:16] for seed in (0, 1, 2, 2**49 + 7)]
    assert found == FROZEN[domain]


def test_a_processor_without_wide_vector_units_paints_the_same_bytes():
    from numpy._core._multiarray_umath import __cpu_dispatch__

    script = (
        "import hashlib; from flipbook.data.world import DOMAINS, draw; "
        "clips = [draw(domain, seed, num_frames=16) for domain in DOMAINS for seed in range(4)]; "
        "print(*[hashlib.sha256(clip.frames.tobytes()).hexdigest() for clip in clips])"
    )
    plain = os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(__cpu_dispatch__), "PYTHONWARNINGS": "ignore"}
    told = subprocess.run([sys.executable, "-c", script], env=plain, capture_output=True, text=True, check=True).stdout
    here = [draw(domain, seed, num_frames=16).frames.tobytes() for domain in DOMAINS for seed in range(4)]
    assert told.split() == [hashlib.sha256(frames).hexdigest() for frames in here]


@pytest.mark.parametrize("domain", DOMAINS)
def test_chosen_frames_are_the_frames_of_the_whole_clip(domain):
    for seed in range(12):
        whole = draw(domain, seed, num_frames=20).frames
        some = draw(domain, seed, num_frames=20, frames=[13, 2]).frames
        assert np.array_equal(some, whole[[13, 2]])


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize(("num_frames", "height", "width"), [(1, 64, 64), (5, 48, 80), (40, 90, 50), (3, 17, 33)])
def test_any_size_and_length_is_drawn(domain, num_frames, height, width):
    clip = draw(domain, 3, num_frames=num_frames, height=height, width=width)
    assert clip.frames.shape == (num_frames, height, width, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.frames.std() > 3.0


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_scene_survives_json_and_paints_the_same_clip(domain):
    clip = draw(domain, 5, num_frames=18)
    again = from_scene(json.loads(json.dumps(clip.scene)), num_frames=18)
    assert np.array_equal(again.frames, clip.frames)
    assert again.caption == clip.caption


def test_a_larger_picture_shows_the_same_scene():
    small, large = (draw("shapes", 9, num_frames=4, height=s, width=s).frames.astype(float) for s in (64, 128))
    shrunk = large.reshape(4, 64, 2, 64, 2, 3).mean(axis=(2, 4))
    assert np.abs(shrunk - small).mean() < 2.0


def test_own_sine_is_the_sine():
    turns = np.linspace(-3.0, 3.0, 1001)
    assert np.abs(sin_turns(turns) - np.sin(2 * np.pi * turns)).max() < 1e-10
    assert np.abs(cos_turns(turns) - np.cos(2 * np.pi * turns)).max() < 1e-10


def test_streams_of_neighbouring_seeds_are_uniform_and_unlike():
    draws = np.array([[Random(1, seed).uniform(), Random(2, seed).uniform()] for seed in range(2000)])
    assert np.abs(draws.mean(axis=0) - 0.5).max() < 0.03
    assert np.abs(draws.var(axis=0) - 1 / 12).max() < 0.01
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.08
    assert abs(np.corrcoef(draws[1:, 0], draws[:-1, 0])[0, 1]) < 0.08


def test_what_cannot_be_drawn_is_refused_by_name():
    with pytest.raises(ValueError, match="domain='clouds' does not exist"):
        draw("clouds", 0)
    with pytest.raises(ValueError, match="num_objects=2: domain 'sky' has no such option"):
        draw("sky", 0, num_objects=2)
    with pytest.raises(ValueError, match="height=4"):
        draw("shapes", 0, height=4)
    with pytest.raises(ValueError, match="the clip has frames 0 to 15"):
        draw("shapes", 0, frames=[16])
