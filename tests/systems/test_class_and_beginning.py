"""Classes and first frames as conditions of a request: Latte of classes, VideoGPT of classes and of beginnings."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from flipbook import systems
from flipbook.cli import main
from flipbook.conditions import ClassLabel, FirstFrame, Frames, Size, Text, branches, empty_inputs, resolve
from flipbook.encoders.beginning import BeginningEncoderConfig
from flipbook.generate import generate
from flipbook.interop.folder import from_pretrained, save_pretrained
from flipbook.objectives.base import build_objective
from flipbook.replay import replay
from flipbook.sampling import prepare
from flipbook.video import Video
from moving_squares import squares
from public_folders import randomised

CLASSES = ["walk", "jump", "wave"]
READER = BeginningEncoderConfig(frames=2, side=16, dim=32, widths=(8, 8, 16), depths=(1, 1, 1))
SMALL = {"num_frames": 4, "height": 16, "width": 16, "dtype": "float32"}


def built(name, **changes):
    torch.manual_seed(0)
    system = systems.build(name, tiny=True, **changes)
    randomised(system.denoiser)
    return system.eval()


def latte():
    return built("latte", classes=CLASSES)


def videogpt(**changes):
    system = built("videogpt", **changes)
    if system.image_encoder is not None:
        randomised(system.image_encoder)
    system.denoiser.head.weight.data.mul_(30)                               # so that what is read decides which code is drawn
    return system


def both():
    return videogpt(classes=CLASSES, beginning=READER)


def small(system):
    return SMALL | ({} if system.draws else {"num_inference_steps": 2, "num_frames": 3})


def made(system, conditions, **settings):
    (video,) = generate(system, conditions, **{"seed": 3, **small(system), **settings})
    return video.frames


def picture(shade):
    return np.full((16, 16, 3), shade, np.uint8)


@pytest.mark.parametrize("system", [latte, both], ids=["latte", "videogpt"])
def test_another_class_is_another_clip_and_no_class_a_third(system):
    system = system()
    walk, jump = (made(system, [ClassLabel(name)]) for name in ("walk", "jump"))
    assert np.array_equal(walk, made(system, [ClassLabel("walk")]))
    assert not np.array_equal(walk, jump)
    assert not np.array_equal(walk, made(system, [ClassLabel()]))
    assert np.array_equal(made(system, [Text()]), made(system, [ClassLabel()]))          # a request for nothing has none


@pytest.mark.parametrize("system", [latte, both], ids=["latte", "videogpt"])
def test_guidance_of_zero_is_the_clip_of_no_class(system):
    system = system()
    ask = lambda name, scale: made(system, [ClassLabel(name)], guidance_scale=scale, sampler="codes" if system.draws else "ddim")
    assert np.array_equal(ask("walk", 0.0), ask("", 1.0))
    assert not np.array_equal(ask("walk", 4.0), ask("walk", 1.0))


@pytest.mark.parametrize("system", [latte, both], ids=["latte", "videogpt"])
def test_classes_are_saved_and_a_file_with_one_is_made_again(system, tmp_path):
    folder = save_pretrained(system(), tmp_path / "model")
    again = from_pretrained(folder)
    assert again.classes == tuple(CLASSES)
    ready = prepare(again, dtype="float32", source=str(folder))
    (video,) = generate(ready, [ClassLabel("jump")], **small(again))
    video.write(tmp_path / "clip.mp4")
    assert {"kind": "ClassLabel", "name": "jump"} in video.recipe["conditions"]
    assert replay(tmp_path / "clip.mp4").same_file


@pytest.mark.parametrize("system", [latte, both], ids=["latte", "videogpt"])
def test_what_is_no_class_and_what_is_not_read_are_refused_by_name(system):
    system = system()
    with pytest.raises(ValueError, match=r"class 'wavy' is none of the 3 that \w+ was taught. Did you mean 'wave'"):
        made(system, [ClassLabel("wavy")])
    with pytest.raises(ValueError, match=r"Text is no condition of this system. It takes ClassLabel"):
        made(system, "a red circle")
    with pytest.raises(ValueError, match="ClassLabel is no condition of this system"):
        made(built("latte"), [ClassLabel("walk")])


def test_the_command_line_asks_for_a_class_and_a_beginning(tmp_path, capsys):
    from PIL import Image

    folder = save_pretrained(built("videogpt", classes=CLASSES, beginning={**asdict(READER)}), tmp_path / "model")
    Image.fromarray(picture(9)).save(tmp_path / "first.png")
    asked = ["--class", "wave", "--first-frame", str(tmp_path / "first.png"), "--model", str(folder), "--output", str(tmp_path / "clip.mp4"), "--json"]
    with pytest.raises(SystemExit) as stop:
        main(["generate", *asked, "--num-frames", "4", "--height", "16", "--width", "16"])
    assert stop.value.code == 0, capsys.readouterr().err
    kinds = {one["kind"]: one for one in Video.read(tmp_path / "clip.mp4").recipe["conditions"]}
    assert kinds["ClassLabel"]["name"] == "wave"
    assert list(kinds["Frames"]["pictures"]) == ["0"]


@pytest.mark.parametrize("objective", ["conditioned", "codes"])
def test_captions_that_name_classes_teach_them(objective):
    """The loss is that of the class which the caption names, and a dropped one is none of them."""
    system = latte() if objective == "conditioned" else both()
    batch = replace(squares(2), captions=["walk", "jump"])
    loss = lambda data, **options: build_objective(objective, system, options).loss(data, [1, 2]).loss.detach()
    swapped = loss(replace(batch, captions=["walk", "wave"]), drop_text=0.0)
    plain = loss(batch, drop_text=0.0)
    assert plain[0] == pytest.approx(float(swapped[0]), rel=1e-5)
    assert plain[1] != pytest.approx(float(swapped[1]), rel=1e-5)
    torch.testing.assert_close(loss(batch, drop_text=1.0), loss(replace(batch, captions=["", ""]), drop_text=0.0))
    with pytest.raises(ValueError, match="class 'a square' is none of the 3"):
        loss(replace(batch, captions=["walk", "a square"]), drop_text=0.0)


def test_stills_behind_a_clip_would_be_told_its_class_and_are_refused():
    with pytest.raises(ValueError, match="Try form='separate'"):
        build_objective("conditioned", latte(), {"stills": 1})
    build_objective("conditioned", latte(), {"stills": 1, "form": "separate"})


def test_a_class_model_of_latte_is_drawn_as_in_its_paper():
    system = latte()
    assert (system.defaults["sampler"], system.defaults["num_inference_steps"]) == ("ddpm", 250)
    assert system.text_encoder is None


@pytest.mark.parametrize("changes", [{"classes": CLASSES, "beginning": READER}, {"beginning": READER}], ids=["class", "sentence"])
def test_the_first_frames_decide_the_clip_beside_class_or_sentence(changes):
    system = videogpt(**changes)
    told = ClassLabel("walk") if "classes" in changes else Text("a red circle falls")
    dark, light = (made(system, [told, FirstFrame(picture(shade))]) for shade in (0, 250))
    assert not np.array_equal(dark, light)
    assert not np.array_equal(dark, made(system, [told]))


def test_what_is_read_tells_how_many_frames_there_are_and_which_is_first():
    system, size = both(), Size(num_frames=4, fps=8.0, height=16, width=16)
    read = lambda *given: branches(system.conditions, system, [resolve(given, size, system.conditions)], empty_inputs(size, (8, 1, 4, 4), [0]))[1]["class"]
    assert read().picture_tokens.shape == (1, 1, 32)
    assert read(FirstFrame(picture(0))).picture_tokens.shape == (1, 16, 32)
    rise, fall = (read(Frames({0: picture(a), 1: picture(b)})).picture_tokens for a, b in ((0, 250), (250, 0)))
    assert rise.shape == (1, 32, 32)
    assert (rise - fall).abs().max() > 1e-3
    ready = system.denoiser.prepare(read(FirstFrame(picture(0))).with_(tokens=torch.zeros(1, 3, 32), token_mask=torch.tensor([[True, True, False]])))
    assert ready.token_mask.tolist() == [[True, True, False] + [True] * 16]
    assert ready.keys_values[0][0].shape[1] == 19


def test_a_clip_does_not_depend_on_what_is_given_to_its_neighbours():
    system = both()
    requests = [[ClassLabel("walk"), FirstFrame(picture(0))], [ClassLabel("jump")]]
    together = generate(system, requests, seed=[5, 6], batch_size=2, **SMALL)
    for request, seed, video in zip(requests, (5, 6), together, strict=True):
        assert np.array_equal(made(system, request, seed=seed), video.frames)


def test_given_frames_that_are_no_beginning_are_refused_by_name():
    system = both()
    with pytest.raises(ValueError, match=r"frames \[1\] are given: videogpt goes on from a beginning"):
        made(system, [Frames({1: picture(0)})])
    with pytest.raises(ValueError, match="3 frames are given, and videogpt reads the first 2 at most"):
        made(system, [Frames({i: picture(0) for i in range(3)})])
    with pytest.raises(ValueError, match=r"begin with 1 and 2 given frames. Try batch_size=1"):
        generate(system, [[FirstFrame(picture(0))], [Frames({0: picture(0), 1: picture(9)})]], batch_size=2, **SMALL)
    with pytest.raises(ValueError, match="reads no first frames"):
        build_objective("codes", built("videogpt"), {"given": 1})
    with pytest.raises(ValueError, match=r"beginning.dim=32: its rows are read with those of the text, 48 wide"):
        systems.build("videogpt", tiny=True, beginning=READER, denoiser={"text_dim": 48})


def test_given_frames_are_read_in_training_and_their_encoder_learns():
    system = both()
    objective = build_objective("codes", system, {"given": 1, "drop_text": 0.0})
    batch = replace(squares(2), captions=["walk", "jump"])
    seeds = [1, 2]
    first = objective.loss(batch, seeds).loss
    first.mean().backward()
    assert all(p.grad is not None for name, p in system.image_encoder.named_parameters() if name != "nothing")
    other = batch.video.clone()
    other[:, :, 0] = other[:, :, 0].roll(5, dims=-1)
    codes = system.autoencoder.codes
    system.autoencoder.codes = lambda video: codes(batch.video)             # the same codes: what differs is what the network is shown
    assert (objective.loss(replace(batch, video=other), seeds).loss - first).abs().min() > 1e-6
    later = batch.video.clone()
    later[:, :, 1:] = 0.0
    torch.testing.assert_close(objective.loss(replace(batch, video=later), seeds).loss, first)
    assert objective.samples(batch, ["wave"], 0).shape == (1, 3, 4, 16, 16)


def test_the_reader_of_beginnings_tells_time_and_place_apart():
    reader = videogpt(beginning=READER).image_encoder
    clip = torch.rand(1, 3, 2, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rows = reader.encode(clip)
    assert rows.shape == (1, 2 * 4 * 4, 32)
    reader.leave.weight.data.zero_()                                        # nothing is seen: what is left says where
    assert len(reader.encode(clip)[0].detach().round(decimals=4).unique(dim=0)) == 2 * 4 * 4
    with pytest.raises(ValueError, match="Try 16x16"):
        reader.encode(clip[..., :16, :14].new_zeros(1, 3, 1, 18, 16))
    with pytest.raises(ValueError, match="learned places reach"):
        reader.encode(clip.new_zeros(1, 3, 3, 16, 16))
