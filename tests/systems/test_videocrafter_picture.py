"""VideoCrafter's image-to-video model: a picture beside the text, guided together with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from autoencoder_peers import randomised
from flipbook.conditions import FirstFrame, Size, Text, branches, empty_inputs, resolve
from flipbook.denoisers.unet_tables import modelscope
from flipbook.generate import generate
from flipbook.interop.folder import from_pretrained, save_pretrained
from flipbook.systems.videocrafter import TINY, TINY_PICTURE, build

SIZE = Size(num_frames=3, fps=8.0, height=32, width=32)
SETTINGS = {"num_frames": 3, "height": 32, "width": 32, "num_inference_steps": 2, "dtype": "float32"}


@pytest.fixture(scope="module")
def system():
    torch.manual_seed(0)
    made = build(TINY_PICTURE)
    randomised(made.denoiser)
    return made.eval()


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def led(system, seed=0):
    request = resolve((Text("a red ball", "blue"), FirstFrame(picture(seed))), SIZE, system.conditions)
    return branches(system.conditions, system, [request], empty_inputs(SIZE, (4, 3, 8, 8), [5]))[1]


@torch.no_grad()
def test_guidance_sets_the_text_and_the_picture_against_the_negative_prompt_and_an_even_gray(system):
    doors = led(system)
    assert list(doors) == ["null", "text and picture"]
    gray, given = torch.zeros(1, 3, 32, 32), torch.from_numpy(picture(0)).permute(2, 0, 1)[None] / 127.5 - 1.0
    for name, words, image in (("null", "blue", gray), ("text and picture", "a red ball", given)):
        assert torch.equal(doors[name].tokens, system.text_encoder.encode([words])[0])
        torch.testing.assert_close(doors[name].picture_tokens, system.image_encoder.encode(image))
        assert doors[name].vector.tolist() == [[8.0]]


def test_the_picture_reaches_the_video_and_the_same_one_makes_the_same(system):
    first, again, other = (generate(system, [[Text("a red ball"), FirstFrame(picture(n))]], **SETTINGS)[0].frames for n in (1, 1, 2))
    assert np.array_equal(first, again)
    assert (first != other).mean() > 0.01


def test_without_a_picture_it_is_refused_with_what_to_give(system):
    with pytest.raises(ValueError, match=r"starts from a picture of frame 0.*Try FirstFrame"):
        generate(system, "a red ball", **SETTINGS)


def test_saved_and_read_again_it_is_the_image_to_video_model_still(system, tmp_path):
    again = from_pretrained(save_pretrained(system, tmp_path / "model"))
    assert [entrance.name for entrance in again.conditions] == ["text and picture", "draft", "numbers"]
    request = [[Text("a red ball"), FirstFrame(picture(1))]]
    assert np.array_equal(generate(again, request, **SETTINGS)[0].frames, generate(system, request, **SETTINGS)[0].frames)


def test_version_1_that_knows_no_frame_rate_is_not_told_one():
    torch.manual_seed(0)
    told = build(TINY)
    denoiser = replace(TINY.denoiser, vector=(), inserts=modelscope(head_dim=4, conv=False, reach=2))
    untold = build(replace(TINY, denoiser=denoiser)).eval()
    assert [entrance.name for entrance in told.conditions] == ["text", "draft", "numbers"]
    assert [entrance.name for entrance in untold.conditions] == ["text", "draft"]
    (video,) = generate(untold, "a red ball", **SETTINGS)
    assert video.frames.shape == (3, 32, 32, 3)
