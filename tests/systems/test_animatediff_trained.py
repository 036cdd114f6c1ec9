"""What AnimateDiff claims, after minutes of the world: what a module learned on one image model sets another in motion."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from flipbook.conditions import Text
from flipbook.data.batch import Batch
from flipbook.denoisers.unet import parameter_group
from flipbook.systems import animatediff
from flipbook.systems.image_weights import without_inserts
from systems.trained import eight_that, fresh, made, middle, report, taught, world

SENTENCES = eight_that("moves right")


def recoloured(n: int, first: int) -> Batch:
    """Stills in which red and blue have run into each other."""
    batch = world(frames=1, sentences=SENTENCES)(n, first)
    return replace(batch, video=0.6 * batch.video + 0.4 * batch.video.flip(1))


def hue(video: Tensor) -> float:
    """Red less blue of what is bright in (B, 3, T, H, W), from -2 to 2."""
    lit = (video.amax(1) > 0).float()
    return float(((video[:, 0] - video[:, 2]) * lit).sum() / lit.sum())


@pytest.mark.slow
def test_a_module_that_learned_on_one_image_model_moves_what_another_paints():
    """The other is a fine-tune in other colours, of which the module has seen nothing. Without the module each frame is a picture of its own."""
    asked = [(Text(sentence),) for sentence in SENTENCES * 2]
    clips, stills = world(stride=4, sentences=SENTENCES), world(frames=1, sentences=SENTENCES)
    first = fresh("animatediff", animatediff.TINY)
    taught(first, {"train": {"denoiser": "spatial", "text_encoder": "all"}}, stills, steps=600, batch=24)
    taught(first, {"train": {"denoiser": "temporal"}}, clips, steps=1500, batch=8)
    second = deepcopy(first)
    taught(second, {"train": {"denoiser": "spatial"}}, recoloured, steps=200, batch=24, lr=2e-4)
    theirs = dict(second.denoiser.named_parameters())
    assert all(torch.equal(p, theirs[name]) for name, p in first.denoiser.named_parameters() if parameter_group(name) == "temporal")

    true = middle(clips(64, 0).video).diff(dim=1)
    error = {
        name: float((middle(made(system, asked)).diff(dim=1) - true.mean((0, 1))).norm(dim=-1).mean())
        for name, system in (("first", first), ("second", second), ("second without", without_inserts(second)))
    }
    reds = [request for request in asked if "red" in request[0].prompt]
    hues = {name: hue(made(system, reds)) for name, system in (("first", first), ("second", second))}
    report(**{"world": float((true - true.mean((0, 1))).norm(dim=-1).mean())}, **error, **{f"red less blue, {name}": value for name, value in hues.items()})
    assert hues["second"] < 0.6 * hues["first"]
    assert error["second"] < 1.25 * error["first"]
    assert error["second without"] > 3 * error["second"]
