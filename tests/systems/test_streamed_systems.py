"""CausVid and Self-Forcing as systems: explained, built, taught by their own stages, streamed, saved."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from clips import batch
from flipbook import systems
from flipbook.conditions import FirstFrame, LastFrame, Text
from flipbook.interop.folder import from_pretrained, save_pretrained
from flipbook.objectives.base import build_objective
from flipbook.streaming import stream
from flipbook.systems import thumb
from flipbook.systems.describe import explanation

NAMES = ("causvid", "self-forcing")
SMALL = {"num_frames": 5, "height": 32, "width": 32, "num_inference_steps": 2, "seed": 1, "dtype": "float32"}


def tiny(name):
    torch.manual_seed(0)
    system = systems.build(name, tiny=True)
    for p in system.denoiser.parameters():
        p.data.add_(0.05 * torch.randn_like(p))
    return system


@pytest.mark.parametrize("name", NAMES)
def test_it_streams_and_streams_the_same_from_its_folder(name, tmp_path):
    system = tiny(name).eval()
    assert (system.defaults["num_inference_steps"], system.defaults["guidance_scale"]) == (4, 1.0)
    chunks = list(stream(system, "a red circle falls", **SMALL))
    assert [len(chunk) for chunk in chunks] == [2, 2, 1]
    again = from_pretrained(save_pretrained(system, tmp_path / "model"))
    assert (again.method, again.streaming, again.index_fps) == (name, system.streaming, system.index_fps)
    assert again.process == system.process
    assert np.array_equal(np.concatenate(chunks), np.concatenate(list(stream(again, "a red circle falls", **SMALL))))


@pytest.mark.parametrize("name", NAMES)
def test_it_begins_with_known_frames_and_takes_no_last_one(name):
    ready, picture = tiny(name).eval(), np.full((32, 32, 3), 90, np.uint8)
    chunks = list(stream(ready, [Text("a red circle falls"), FirstFrame(picture)], **SMALL))
    assert sum(map(len, chunks)) == 5
    with pytest.raises(ValueError, match=r"LastFrame is no condition of this system\. It takes Text, Frames, FirstFrame"):
        list(stream(ready, [Text("a red circle falls"), LastFrame(picture)], **SMALL))


@pytest.mark.parametrize("name", NAMES)
def test_every_stage_has_a_loss_that_reaches_the_denoiser(name, tmp_path):
    teacher = save_pretrained(tiny("thumb").eval(), tmp_path / "teacher")
    for stage in importlib.import_module(systems.SYSTEMS[name]).STAGES:
        system = tiny(name)
        recipe = {key: value for key, value in stage.recipe().items() if key != "name"} | ({"teacher": str(teacher)} if "teacher" in stage.options else {})
        objective = build_objective(stage.objective, system, recipe | ({"critic_updates": 1} if "critic_updates" in stage.options else {}))
        if hasattr(objective, "begin"):
            objective.begin(1)                                              # the student's turn
        losses = objective.loss(batch(frames=4), [1, 2, 3, 4])
        losses.loss.mean().backward()
        assert losses.loss.isfinite().all()
        assert any(p.grad is not None and p.grad.any() for p in system.denoiser.parameters()), stage.name
        assert system.streaming is not None


@pytest.mark.parametrize("name", NAMES)
def test_its_card_says_what_is_there_and_its_network_is_thumbs(name):
    facts = explanation(name)
    assert facts["arxiv"] in facts["citation"]
    assert facts["reproduces"]
    assert facts["leaves_out"]
    count = sum(p.numel() for p in thumb.build().denoiser.parameters())
    assert {row["part"]: row["parameters"] for row in facts["sizes"]}["denoiser"] == count


@pytest.mark.parametrize("name", NAMES)
def test_its_few_steps_draw_no_noise_between_them_though_thumbs_do(name):
    assert thumb.DEFAULTS["sampler"] == "euler_ancestral"
    assert systems.build(name, tiny=True).defaults["sampler"] == "euler"
