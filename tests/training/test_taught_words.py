"""What a fine-tuned model says of the words that its clips have taught it."""

from __future__ import annotations

import json
import os

import pytest
import torch

from flipbook.data import world
from flipbook.interop.folder import from_pretrained
from flipbook.objectives.denoising import Denoising, DenoisingOptions
from flipbook.parallel import Group
from flipbook.train import train
from flipbook.training.words import taught_words
from tiny import tiny_system
from train_toy import draw, toy_recipe


class Sudden(Exception):
    pass


class Interrupted(Denoising):
    """Fails when it is asked for the loss of sample `at`."""

    at: int | None = None

    def loss(self, batch, seeds, *, t=None):
        if self.at in batch.index and t is None:
            raise Sudden
        return super().loss(batch, seeds, t=t)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Train the tiny system for a few updates on pictures whose captions are "shapes" and a number."""
    monkeypatch.setattr(world, "draw", draw)

    def run(name, at=None, **how):
        objective = Interrupted(tiny_system(), DenoisingOptions(drop_text=0.0))
        objective.at = at
        plan = {"steps": 4, "batch_size": 2, "height": 16, "width": 16, "checkpoint": {"every": 2}, "validation": {"every": 0}}
        train(toy_recipe(tmp_path / name, **plan), objective=objective, **how)
        return json.loads((tmp_path / name / "model" / "text_encoder" / "config.json").read_text())["taught"], tmp_path / name / "model"

    return run


def test_only_words_that_were_never_in_a_caption_are_unknown_after_training(run):
    taught, folder = run("whole")
    assert "shapes" in taught
    assert from_pretrained(folder).text_encoder.unknown_words("a red dragon shapes") == ["dragon"]


def test_a_resumed_run_knows_what_the_uninterrupted_one_knows(run):
    taught, _ = run("whole")
    with pytest.raises(Sudden):
        run("cut", at=5)                                                    # in the third update of two clips
    again, _ = run("cut", resume=True)
    assert again == taught
    assert len(taught) == 1 + 4 * 2                                         # each clip has its number


def test_the_words_of_all_processes_are_known_to_each():
    parts = torch.nn.ModuleDict({"text_encoder": tiny_system().text_encoder})
    fellows = type("Two", (Group,), {"union": lambda self, words: sorted({*words, "afar"})})(0, 2, torch.device("cpu"))
    assert taught_words(parts, fellows) == {"text_encoder": ["afar"]}
    assert parts["text_encoder"].unknown_words("afar away") == ["away"]


def _one_of_two(rank, folder):
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    found = Group(rank, 2, torch.device("cpu")).union([["b", "a"], ["c", "a"]][rank])
    dist.destroy_process_group()
    (folder / f"{rank}.json").write_text(json.dumps(found))


@pytest.mark.slow
def test_two_processes_join_their_words(tmp_path):
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.multiprocessing.spawn(_one_of_two, (tmp_path,), nprocs=2)
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)] == [["a", "b", "c"]] * 2
