"""Demonstrations: lessons that fit their systems, runs that go on where they stopped, and what is taken over from whom."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from flipbook import demonstrate, systems
from flipbook.demonstrate import demo_of, measure, run_demo, take_over
from flipbook.interop.folder import shipped_models
from flipbook.systems.demo import SENTENCES, SHOWN, Demo, Lesson
from flipbook.video import Video

NAMES = [name for name in systems.SYSTEMS if hasattr(importlib.import_module(systems.SYSTEMS[name]), "DEMO")]
needs_weights = pytest.mark.skipif("thumb" not in shipped_models(), reason="this checkout ships no weights")


BASE = {
    "stable-diffusion", "animatediff", "modelscope", "svd", "videocrafter", "imagen-video", "lavie", "lvdm", "magicvideo", "make-a-video",
    "show1", "vdm", "videoldm",
}  # fmt: skip


def test_every_base_system_has_a_demonstration_and_others_say_what_to_try():
    assert set(NAMES) >= BASE
    with pytest.raises(ValueError, match="flipbook generate --model thumb"):
        demo_of("thumb")
    with pytest.raises(ValueError, match="magicvideo"):
        demo_of("magic-video")


def test_no_sentence_is_held_out_and_what_is_shown_was_taught():
    from flipbook.data.sources.world import check_sentences

    check_sentences("shapes", SENTENCES, {})
    assert set(SHOWN) <= set(SENTENCES)


@pytest.mark.parametrize("name", NAMES)
def test_lessons_name_stages_of_their_system_and_networks_that_are_taught_before_they_are_taken(name):
    demo, module = demo_of(name), importlib.import_module(systems.SYSTEMS[name])
    stages, taught = {stage.name for stage in module.STAGES}, set()
    for lesson in demo.lessons:
        assert lesson.stage in stages
        assert lesson.start in ("", "stable-diffusion", *taught)
        taught.add(lesson.network)
    assert taught == set(demo.networks)
    if demo.cascade:
        assert {stage.model for stage in demo.cascade.stages} == taught


@pytest.mark.parametrize("name", NAMES)
def test_the_networks_of_a_demonstration_fit_those_they_start_from(name):
    """On a device that holds no weight: all of the image network has a place, and the text encoders are alike."""
    demo, module = demo_of(name), importlib.import_module(systems.SYSTEMS[name])
    image = importlib.import_module(systems.SYSTEMS["stable-diffusion"])
    with torch.device("meta"):
        for lesson in demo.lessons:
            if lesson.start and lesson.start != lesson.network:
                source = module.build(demo.networks[lesson.start]) if lesson.start in demo.networks else image.build(image.DEMO.networks["image"])
                target = module.build(demo.networks[lesson.network])
                take_over(target, source)                                    # raises where an image weight has no place
                if target.text_encoder is not None:
                    assert target.text_encoder.config == source.text_encoder.config


def test_image_weights_and_inserts_of_one_shape_are_taken_over_bit_for_bit():
    from flipbook.systems import videoldm

    torch.manual_seed(0)
    source, target = (videoldm.build(replace(videoldm.TINY, kind=kind)) for kind in ("keyframes", "upscaler"))
    untouched = {key: value.clone() for key, value in target.denoiser.state_dict().items()}
    take_over(target, source)
    own, theirs = target.denoiser.state_dict(), source.denoiser.state_dict()
    for key, value in own.items():
        if key == "conv_in.weight":
            assert torch.equal(value[:, :4], theirs[key])
            assert not value[:, 4:].any()
        elif key in theirs and value.shape == theirs[key].shape:
            assert torch.equal(value, theirs[key]), key
        else:
            assert key.startswith("vector")                                  # it is told one number more
            assert torch.equal(value, untouched[key])
    pairs = zip(target.text_encoder.parameters(), source.text_encoder.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def quick(monkeypatch):
    """Two steps of sampling, batches of two, two clips measured."""
    monkeypatch.setattr(demonstrate, "MEASURED", 4)
    real = demonstrate.demo_of

    def demo(name):
        found = real(name)
        return replace(found, settings={**found.settings, "num_inference_steps": 1}, lessons=tuple(replace(one, batch=2) for one in found.lessons))

    monkeypatch.setattr(demonstrate, "demo_of", demo)


@needs_weights
@pytest.mark.slow
def test_a_run_trains_its_image_model_first_goes_on_where_it_stopped_and_belongs_to_one_wish(tmp_path, monkeypatch):
    quick(monkeypatch)
    said = []
    result = run_demo("animatediff", tmp_path / "animatediff", steps=2, told=said.append)
    assert [line.split(":")[0] for line in said] == ["stable-diffusion"] * 2 + ["animatediff"] * 3
    lesson = result["lessons"][0]
    assert (lesson["updates"], lesson["from"]) == (2, "stable-diffusion")
    assert result["without"]["together"] == result["measured"] != result["without"]["apart"]
    assert (tmp_path / "stable-diffusion/result.json").is_file()
    for name in ("video.mp4", "sheet.png", "result.json", "1-motion-motion/recipe.yaml", "1-motion-motion/model/model_index.json"):
        assert (tmp_path / "animatediff" / name).is_file()
    image = systems.load(tmp_path / "stable-diffusion/1-image-images/model").denoiser.state_dict()
    video = systems.load(tmp_path / "animatediff/1-motion-motion/model").denoiser.state_dict()
    assert all(torch.equal(video[key], value) for key, value in image.items())               # the image model keeps its bits
    weights = tmp_path / "animatediff/1-motion-motion/model/denoiser/diffusion_pytorch_model.safetensors"
    before = weights.read_bytes(), weights.stat().st_mtime_ns
    assert run_demo("animatediff", tmp_path / "animatediff", steps=2, told=said.append) == result
    (tmp_path / "animatediff/result.json").unlink()                         # as if it had been killed while sampling
    again = run_demo("animatediff", tmp_path / "animatediff", steps=2, told=said.append)
    assert (weights.read_bytes(), weights.stat().st_mtime_ns) == before
    assert again["measured"] == result["measured"]
    assert json.loads((tmp_path / "animatediff/result.json").read_text())["lessons"][0]["updates"] == 2
    with pytest.raises(ValueError, match="belongs to another run"):
        run_demo("animatediff", tmp_path / "animatediff", steps=3, told=said.append)
    with pytest.raises(ValueError, match="one of the two"):
        run_demo("animatediff", tmp_path / "other", told=said.append)


def test_what_is_measured_is_right_for_the_worlds_own_clips_and_wrong_for_other_sentences():
    from flipbook.data.world import from_scene, scene_from_caption

    clips = [Video(from_scene(scene_from_caption(s, 3), height=32, width=32, frames=range(0, 16, 2)).frames, fps=4.0) for s in SHOWN]
    right = measure(clips, SHOWN)
    assert {key: right[key] for key in ("colour", "shape", "motion", "steady")} == dict.fromkeys(("colour", "shape", "motion", "steady"), 1.0)
    assert right["flicker"] < 1.0
    wrong = measure(clips, [*SHOWN[1:], SHOWN[0]])
    assert wrong["colour"] == 0.0
    small = [replace(clip, frames=clip.frames[:, ::2, ::2]) for clip in clips]                  # 16 x 16, as some cascades begin
    assert measure(small, SHOWN)["steady"] == 1.0
    noise = [Video(np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8), fps=4.0)]
    assert measure(noise, [""])["flicker"] > 3.0
    assert "colour" not in measure(noise, [""])


def test_a_demo_with_lessons_for_networks_that_are_not_there_is_refused():
    with pytest.raises(ValueError, match="networks are base"):
        Demo(networks={"base": None}, lessons=(Lesson(network="bass", stage="base"),))


def test_demonstrations_predict_v_on_their_systems_own_path():
    from flipbook.process import VP, Process
    from flipbook.systems.demo import in_v

    path = VP(beta_start=0.0015, beta_end=0.0155)
    assert in_v(Process(path, "eps")) == Process(path, "v")


def test_what_is_made_behind_a_given_beginning_is_enough_to_be_measured():
    """Of the world's own clips, what follows the given frames shows colour, shape and motion."""
    from flipbook.data.world import from_scene, scene_from_caption
    from flipbook.systems.demo import BEGINNING, SHAPE

    whole = [from_scene(scene_from_caption(s, 3), height=32, width=32, frames=range(0, 2 * SHAPE["num_frames"], 2)).frames for s in SHOWN]
    right = measure([Video(frames[BEGINNING:], fps=4.0) for frames in whole], SHOWN)
    assert {key: right[key] for key in ("colour", "shape", "motion", "steady")} == dict.fromkeys(("colour", "shape", "motion", "steady"), 1.0)
