"""The training loop: what it promises about interruption, processes, bad numbers and what it tells."""

from __future__ import annotations

import errno
import json
import os
import signal

import pytest
import torch
from PIL import Image

from flipbook.checkpoint import CheckpointError, list_checkpoints
from flipbook.data import world
from flipbook.objectives.base import OBJECTIVES
from flipbook.train import NonFiniteLoss, train
from train_toy import Toy, draw, toy_recipe, weights
from train_toy_runs import run_toy


@pytest.fixture(autouse=True)
def _toys(monkeypatch):
    monkeypatch.setattr(world, "draw", draw)
    monkeypatch.setitem(OBJECTIVES, "toy", lambda system, options: Toy(options))


def toy(at=None, event=lambda: None):
    torch.manual_seed(0)
    objective = Toy()
    objective.at, objective.event = at, event
    return objective


def log(folder, key="loss"):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line[key]) for line in lines if key in line]


def assert_same_run(a, b):
    ours, theirs = weights(a), weights(b)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert log(a) == log(b)
    assert log(a, "validation") == log(b, "validation")


def crash():
    raise MemoryError


@pytest.mark.parametrize("log_every", [1, 7])  # lines that are lived again, and a line whose window spans the crash
@pytest.mark.parametrize("optimizer", [{"lr": 0.01}, {"name": "muon", "lr": 0.01}])
def test_a_run_that_crashed_and_was_resumed_is_the_uninterrupted_run_bit_for_bit(tmp_path, optimizer, log_every):
    plan = {"optimizer": optimizer, "log": {"every": log_every, "tensorboard": False}}
    train(toy_recipe(tmp_path / "whole", **plan), objective=toy())
    with pytest.raises(MemoryError):
        train(toy_recipe(tmp_path / "cut", **plan), objective=toy(13 * 4 + 1, crash))
    train(toy_recipe(tmp_path / "cut", **plan), resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow
def test_a_run_killed_by_signal_9_and_resumed_is_the_uninterrupted_run_bit_for_bit(tmp_path):
    train(toy_recipe(tmp_path / "whole"), objective=toy())
    killed = run_toy([tmp_path / "cut", 13 * 4 + 1]).wait()
    assert killed == -signal.SIGKILL
    assert [path.name for path in list_checkpoints(tmp_path / "cut")] == ["checkpoint-000010"]
    train(toy_recipe(tmp_path / "cut"), resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_update_saves_and_returns(tmp_path, number):
    train(toy_recipe(tmp_path / "whole"), objective=toy())
    before = signal.getsignal(number)
    result = train(toy_recipe(tmp_path / "cut"), objective=toy(13 * 4 + 1, lambda: os.kill(os.getpid(), number)))
    assert result.step == 14
    assert number.name in result.stopped
    assert list_checkpoints(tmp_path / "cut")[-1].name == "checkpoint-000014"
    assert signal.getsignal(number) is before
    train(toy_recipe(tmp_path / "cut"), resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_the_time_limit_stops_with_a_checkpoint(tmp_path):
    result = train(toy_recipe(tmp_path, time_limit_minutes=1e-9))
    assert result.step == 1
    assert "time limit" in result.stopped
    assert (tmp_path / "checkpoint-000001").is_dir()


def test_a_schedule_in_minutes_ends_the_run_by_the_clock_with_a_last_look(tmp_path):
    result = train(toy_recipe(tmp_path, schedule_minutes=1e-9, steps=1000))
    assert result.stopped is None
    assert result.step <= 1


def test_micro_batches_add_up_to_the_batch(tmp_path):
    for name, size in (("whole", 4), ("parts", 2)):
        train(toy_recipe(tmp_path / name, micro_batch=size))
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert max((whole[name] - parts[name]).abs().max().item() for name in whole) < 1e-6


def test_validation_does_not_change_what_is_learnt(tmp_path):
    train(toy_recipe(tmp_path / "often", validation={"every": 3, "clips": 7}))
    train(toy_recipe(tmp_path / "never", validation={"every": 0}))
    often, never = weights(tmp_path / "often"), weights(tmp_path / "never")
    assert all(torch.equal(often[name], never[name]) for name in often)


def test_validation_runs_in_eval_mode_and_training_in_training_mode(tmp_path):
    objective = toy()
    train(toy_recipe(tmp_path), objective=objective)
    assert objective.modes == {("train", True), ("validate", False)}


def test_validation_compares_with_the_untrained_network_level_by_level(tmp_path):
    train(toy_recipe(tmp_path, steps=300, validation={"every": 300, "clips": 20}, optimizer={"lr": 0.03}))
    (start, first), (end, last) = log(tmp_path, "validation")
    assert (start, end) == (0, 300)
    assert first["against_untrained"] == 1.0
    assert last["against_untrained"] == pytest.approx(last["loss"] / first["loss"])
    assert last["against_untrained"] < 0.95
    assert len(last["by_level"]) == 10
    assert sum(last["by_level"]) / 10 == pytest.approx(last["loss"])


def test_a_loss_that_is_not_finite_stops_before_the_update_and_names_the_sample(tmp_path):
    bad = 13 * 4 + 2
    with pytest.raises(NonFiniteLoss, match=rf"update 14 .*\n  sample {bad} of world/shapes, loss inf: 'shapes \d+'"):
        train(toy_recipe(tmp_path, objective={"name": "toy", "poison": bad}, checkpoint={"every": 13}))
    objective = toy()
    train(toy_recipe(tmp_path, steps=13, checkpoint={"every": 13}), resume=True, objective=objective)
    assert all(torch.isfinite(tensor).all() for tensor in objective.parts.state_dict().values())


def test_a_run_in_a_used_folder_is_refused_and_a_finished_one_resumes_to_nothing(tmp_path):
    train(toy_recipe(tmp_path))
    with pytest.raises(ValueError, match="--resume"):
        train(toy_recipe(tmp_path))
    before = (tmp_path / "log.jsonl").read_bytes()
    assert train(toy_recipe(tmp_path), resume=True).step == 20
    assert (tmp_path / "log.jsonl").read_bytes() == before


def test_the_saved_model_holds_the_averaged_weights(tmp_path):
    from safetensors.torch import load_file

    train(toy_recipe(tmp_path))
    model, learnt = load_file(tmp_path / "model" / "net.safetensors"), weights(tmp_path)
    assert all(torch.equal(tensor, learnt[f"ema/{name}"]) for name, tensor in model.items())
    assert not all(torch.equal(tensor, learnt[f"model/{name}"]) for name, tensor in model.items())


def test_a_model_folder_that_cannot_be_written_is_named_and_the_one_before_stays(tmp_path):
    class FullDisk(Toy):
        def save(self, folder):
            super().save(folder)
            if list_checkpoints(tmp_path)[-1].name == "checkpoint-000020":
                raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CheckpointError, match=r"the checkpoint is saved, but not the model folder .*No space left"):
        train(toy_recipe(tmp_path), objective=FullDisk())
    assert (tmp_path / "model" / "net.safetensors").is_file()
    assert not list(tmp_path.glob(".unfinished*"))


def test_the_sample_sheet_has_a_row_per_prompt_and_the_frames_side_by_side(tmp_path):
    train(toy_recipe(tmp_path, samples={"every": 20, "prompts": ["a", "b", "c"]}))
    with Image.open(tmp_path / "samples" / "step-000020.png") as sheet:
        assert sheet.size == (2 * 4, 3 * 4)


def test_tensorboard_gets_the_numbers_too(tmp_path):
    pytest.importorskip("tensorboard")
    train(toy_recipe(tmp_path, log={"every": 10}))
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_each_line_of_the_log_says_which_share_of_the_time_went_into_waiting_for_data(tmp_path, monkeypatch):
    """By a clock that stands still, but for 3 seconds at every clip that is drawn and 4 at every look of the network."""
    now = [0.0]

    def slowly(*args, **options):
        now[0] += 3.0
        return draw(*args, **options)

    monkeypatch.setattr(world, "draw", slowly)
    monkeypatch.setattr("flipbook.training.clock.time.monotonic", lambda: now[0])
    objective = toy()
    loss = objective.loss
    objective.loss = lambda *args, **options: now.__setitem__(0, now[0] + 4.0) or loss(*args, **options)
    train(toy_recipe(tmp_path, steps=6, log={"every": 2, "tensorboard": False}, validation={"every": 0}, checkpoint={"minutes": 0}), objective=objective)
    assert log(tmp_path, "data_share") == [(2, 0.75), (4, 0.75), (6, 0.75)]


def test_batches_that_do_not_divide_are_refused_with_one_that_does(tmp_path):
    with pytest.raises(ValueError, match="Try batch_size=3"):
        train(toy_recipe(tmp_path, micro_batch=3))

