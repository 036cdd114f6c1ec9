"""What moves the weights: Muon, parameter groups, the learning rate over a run, the average."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from flipbook.training.optim import Average, Muon, Optimizer, is_hidden_matrix, lr_factor, named_tensors, orthogonalise
from flipbook.training.recipe import OptimizerRecipe, Recipe


def recipe(**changes):
    return Recipe(output=Path("run"), data=[{"world": "shapes"}], **{"steps": 100, "warmup": 0, **changes})


@pytest.mark.parametrize("shape", [(16, 16), (8, 40), (40, 8)])
def test_orthogonalise_brings_all_singular_values_near_one_and_keeps_the_directions(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 100
    update = orthogonalise(matrix).float()
    values = torch.linalg.svdvals(update)
    assert update.shape == shape
    assert values.min() > 0.3
    assert values.max() < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.nn.functional.cosine_similarity(update.flatten(), (u @ v).flatten(), dim=0) > 0.95


@pytest.mark.parametrize("shape", [(32, 32), (64, 16, 3, 3)])
def test_a_muon_update_has_the_size_of_an_adamw_update(shape):
    """AdamW's first updates have a root mean square of about 0.2 to 1 times the rate; Muon is matched to 0.2."""
    weight = nn.Parameter(torch.zeros(shape))
    weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    Muon([weight], lr=0.1, weight_decay=0.0, momentum=0.95).step()
    assert weight.detach().square().mean().sqrt().item() == pytest.approx(0.1 * 0.2, rel=0.15)


@pytest.mark.parametrize(
    ("name", "shape", "hidden"),
    [
        ("denoiser.blocks.0.mlp.up.weight", (64, 16), True),
        ("denoiser.blocks.0.conv.weight", (8, 8, 3, 3), True),
        ("denoiser.blocks.0.norm.weight", (16,), False),
        ("denoiser.blocks.0.gate.weight", (1, 16), False),
        ("denoiser.patch_in.weight", (64, 16), False),
        ("denoiser.head.weight", (16, 64), False),
        ("text_encoder.token_embedding.weight", (99, 16), False),
        ("denoiser.readout.weight", (16, 16), False),
    ],
)
def test_muon_takes_hidden_matrices_only(name, shape, hidden):
    assert is_hidden_matrix(name, torch.zeros(shape), more_adamw_names=("readout",)) is hidden


def test_matrices_decay_and_the_rest_does_not():
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = Optimizer(model, OptimizerRecipe(lr=0.1, weight_decay=0.5))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step(1.0)
    for name, p in model.named_parameters():
        assert torch.allclose(p, before[name] * (0.95 if name == "0.weight" else 1.0))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_an_optimiser_restored_from_its_tensors_goes_on_bit_for_bit(name):
    def steps(model, optimizer, first, last):
        for i in range(first, last):
            g = torch.Generator().manual_seed(i)
            for p in model.parameters():
                p.grad = torch.randn(p.shape, generator=g)
            optimizer.step(0.5)

    def build():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 4))
        return model, Optimizer(model, OptimizerRecipe(name=name, lr=0.1))

    whole, cut = build(), build()
    steps(*whole, 0, 6)
    steps(*cut, 0, 3)
    resumed, optimizer = build()
    resumed.load_state_dict(cut[0].state_dict())
    optimizer.load({key: value.clone() for key, value in cut[1].tensors().items()})
    steps(resumed, optimizer, 3, 6)
    assert all(torch.equal(a, b) for a, b in zip(whole[0].parameters(), resumed.parameters(), strict=True))


def test_state_of_another_model_is_refused():
    optimizer = Optimizer(nn.Linear(2, 2), OptimizerRecipe())
    with pytest.raises(ValueError, match="knows parameter 'other', the model does not"):
        optimizer.load({"other::exp_avg": torch.zeros(2, 2)})


def test_a_model_with_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="nothing to train"):
        Optimizer(nn.Linear(2, 2).requires_grad_(False), OptimizerRecipe())


def test_the_rate_warms_up_and_then_follows_its_schedule():
    rate = lambda step, **changes: lr_factor(recipe(**changes), step, step / 100)
    assert [rate(step, warmup=4, schedule="constant") for step in (0, 1, 3, 50)] == [0.25, 0.5, 1.0, 1.0]
    assert [rate(step, schedule="linear") for step in (0, 50, 100)] == [1.0, 0.5, 0.0]
    assert [rate(step, schedule="cosine") for step in (0, 50, 100)] == pytest.approx([1.0, 0.5, 0.0])
    assert [rate(step, schedule="wsd", decay=0.2) for step in (0, 79, 90, 100)] == pytest.approx([1.0, 1.0, 0.5, 0.0])
    assert rate(100, schedule="wsd", decay=0) == 1.0


def test_the_average_follows_its_warmed_up_decay():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average, expected = Average(model, decay=0.5), 0.0
    for updates in range(1, 20):
        nn.init.constant_(model.weight, float(updates))
        average.update(updates)
        decay = min(0.5, (1 + updates) / (10 + updates))
        expected = decay * expected + (1 - decay) * updates
    assert average.tensors()["weight"].item() == pytest.approx(expected, rel=1e-6)


def test_averaged_weights_are_in_place_inside_the_block_and_gone_after_an_error():
    model = nn.Linear(2, 2)
    first = model.weight.detach().clone()
    average = Average(model, 0.9)
    with torch.no_grad():
        model.weight.add_(1)
    live = model.weight.detach().clone()

    def look():
        with average.in_place():
            assert torch.equal(model.weight, first)
            raise KeyError

    with pytest.raises(KeyError):
        look()
    assert torch.equal(model.weight, live)


def test_tied_weights_are_named_once():
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    model.register_buffer("scratch", torch.zeros(1), persistent=False)
    assert list(named_tensors(model)) == ["a.weight", "a.bias", "b.bias"]
