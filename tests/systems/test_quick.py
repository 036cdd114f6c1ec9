"""The shipped student of four steps: what a video costs, that it shows what is asked, and what it shares with its teacher."""

import pytest
import torch

import flipbook
from flipbook.interop.folder import shipped_models
from flipbook.metrics.truth.reader import read_clip
from flipbook.metrics.truth.score import score_reading

pytestmark = pytest.mark.skipif("thumb-quick" not in shipped_models(), reason="this checkout ships no student")


@pytest.fixture(scope="module")
def quick():
    return flipbook.load("thumb-quick")


def test_a_video_costs_four_calls_of_the_network_and_shows_what_is_asked(quick):
    calls = []
    hook = quick.system.denoiser.register_forward_hook(lambda net, args, out: calls.append(len(args[0])))
    sentence = "a red circle moves right on a black background"
    video = quick.generate(sentence, seed=0)
    hook.remove()
    assert calls == [1] * 4                                                 # one clip a call: no second one for guidance
    assert score_reading(read_clip(video.frames), sentence).all
    assert not score_reading(read_clip(video.frames), "a red circle moves left on a black background").motion


def test_its_latents_are_those_of_its_teacher(quick):
    teacher = flipbook.load("thumb").system
    ours, theirs = (system.autoencoder.state_dict() for system in (quick.system, teacher))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    ours, theirs = (system.denoiser.state_dict() for system in (quick.system, teacher))
    assert ours.keys() == theirs.keys()
    assert any(not torch.equal(ours[key], theirs[key]) for key in ours)
