"""Latte: its public folder runs as the reference runs it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch

from clips import batch
from flipbook import systems
from flipbook.conditions import Text, resolve
from flipbook.generate import generate
from flipbook.interop.folder import from_pretrained, save_pretrained
from flipbook.interop.public import read_network, write_network
from flipbook.objectives.base import build_objective
from flipbook.process.noise import initial_noise
from flipbook.sampling import latent_shape, prepare, sample_latents, settle
from latte_folders import FRAMES, write_latte
from public_folders import randomised

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("transformers")

PROMPT, NEGATIVE, SEED = "a red Ball", "blue", 7
SIZE = {"num_frames": FRAMES, "height": 16, "width": 16, "num_inference_steps": 4}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return write_latte(tmp_path_factory.mktemp("latte") / "model")


def latents(system, prompts, **changes):
    settings = settle(system, **SIZE | changes)
    requests = [resolve((Text(prompt, negative),), settings.size, system.conditions) for prompt, negative in prompts]
    return sample_latents(prepare(system, dtype="float32"), requests, settings, [SEED] * len(requests))


@pytest.mark.parametrize(("negative", "scale"), [("", 7.5), (NEGATIVE, 4.0), ("", 1.0)])
def test_the_folder_of_the_pipeline_makes_what_the_reference_makes(shared, negative, scale):
    pipeline = diffusers.LattePipeline.from_pretrained(shared)
    pipeline.set_progress_bar_config(disable=True)
    wanted = pipeline(
        PROMPT, negative_prompt=negative, guidance_scale=scale, latents=initial_noise((4, FRAMES, 8, 8), [SEED]), output_type="latent",
        video_length=FRAMES, height=16, width=16, num_inference_steps=4, clean_caption=False,
    ).frames  # fmt: skip
    made = latents(from_pretrained(shared), [(PROMPT, negative)], guidance_scale=scale)
    torch.testing.assert_close(made, wanted, atol=1e-3, rtol=1e-3)


def test_a_sentence_and_its_null_do_not_depend_on_a_longer_one_beside_them(shared):
    system = from_pretrained(shared)
    both = latents(system, [("a", ""), ("a much longer sentence", "")])
    torch.testing.assert_close(both[:1], latents(system, [("a", "")]), atol=1e-4, rtol=1e-4)


def test_the_network_is_written_as_the_reference_reads_it(shared, tmp_path):
    net = read_network(shared / "transformer")
    peer = diffusers.LatteTransformer3DModel.from_pretrained(write_network(net, tmp_path / "latte"))
    again = read_network(tmp_path / "latte")
    assert again.config == net.config
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in net.state_dict().items())
    theirs = diffusers.LatteTransformer3DModel.from_pretrained(shared / "transformer").state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in peer.state_dict().items())


def test_a_folder_with_another_text_encoder_is_refused_by_name(shared, tmp_path):
    folder = shutil.copytree(shared, tmp_path / "model")
    path = folder / "text_encoder/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": ["CLIPTextModel"]}))
    with pytest.raises(ValueError, match=r"CLIPTextModel.*Only T5EncoderModel"):
        from_pretrained(folder)


def test_a_tiny_one_makes_a_video_and_comes_back_from_its_folder(tmp_path):
    torch.manual_seed(0)
    system = systems.build("latte", tiny=True).eval()
    randomised(system.denoiser)
    settings = {"num_frames": 3, "height": 32, "width": 32, "num_inference_steps": 2, "seed": 1, "dtype": "float32"}
    (video,) = generate(system, "a red circle", **settings)
    assert video.frames.shape == (3, 32, 32, 3)
    save_pretrained(system, tmp_path / "model")
    (again,) = generate(from_pretrained(tmp_path / "model"), "a red circle", **settings)
    assert (again.frames == video.frames).all()
    assert latent_shape(system, settle(system, num_frames=3, height=32, width=32))[1] == 3


@pytest.mark.parametrize("stills", [1, 3])
def test_images_behind_a_clip_with_sentences_of_their_own_lose_what_they_would_alone(stills):
    torch.manual_seed(0)
    system = systems.build("latte", tiny=True)
    randomised(system.denoiser)
    system.denoiser.requires_grad_(True)
    data, seeds = batch(), [11, 12, 13, 14]
    loss = {form: build_objective("conditioned", system, {"stills": stills, "form": form}).loss(data, seeds).loss for form in ("append", "separate")}
    torch.testing.assert_close(loss["append"], loss["separate"], atol=1e-5, rtol=1e-5)
    changed = replace(data, captions=["a blue square", *data.captions[1:]])
    other = build_objective("conditioned", system, {"stills": stills}).loss(changed, seeds).loss
    assert (other - loss["append"])[0].abs() > 1e-5
    torch.testing.assert_close(other[1:], loss["append"][1:], atol=1e-5, rtol=1e-5)
