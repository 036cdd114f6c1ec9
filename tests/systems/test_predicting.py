"""Predictors of frames as systems: a beginning is given, the rest is rolled out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flipbook import systems
from flipbook.conditions import FirstFrame, Frames, LastFrame
from flipbook.generate import generate
from flipbook.interop.folder import from_pretrained, save_pretrained
from flipbook.long.frames import roll_frames
from flipbook.replay import replay
from flipbook.sampling import prepare
from flipbook.shapes import pixels_to_tensor

NAMES = ("next-frame", "convlstm", "tcn")
SMALL = {"num_frames": 6, "height": 16, "width": 16}


def system(name, seed=0):
    """Every weight random, so that all inputs matter."""
    torch.manual_seed(seed)
    built = systems.build(name, tiny=True)
    with torch.no_grad():
        for parameter in built.denoiser.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
    return built.eval()


def beginning(n=3, speed=2):
    """A bright square that moves to the right."""
    frames = np.full((n, 16, 16, 3), 40, np.uint8)
    for t in range(n):
        frames[t, 4:9, 1 + speed * t : 6 + speed * t] = (230, 60, 60)
    return frames


@pytest.mark.parametrize("name", NAMES)
def test_given_frames_stay_and_the_rest_is_the_rollout(name):
    ready, frames = prepare(system(name), dtype="float32"), beginning()
    [video] = generate(ready, [Frames(dict(enumerate(frames)))], **SMALL)
    assert np.array_equal(video.frames[:3], frames)
    assert not np.array_equal(video.frames[3], frames[2])
    [again] = generate(ready, [Frames(dict(enumerate(frames)))], seed=9, **SMALL)
    assert np.array_equal(video.frames, again.frames)                       # nothing is left to chance
    [one] = generate(prepare(system(name)), [FirstFrame(frames[0])], **SMALL)               # in whatever dtype is fast here
    assert np.array_equal(one.frames[0], frames[0])


@torch.no_grad()
def test_without_a_painting_network_what_moved_goes_on_moving():
    built = system("next-frame")
    built.denoiser.head.weight.zero_()
    built.denoiser.head.bias[-16:] = -60.0                                  # nothing is uncovered
    [video] = generate(prepare(built, dtype="float32"), [Frames(dict(enumerate(beginning())))], num_frames=5, height=16, width=16)
    expected = beginning(5).astype(float)
    error = lambda frames: np.abs(frames[4].astype(float) - expected[4]).mean()
    assert error(video.frames) < 0.5 * error(np.stack([beginning()[2]] * 5))                # against standing still


def test_a_saved_system_makes_the_same_clip_and_a_file_is_made_again(tmp_path):
    ours = system("tcn")
    folder = save_pretrained(ours, tmp_path / "model")
    again = from_pretrained(folder)
    request = [FirstFrame(beginning(1)[0])]
    [a], [b] = (generate(prepare(one, dtype="float32", source=str(folder)), request, **SMALL) for one in (ours, again))
    assert np.array_equal(a.frames, b.frames)
    b.write(tmp_path / "clip.mp4")
    assert replay(tmp_path / "clip.mp4").same_file


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_of_a_batch_is_the_clip_alone(name):
    ready = prepare(system(name), dtype="float32")
    requests = [[FirstFrame(beginning(2)[k])] for k in range(2)]
    together = generate(ready, requests, batch_size=2, **SMALL)
    [alone] = generate(ready, [requests[1]], **SMALL)
    assert np.abs(together[1].frames.astype(int) - alone.frames.astype(int)).max() <= 1


def test_what_is_no_beginning_is_refused():
    ready, frames = prepare(system("convlstm"), dtype="float32"), beginning()
    for request, words in (
        ([Frames({1: frames[1]})], r"given are \[\[1\]\].*Try FirstFrame"), ([Frames({0: frames[0], 2: frames[2]})], "Try FirstFrame"),
        ("a red square", "takes FirstFrame, Frames"), ([LastFrame(frames[0])], "takes FirstFrame, Frames"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            generate(ready, request, **SMALL)
    with pytest.raises(ValueError, match=r"sampler='euler'.*rollout"):
        generate(ready, [FirstFrame(frames[0])], sampler="euler", **SMALL)


@torch.no_grad()
def test_the_systems_rollout_is_the_loop():
    built, frames = system("convlstm"), beginning()
    [video] = generate(prepare(built, dtype="float32"), [Frames(dict(enumerate(frames)))], **SMALL)
    z = built.autoencoder.encode(pixels_to_tensor(frames)[None])
    rolled = built.autoencoder.decode(roll_frames(built.denoiser, z, 6))[0, :, 2:]
    assert np.abs((pixels_to_tensor(video.frames)[:, 3:] - rolled.clamp(-1, 1)).numpy()).max() < 0.01
