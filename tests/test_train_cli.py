"""`flipbook train`, as it is typed."""

from __future__ import annotations

import pytest
import typer
import yaml
from typer.testing import CliRunner

from flipbook.cli.train import train
from flipbook.data import world
from flipbook.objectives.base import OBJECTIVES
from train_toy import Toy, draw

APP = typer.Typer()
APP.command()(train)
PLAN = """
objective: toy
data: [{world: shapes}]
num_frames: 1
height: 4
width: 4
num_workers: 0
batch_size: 2
steps: 4
dtype: fp32
validation: {every: 0}
samples: {every: 0}
log: {tensorboard: false}
"""


@pytest.fixture
def typed(tmp_path, monkeypatch):
    monkeypatch.setattr(world, "draw", draw)
    monkeypatch.setitem(OBJECTIVES, "toy", lambda system, options: Toy(options))
    path = tmp_path / "plan.yaml"
    path.write_text(f"{PLAN}output: {tmp_path / 'run'}\n")
    return lambda *words: CliRunner().invoke(APP, [str(path), *words])


def test_a_recipe_trains_and_resume_goes_on_with_an_override(typed, tmp_path):
    assert typed().exit_code == 0
    assert (tmp_path / "run" / "checkpoint-000004").is_dir()
    result = typed("steps=6", "--resume")
    assert result.exit_code == 0
    assert "steps: 4 -> 6" in result.stderr
    assert (tmp_path / "run" / "checkpoint-000006").is_dir()


def test_what_is_wrong_is_one_message_and_no_traceback(typed):
    wrong = typed("optimizer.lrr=1")
    assert (wrong.exit_code, "Did you mean optimizer.lr?" in wrong.stderr) == (2, True)
    used = typed("objective=toys")
    assert (used.exit_code, used.stderr) == (1, "error: objective 'toys' is not known. Did you mean 'toy'?\n")


def test_check_prints_the_whole_recipe_and_trains_nothing(typed, tmp_path):
    result = typed("--check", "seed=7")
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout)["seed"] == 7
    assert not (tmp_path / "run").exists()
