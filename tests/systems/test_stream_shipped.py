"""The shipped student that streams: what it shows, as it comes and as a whole, and what it shares with its teacher."""

import numpy as np
import pytest
import torch

import flipbook
from flipbook.cli.info import model_info
from flipbook.interop.folder import model_folder, shipped_models
from flipbook.metrics.truth.reader import read_clip
from flipbook.metrics.truth.score import score_reading

pytestmark = pytest.mark.skipif("thumb-stream" not in shipped_models(), reason="this checkout ships no stream")
SENTENCE = "a red circle bounces on a gray background"


@pytest.fixture(scope="module")
def model():
    return flipbook.load("thumb-stream")


def test_frames_come_in_chunks_and_are_those_of_the_whole(model):
    chunks = list(model.stream(SENTENCE, num_frames=20, seed=1))
    assert [len(chunk) for chunk in chunks] == [8, 8, 4]
    assert np.array_equal(np.concatenate(chunks), model.generate(SENTENCE, num_frames=20, seed=1).frames)


def test_what_is_asked_is_shown_and_still_there_six_seconds_later(model):
    frames = np.concatenate(list(model.stream(SENTENCE, num_frames=64, seed=1)))
    for part in (frames[:16], frames[-16:]):
        assert score_reading(read_clip(part), SENTENCE).all
    assert not score_reading(read_clip(frames[-16:]), "a blue circle bounces on a gray background").colour


def test_its_latents_are_those_of_its_teacher(model):
    ours, theirs = (system.autoencoder.state_dict() for system in (model.system, flipbook.load("thumb").system))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_its_card_says_how_it_streams():
    _, rows = model_info(model_folder("thumb-stream"))
    assert ("streaming", "chunks of 8 frames, which read 8 before them") in rows
