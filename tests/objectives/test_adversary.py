"""The adversary of reconstructions: its losses and scale in closed form, turns, its start, and runs that go on bit for bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from clips import batch
from flipbook import systems
from flipbook.interop.folder import save_pretrained
from flipbook.objectives.adversary import Adversary, AdversaryOptions
from flipbook.objectives.base import build_objective
from flipbook.systems import lvdm, videoldm
from flipbook.train import train
from flipbook.training.optim import Optimizer
from flipbook.training.recipe import OptimizerRecipe, parse_recipe
from train_toy_runs import kept

SEEDS = [1, 2]
SMALL = {"dim": 4, "levels": 2}


def clip_autoencoder():
    system = lvdm.build(replace(lvdm.TINY, clips=True))
    return "autoencoding", system, {"kl": 0.0}


def frame_autoencoder():
    return "autoencoding", systems.build("thumb", tiny=True), {}


def temporal_decoder():
    return "decoding", videoldm.build(videoldm.TINY), {}


KINDS = [clip_autoencoder, frame_autoencoder, temporal_decoder]


def objective(kind, **adversary):
    """Over clips of 4 frames, with an adversary if it is told of any option."""
    torch.manual_seed(0)
    name, system, options = kind()
    return build_objective(name, system, options | ({"adversary": {**SMALL, **adversary}} if adversary else {}))


def two_clips():
    return batch(2, frames=4)


def gradients(o, step):
    """Names of what has a gradient after update `step`, with them."""
    o.begin(step)
    o.trainable().zero_grad(set_to_none=True)
    o.loss(two_clips(), SEEDS).loss.sum().backward()
    return {name: p.grad.clone() for name, p in o.trainable().named_parameters() if p.grad is not None}


def watched(net, name):
    """A list that takes up whatever the method of this name returns."""
    seen, real = [], getattr(net, name)

    def method(*a):
        seen.append(real(*a))
        return seen[-1]

    setattr(net, name, method)
    return seen


class Linear(nn.Module):
    """D(x) = <a, x> for each half of a clip's columns, (N, 1, 1, 1, 2)."""

    def __init__(self, a):
        super().__init__()
        self.a = nn.Parameter(a)

    def check(self, height, width):
        pass

    def forward(self, x):
        halves = [(half * part).sum((1, 2, 3, 4)) for half, part in zip(x.chunk(2, 4), self.a.chunk(2, 3), strict=True)]
        return torch.stack(halves, -1)[:, None, None, None]


def linear(weight=1.0):
    a = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(3))
    adversary = Adversary(AdversaryOptions(weight=weight, dim=1, levels=1))
    adversary.discriminator = Linear(a)
    return adversary, a


# ---------------------------------------------------------------- losses


def test_the_discriminators_loss_is_the_hinge_and_tells_how_many_patches_it_knows():
    adversary, a = linear()
    unit = torch.cat([half / half.square().sum() for half in a.chunk(2, 3)], 3)        # D = 1 on either half of it
    true, made = torch.stack([2 * unit, 0.25 * unit]), torch.stack([-0.5 * unit, 0.5 * unit])
    losses = adversary.loss(true, made)
    torch.testing.assert_close(losses.loss, torch.tensor([0.0 + 0.5, 0.75 + 1.5]))
    torch.testing.assert_close(losses.parts["told"], torch.tensor([1.0, 0.5]))


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_the_pull_is_towards_what_is_taken_for_true_and_as_long_as_reconstructions_gradient_times_the_weight(weight):
    """Each clip by itself, whatever the discriminator's own scale; and the loss keeps its value."""
    g = torch.Generator().manual_seed(4)
    true, decoded = torch.randn(3, 3, 2, 4, 4, generator=g), torch.randn(3, 3, 2, 4, 4, generator=g).requires_grad_(True)
    price = torch.tensor([1.0, 10.0, 0.0])[:, None, None, None, None]
    reconstruction = (price * (decoded - true).square()).mean((1, 2, 3, 4))
    adversary, a = linear(weight)
    pull = adversary.pull(decoded, reconstruction)
    assert torch.equal(pull, torch.zeros(3))
    (wanted,) = torch.autograd.grad(reconstruction.sum(), decoded)
    (found,) = torch.autograd.grad(pull.sum(), decoded)
    expected = -weight * wanted.flatten(1).norm(dim=1)[:, None, None, None, None] * a / a.norm()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)
    assert not found[2].any()                                                # nothing left to reconstruct, nothing to exaggerate


def test_frames_one_behind_another_are_judged_as_the_clips_they_make():
    g = torch.Generator().manual_seed(5)
    clips = torch.randn(2, 3, 2, 4, 4, generator=g)
    adversary, _ = linear()
    whole = clips.clone().requires_grad_(True)
    (as_clips,) = torch.autograd.grad(adversary.pull(whole, whole.square().mean((1, 2, 3, 4))).sum(), whole)
    folded = clips.transpose(1, 2).flatten(0, 1).clone().requires_grad_(True)
    (as_frames,) = torch.autograd.grad(adversary.pull(folded, folded.square().view(2, -1).mean(1)).sum(), folded)
    torch.testing.assert_close(as_frames.view(2, 2, 3, 4, 4).transpose(1, 2), as_clips)
    torch.testing.assert_close(adversary.loss(clips, folded).loss, adversary.loss(clips, clips).loss)


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_decoded_clip_both_gradients_have_the_lengths_that_the_formula_says(kind):
    """What the decoder's turn adds to a plain update, at what is decoded, is `weight` times as long as the plain gradient there."""
    o, plain = objective(kind, weight=0.5), objective(kind)
    found = []
    for one in (o, plain):
        one.begin(1)
        seen = watched(one.system.autoencoder, "decode" if kind is temporal_decoder else "frames")
        loss = one.loss(two_clips(), SEEDS).loss
        found.append(torch.autograd.grad(loss.sum(), seen[0])[0].reshape(2, -1))
    both, alone = found
    torch.testing.assert_close((both - alone).norm(dim=1), 0.5 * alone.norm(dim=1), rtol=1e-4, atol=0)


# ---------------------------------------------------------------- turns


@pytest.mark.parametrize("kind", KINDS)
def test_before_the_start_reconstruction_learns_alone_and_then_discriminator_and_decoder_in_turns(kind):
    o, plain = objective(kind, start=2), objective(kind)
    learned = []
    for step in range(6):
        found = gradients(o, step)
        learned.append({name.split(".")[0] for name in found})
        if step < 2:
            expected = gradients(plain, step)
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in found)
    assert learned == [{"autoencoder"}, {"autoencoder"}, {"adversary"}, {"autoencoder"}, {"adversary"}, {"autoencoder"}]
    by_both, alone = gradients(o, 3), gradients(plain, 3)
    assert by_both.keys() == alone.keys()
    assert any(not torch.equal(by_both[name], alone[name]) for name in alone)


@pytest.mark.parametrize("kind", KINDS)
def test_who_waits_keeps_its_bits_under_momentum_and_weight_decay(kind):
    """The measured latents too, which follow the encoder in its own turns alone."""
    o = objective(kind, weight=0.5)
    optimizer = Optimizer(o.trainable(), OptimizerRecipe(lr=1e-2, weight_decay=0.1))
    for step in range(4):
        before = {name: tensor.clone() for name, tensor in o.trainable().state_dict().items()}
        o.begin(step)
        o.loss(two_clips(), SEEDS).loss.mean().backward()
        optimizer.step(1.0)
        moved = {name.split(".")[0] for name, tensor in o.trainable().state_dict().items() if not torch.equal(tensor, before[name])}
        assert moved - {"statistics"} == ({"autoencoder"} if step % 2 else {"adversary"})
        assert step % 2 or "statistics" not in moved


@pytest.mark.parametrize("kind", KINDS)
def test_validation_is_the_loss_of_reconstruction_at_every_turn(kind):
    o, plain = objective(kind, start=1), objective(kind)
    with torch.no_grad():
        expected = plain.loss(two_clips(), SEEDS, t=torch.zeros(2)).loss
        for step in range(3):
            o.begin(step)
            assert torch.equal(o.loss(two_clips(), SEEDS, t=torch.zeros(2)).loss, expected)


def test_the_decoders_turn_shows_the_loss_of_reconstruction_and_the_discriminators_how_much_it_knows():
    o, plain = objective(clip_autoencoder, weight=0.5), objective(clip_autoencoder)
    o.begin(0)
    first = o.loss(two_clips(), SEEDS)
    assert set(first.parts) == {"discriminator", "told"}
    o.begin(1)
    assert torch.equal(o.loss(two_clips(), SEEDS).loss, plain.loss(two_clips(), SEEDS).loss)


# ---------------------------------------------------------------- runs


def recipe(folder, steps):
    return parse_recipe({
        "init": str(folder.parent / "thumb"), "output": str(folder), "data": [{"world": "shapes"}], "num_workers": 0, "steps": steps, "num_frames": 2,
        "height": 16, "width": 16, "batch_size": 2, "schedule": "constant", "warmup": 0, "ema": 0.5, "validation": {"every": 0}, "samples": {"every": 0},
        "objective": {"name": "autoencoding", "adversary": {**SMALL, "start": 1}}, "log": {"every": 1, "tensorboard": False},
    })  # fmt: skip


@pytest.mark.parametrize("cut", [2, 3])
def test_a_run_that_was_cut_before_either_turn_goes_on_bit_for_bit_and_the_model_folder_lacks_the_discriminator(cut, tmp_path):
    save_pretrained(systems.build("thumb", tiny=True), tmp_path / "thumb")
    train(recipe(tmp_path / "whole", 4))
    train(recipe(tmp_path / "cut", cut))
    train(recipe(tmp_path / "cut", 4), resume=True)
    whole, again = kept(tmp_path / "whole"), kept(tmp_path / "cut")
    assert whole.keys() == again.keys()
    assert all(torch.equal(value, again[key]) for key, value in whole.items())
    for stem in ("model/adversary.discriminator", "ema/adversary.discriminator", "optimizer/adversary.discriminator"):
        assert any(key.startswith(stem) for key in whole), stem
    state = systems.load(tmp_path / "cut/model").autoencoder.state_dict()
    assert not any("adversary" in name or "discriminator" in name for name in state)
    assert not [path for path in (tmp_path / "cut/model").rglob("*") if "advers" in path.name or "discrim" in path.name]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"wieght": 0.5}, r"adversary has no option \['wieght'\].*weight, start, dim, levels"), (0.5, "adversary=0.5.*mapping"),
        ({"weight": 0.0}, "or no adversary"), ({"start": -1}, "try weight=0.5, start=0"), ({"levels": 0}, "Try dim=64, levels=3"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [frame_autoencoder, temporal_decoder])
def test_an_adversary_that_cannot_be_is_refused_by_name(kind, asked, message):
    name, system, options = kind()
    with pytest.raises(ValueError, match=message):
        build_objective(name, system, {**options, "adversary": asked})


def test_clips_that_are_too_small_to_judge_are_refused_in_the_first_update_not_at_the_start():
    o = objective(frame_autoencoder, start=1000, levels=5)
    o.begin(0)
    with pytest.raises(ValueError, match=r"16 x 16 pixels.*Try levels=4"):
        o.loss(two_clips(), SEEDS)
