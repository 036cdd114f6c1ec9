"""DIGAN as a system: one clip at any rate and length, another movement of the same content, and requests that ask for nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from flipbook import demonstrate, systems
from flipbook.cli import main
from flipbook.conditions import FirstFrame, MotionSeed, Text, resolve
from flipbook.conditions.given import Size
from flipbook.generate import generate
from flipbook.interop.folder import from_pretrained, save_pretrained
from flipbook.objectives.base import build_objective
from flipbook.replay import replay
from flipbook.sampling import prepare
from flipbook.train import train
from flipbook.training.recipe import load_recipe
from flipbook.video import Video

RECIPE = Path(__file__).parents[2] / "recipes/digan.yaml"
NOTHING = [Text()]


def system(seed=0):
    torch.manual_seed(seed)
    return systems.build("digan", tiny=True).eval()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_seed_keeps_its_clip_at_any_rate_and_length(dtype):
    """Between the frames of a clip and behind it, the same frames bit for bit, also where frames are computed in several parts."""
    ready = prepare(system(), dtype=dtype)
    [clip], [fine], [long] = (generate(ready, NOTHING, num_frames=n, fps=fps) for n, fps in ((9, 4.0), (33, 16.0), (20, 4.0)))
    assert np.array_equal(fine.frames[::4], clip.frames)
    assert np.array_equal(long.frames[:9], clip.frames)
    assert not np.array_equal(long.frames[19], long.frames[8])
    assert (clip.fps, clip.frames.shape) == (4.0, (9, 16, 16, 3))


def test_another_motion_seed_moves_the_same_content_otherwise():
    ready, shape = prepare(system(), dtype="float32"), {"num_frames": 6, "fps": 1.0, "seed": 3}
    [clip], [same], [other] = (generate(ready, asked, **shape) for asked in (NOTHING, [MotionSeed(3)], [MotionSeed(4)]))
    assert np.array_equal(clip.frames, same.frames)
    assert np.array_equal(clip.frames[0], other.frames[0])
    assert not np.array_equal(clip.frames[5], other.frames[5])


def test_a_clip_of_a_batch_is_the_clip_alone():
    ready = prepare(system(), dtype="float32")
    together = generate(ready, [NOTHING, [MotionSeed(7)]], batch_size=2, seed=[5, 6], num_frames=4)
    [alone] = generate(ready, [MotionSeed(7)], seed=6, num_frames=4)
    assert np.abs(together[1].frames.astype(int) - alone.frames.astype(int)).max() <= 1


def test_a_saved_system_makes_the_same_clip_and_a_file_is_made_again(tmp_path):
    ours = system()
    folder = save_pretrained(ours, tmp_path / "model")
    request, shape = [MotionSeed(9)], {"num_frames": 5, "fps": 6.0}
    [a], [b] = (generate(prepare(one, source=str(folder)), request, **shape) for one in (ours, from_pretrained(folder)))
    assert np.array_equal(a.frames, b.frames)
    b.write(tmp_path / "clip.mp4")
    assert replay(tmp_path / "clip.mp4").same_file


def test_sentences_and_pictures_are_refused_and_an_empty_sentence_asks_for_nothing():
    ready = prepare(system(), dtype="float32")
    for request in ("a red circle falls", [FirstFrame(np.zeros((16, 16, 3), np.uint8))]):
        with pytest.raises(ValueError, match="It takes MotionSeed"):
            generate(ready, request, num_frames=2)
    with pytest.raises(ValueError, match=r"sampler='euler'.*moments"):
        generate(ready, NOTHING, sampler="euler")
    with pytest.raises(ValueError, match="multiples of 2"):
        generate(ready, NOTHING, num_frames=2, height=15)
    size = Size(num_frames=2, fps=8.0, height=16, width=16)
    assert resolve((Text(),), size, ready.system.conditions) == ()
    with pytest.raises(ValueError, match="It takes MotionSeed"):
        resolve((Text("", "blur"),), size, ready.system.conditions)


def test_the_command_line_asks_for_nothing_and_for_another_movement(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_pretrained(system(), tmp_path / "model")
    for arguments in (["--output", "a.mp4"], ["--output", "b.mp4", "--motion-seed", "5"], ["--output", "c.mp4", "--fps", "16", "--num-frames", "9"]):
        with pytest.raises(SystemExit) as stop:
            main(["generate", "--model", "model", "--num-frames", "5", "--fps", "8", *arguments])
        assert stop.value.code == 0, capsys.readouterr().err
    a, b, c = (Video.read(tmp_path / f"{name}.mp4").frames.astype(int) for name in "abc")
    assert len(a) == 5
    assert len(c) == 9
    assert np.abs(a[-1] - c[-1]).mean() < 6                                  # one moment, in two files
    assert np.abs(a[-1] - b[-1]).max() > 0
    for arguments in (["a red circle"], ["--negative-prompt", "blur"]):
        with pytest.raises(SystemExit) as stop:
            main(["generate", "--model", "model", *arguments])
        assert stop.value.code == 1
        assert "It takes MotionSeed" in capsys.readouterr().err
    assert not Path("outputs").exists()


def test_the_published_network_is_made_for_128_pixels():
    with torch.device("meta"):
        built = systems.build("digan")
    assert (built.denoiser.config.side, built.defaults["height"]) == (128, 128)
    assert [len(grid.layers) for grid in built.denoiser.grids] == [7, 2, 3]


def test_the_recipe_trains_and_its_model_is_asked_by_the_default_size(tmp_path):
    plan = load_recipe(RECIPE, [
        f"output={tmp_path / 'run'}", "steps=2", "batch_size=2", "num_workers=0", "validation.clips=2", "validation.every=2", "samples.every=2",
        "log.tensorboard=false", "objective.dim=4", "objective.max_dim=8",
    ])  # fmt: skip
    assert train(plan).step == 2
    made = systems.load(tmp_path / "run/model")
    assert (made.denoiser.config.side, made.defaults["height"]) == (plan.height, plan.height)
    [clip] = generate(prepare(made), NOTHING, num_frames=2)
    assert clip.frames.shape == (2, plan.height, plan.width, 3)


@pytest.mark.slow
def test_a_demonstration_that_asks_for_nothing_trains_by_its_own_recipe_and_makes_clips(tmp_path, monkeypatch):
    monkeypatch.setattr(demonstrate, "MEASURED", 4)
    result = demonstrate.run_demo("digan", tmp_path / "digan", steps=2, told=lambda line: None)
    assert (result["lessons"][0]["updates"], result["measured"]["clips"]) == (2, 4)
    assert "colour" not in result["measured"]                               # nothing was asked for
    plan = load_recipe(tmp_path / "digan/1-digan-pairs/recipe.yaml")
    assert (plan.optimizer.name, plan.optimizer.betas, plan.clip_norm) == ("adamw", (0.0, 0.99), 0.0)
    assert (tmp_path / "digan/sheet.png").is_file()


def test_the_small_recipe_is_whole_and_its_comparison_differs_by_the_motion_discriminator_alone():
    with_it, without = (load_recipe(RECIPE.with_name("digan-small.yaml"), changes) for changes in ([], ["objective.discriminators=[image]"]))
    assert with_it.model_dump(exclude={"objective"}) == without.model_dump(exclude={"objective"})
    built = systems.build("digan", **with_it.system_config)
    assert built.denoiser.config.side == with_it.height
    kinds = [set(build_objective("adversarial", built, {k: v for k, v in one.objective.items() if k != "name"}).discriminators) for one in (with_it, without)]
    assert kinds == [{"image", "motion"}, {"image"}]


def test_show_says_what_it_is_and_is_not(capsys):
    with pytest.raises(SystemExit):
        main(["systems", "show", "digan", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert facts["parity"] is None
    assert "neither sentences nor pictures" in facts["about"]
    assert any("nothing was trained at their size" in line for line in facts["leaves_out"])
