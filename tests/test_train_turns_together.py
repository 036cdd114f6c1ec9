"""Several processes that train what learns in turns, or by what all of a batch shows: the same as one process does."""

from __future__ import annotations

import pytest
import torch

from flipbook import systems
from flipbook.checkpoint import list_checkpoints, load_checkpoint
from flipbook.interop.folder import save_pretrained
from flipbook.train import train
from flipbook.training.recipe import parse_recipe
from train_toy_runs import train_together

TOLERANCE = 1e-5  # after four updates of size 0.01: only the order of additions differs
QUICK = {
    "data": [{"world": "shapes", "sentences": ["a red circle moves right on a black background"]}], "num_workers": 0, "frame_stride": 2,
    "height": 16, "width": 16, "batch_size": 4, "steps": 4, "warmup": 0, "schedule": "constant", "dtype": "fp32", "optimizer": {"lr": 0.01, "eps": 1e-3},
    "validation": {"every": 0}, "samples": {"every": 0}, "log": {"tensorboard": False},
}  # fmt: skip


def learned(folder):
    """Weights and what the optimiser remembers, by name."""
    tensors = load_checkpoint(list_checkpoints(folder)[-1]).tensors
    return {f"{part}/{name}": tensor.float() for part in ("model", "optimizer") for name, tensor in tensors[part].items()}


def apart(one, two):
    ours, theirs = learned(one), learned(two)
    assert ours.keys() == theirs.keys()
    far = {name: (ours[name] - theirs[name]).abs().max().item() for name in ours}
    return max(far.values())


@pytest.fixture
def thumb(tmp_path):
    torch.manual_seed(0)
    system = systems.build("thumb", tiny=True)
    for p in system.denoiser.parameters():
        if p.ndim > 1 and not p.any():
            p.data.normal_(std=0.1)
    save_pretrained(system, tmp_path / "thumb")
    return tmp_path / "thumb"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_student_and_critic_rest_in_two_processes_where_they_rest_in_one(tmp_path, thumb, how):
    """Momentum and weight decay move nobody who waits for a turn, and all take the student's clips at one step."""
    recipe = lambda name: parse_recipe({
        **QUICK, "init": str(thumb), "output": str(tmp_path / name), "num_frames": 2, "parallel": how,
        "objective": {"name": "matching", "steps": 3, "critic_updates": 1},
    })  # fmt: skip
    train(recipe("one"))
    train_together(recipe("two"), 2)
    assert apart(tmp_path / "one", tmp_path / "two") < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_discriminator_and_autoencoder_rest_in_two_processes_where_they_rest_in_one(tmp_path, thumb, how):
    """Two updates for reconstruction alone, then one for each; a clip's adversarial scale is its own, whatever process it is in."""
    recipe = lambda name: parse_recipe({
        **QUICK, "init": str(thumb), "output": str(tmp_path / name), "num_frames": 2, "parallel": how,
        "objective": {"name": "autoencoding", "adversary": {"start": 2, "dim": 4, "levels": 2}},
    })  # fmt: skip
    train(recipe("one"))
    train_together(recipe("two"), 2)
    assert apart(tmp_path / "one", tmp_path / "two") < TOLERANCE
    assert any(name.startswith("optimizer/adversary") for name in learned(tmp_path / "one"))


VIDEOGPT = {
    "autoencoder": {"num_codes": 16, "latent_channels": 4, "dim": 8, "blocks": 1},
    "denoiser": {"num_codes": 16, "in_channels": 4, "dim": 12, "depth": 1, "text_dim": 16}, "text_encoder": {"dim": 16, "depth": 1},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["quantising", "autoencoding"])
def test_what_all_of_a_batch_shows_is_learned_by_two_processes_as_by_one(tmp_path, thumb, objective):
    """A codebook's first vectors, averages and restarts, and a latent normaliser, are those of the whole batch, not of a share."""
    begin = {"system": "videogpt", "system_config": VIDEOGPT} if objective == "quantising" else {"init": str(thumb)}
    how = {"name": objective} | ({"statistics": 0.5} if objective == "autoencoding" else {})
    recipe = lambda name: parse_recipe({**QUICK, **begin, "output": str(tmp_path / name), "objective": how, "num_frames": 4})
    train(recipe("one"))
    train_together(recipe("two"), 2)
    assert apart(tmp_path / "one", tmp_path / "two") < TOLERANCE
