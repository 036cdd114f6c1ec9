"""Several processes that train one model: the same as one process does, whoever holds which weights."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from flipbook.checkpoint import list_checkpoints
from flipbook.data import world
from flipbook.objectives.base import OBJECTIVES
from flipbook.train import train
from flipbook.training.recipe import RecipeError
from train_toy import Toy, draw, toy_recipe, weights
from train_toy_runs import run_together

TOLERANCE = 1e-6  # after twenty updates of size 0.01: only the order of additions differs
MUON = {"name": "muon", "lr": 0.01, "adamw_names": ["net.0.", "net.3."]}  # the blocks' matrices by Muon


@pytest.fixture(autouse=True)
def _toys(monkeypatch):
    monkeypatch.setattr(world, "draw", draw)
    monkeypatch.setitem(OBJECTIVES, "toy", lambda system, options: Toy(options))


def train_alone(folder, resume=False, **changes):
    torch.manual_seed(0)
    train(toy_recipe(folder, **changes), objective=Toy(), resume=resume)


def log(folder, key="loss"):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line[key]) for line in lines if key in line]


def assert_alike(one, two, tolerance=TOLERANCE):
    ours, theirs = weights(one), weights(two)
    assert ours.keys() == theirs.keys()
    assert max((ours[name] - theirs[name]).abs().max().item() for name in ours) < tolerance
    saved, also = load_file(one / "model" / "net.safetensors"), load_file(two / "model" / "net.safetensors")
    assert max((saved[name] - also[name]).abs().max().item() for name in saved) < tolerance
    for key in ("loss", "grad_norm"):
        for (step, a), (other_step, b) in zip(log(one, key), log(two, key), strict=True):
            assert step == other_step
            assert a == pytest.approx(b, abs=tolerance)
    for (_, a), (_, b) in zip(log(one, "validation"), log(two, "validation"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_two_processes_train_what_one_process_trains(tmp_path, how):
    changes = {"clip_norm": 0.5, "samples": {"every": 10}, "validation": {"every": 10, "clips": 5}}
    train_alone(tmp_path / "one", **changes)
    run_together(tmp_path / "two", 2, parallel=how, **changes)
    assert max(norm for _, norm in log(tmp_path / "one", "grad_norm")) > 0.5  # so that clipping is seen
    assert_alike(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two" / "samples" / "step-000020.png").is_file()


@pytest.mark.slow
def test_muon_sees_whole_matrices_where_each_process_holds_a_slice(tmp_path):
    """A slice made orthogonal is no slice of the orthogonal matrix. Tolerance: Muon rounds to bfloat16."""
    train_alone(tmp_path / "one", optimizer=MUON)
    run_together(tmp_path / "two", 2, parallel="fsdp", optimizer=MUON)
    assert_alike(tmp_path / "one", tmp_path / "two", tolerance=2e-3)


@pytest.mark.slow
def test_each_process_keeps_half_of_the_blocks_and_of_what_the_optimiser_remembers(tmp_path):
    run_together(tmp_path, 2, parallel="fsdp")
    (folder,) = [path for path in list_checkpoints(tmp_path) if path.name == "checkpoint-000020"]
    held = []
    for path in sorted(folder.glob("shard-*.safetensors")):
        with safe_open(path, "pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 (no dict)
        held.append({name: math.prod(shape) for name, shape in shapes.items() if "net.1." in name})
    assert len(held) == 2
    first, second = (sum(share.values()) for share in held)
    assert first == pytest.approx(second, rel=0.2)  # 7 rows are 4 and 3
    assert any(name.endswith("::exp_avg") for name in held[0])
    assert any(name.startswith("ema/") for name in held[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"),
    [(("fsdp", 2), ("ddp", 1)), (("ddp", 1), ("fsdp", 2)), (("fsdp", 2), ("fsdp", 4)), (("fsdp", 4), ("ddp", 2))],
)
def test_a_run_goes_on_with_another_number_of_processes(tmp_path, before, after):
    changes = {"schedule": "constant", "optimizer": MUON | {"name": "adamw"}}
    train_alone(tmp_path / "one", **changes)
    for (how, processes), rest in ((before, {"steps": 10}), (after, {"resume": True})):
        if processes == 1:
            train_alone(tmp_path / "many", parallel=how, **changes, **rest)
        else:
            run_together(tmp_path / "many", processes, parallel=how, **changes, **rest)
    assert_alike(tmp_path / "one", tmp_path / "many")


def test_compiling_together_with_sharding_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="compile goes neither with"):
        toy_recipe(tmp_path, compile=True, parallel="fsdp")


def test_one_process_by_itself_shards_nothing(tmp_path):
    train_alone(tmp_path / "plain")
    train_alone(tmp_path / "alone", parallel="fsdp")
    plain, alone = weights(tmp_path / "plain"), weights(tmp_path / "alone")
    assert all(torch.equal(plain[name], alone[name]) for name in plain)
