"""Adversarial training: the losses in closed form, moments by their law, networks in turns, and runs that go on bit for bit."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from flipbook import systems
from flipbook.baselines.discriminator import MotionDiscriminator
from flipbook.data.batch import Batch, Sample, collate
from flipbook.data.seeds import derive_seed
from flipbook.interop.folder import save_pretrained
from flipbook.objectives.adversarial import slope, two_frames
from flipbook.objectives.augmenting import augmented
from flipbook.objectives.base import build_objective
from flipbook.train import train
from flipbook.training.recipe import parse_recipe
from train_toy_runs import kept

SEEDS = [11, 12, 13]
SMALL = {"dim": 4, "max_dim": 8}


def clips(n=3, frames=5, stride=2):
    chance = np.random.default_rng(0)
    return collate([
        Sample(video=chance.integers(0, 256, (frames, 16, 16, 3), dtype=np.uint8), caption="", fps=8.0 / stride, index=k, source="world",
               frame_index=np.arange(frames, dtype=np.float32) * stride + 3 * k)
        for k in range(n)
    ])  # fmt: skip


def objective(seed=0, **options):
    torch.manual_seed(seed)
    return build_objective("adversarial", systems.build("digan", tiny=True), {**SMALL, **options})


class Linear(nn.Module):
    """D(x) = <a, x>, on a whole pair, with a logit for each of `logits` shares of it."""

    def __init__(self, a):
        super().__init__()
        self.a = nn.Parameter(a)

    def forward(self, pair, gap):
        return (pair * self.a).sum((1, 2, 3, 4))[:, None]


# ---------------------------------------------------------------- losses


def test_r1_of_a_linear_discriminator_is_its_squared_norm_and_pulls_it_to_zero():
    o, a = objective(augment=False), torch.randn(3, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    o.discriminators = nn.ModuleDict({"motion": Linear(a)})
    true, gap = o._true(clips(), SEEDS)
    price = o._r1(true, gap, SEEDS)
    torch.testing.assert_close(price, a.square().sum().expand(3), rtol=1e-6, atol=0)
    price.mean().backward()
    torch.testing.assert_close(o.discriminators["motion"].a.grad, 2 * a)


def test_r1_is_counted_once_in_so_many_updates_of_the_discriminators_and_so_many_times_as_much():
    o, b = objective(r1=3.0, r1_every=4), clips()
    counted = []
    for step in range(18):
        o.begin(step)
        losses = o.loss(b, SEEDS)
        if "r1" in losses.parts:
            counted.append(step)
            torch.testing.assert_close(losses.loss.detach(), losses.parts["discriminators"] + 0.5 * 3.0 * 4 * losses.parts["r1"])
    assert counted == [0, 8, 16]


def test_the_price_of_the_image_discriminator_is_the_mean_over_both_frames():
    o = objective(augment=False, discriminators=["image"])
    true, gap = o._true(clips(), SEEDS)
    each = []
    for k in range(2):
        x = true[:, :, k].clone().requires_grad_(True)
        each.append(slope(o.discriminators["image"].net(x).sum(), x))
    torch.testing.assert_close(o._r1(true, gap, SEEDS), (each[0] + each[1]) / 2, rtol=1e-4, atol=1e-6)


def test_who_knows_nothing_pays_log_two_for_each_answer():
    o, b = objective(), clips()
    for net in o.discriminators.values():
        nn.init.zeros_(net.net.logit.weight)
    for step, answers in ((2, 4), (3, 2)):                                   # true and made by two discriminators; made alone
        o.begin(step)
        torch.testing.assert_close(o.loss(b, SEEDS).loss, torch.full((3,), answers * math.log(2)))


def test_a_generator_that_is_found_out_still_has_a_slope_to_follow():
    """Non-saturating: d loss / d logit = -sigmoid(-logit), -1 for a pair that is surely taken as made; the saturating loss would give 0."""
    o = objective(discriminators=["motion"], augment=False)
    logits = torch.tensor([[-30.0], [0.0], [30.0]], requires_grad=True)
    o._judged = lambda *given: {"motion": logits}
    o.begin(1)
    o.loss(clips(), SEEDS).loss.sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[-1.0], [-0.5], [0.0]]), rtol=0, atol=1e-6)


def test_a_discriminators_loss_falls_as_it_tells_true_from_made():
    o = objective(discriminators=["motion"], augment=False)
    o.begin(2)
    known = {"made": torch.tensor([[-3.0], [0.0], [3.0]]), "true": torch.tensor([[3.0], [0.0], [-3.0]])}
    o._judged = lambda pair, gap, seeds, which: {"motion": known[which]}
    losses = o.loss(clips(), SEEDS)
    right, wrong = (2 * math.log(1 + math.exp(s * 3.0)) for s in (-1, 1))
    torch.testing.assert_close(losses.loss, torch.tensor([right, 2 * math.log(2), wrong]))
    assert losses.parts["told/motion"].tolist() == [1.0, 0.0, 0.0]


# ---------------------------------------------------------------- moments


def test_two_frames_fall_by_the_law_of_the_two_beta_draws():
    """P(min <= x) = 1 - (1 - x^2)(1 - x)^2 and P(max <= x) = x^2 (2 x - x^2) for Beta(2, 1) and Beta(1, 2)."""
    drawn = torch.stack([two_frames(6, seed) for seed in range(4000)])
    assert (drawn[:, 0] < drawn[:, 1]).all()
    x = torch.arange(1, 6) / 5
    early = torch.stack([(drawn[:, 0] < k).double().mean() for k in range(1, 6)])
    late = torch.stack([(drawn[:, 1] <= k).double().mean() for k in range(1, 6)])
    torch.testing.assert_close(early, (1 - (1 - x**2) * (1 - x) ** 2).double(), rtol=0, atol=0.025)
    torch.testing.assert_close(late, (x**2 * (2 * x - x**2)).double(), rtol=0, atol=0.025)
    assert two_frames(2, 5).tolist() == [0, 1]
    with pytest.raises(ValueError, match="Try num_frames=8"):
        two_frames(1, 0)


def test_true_pairs_are_frames_of_the_clip_with_their_own_time_apart():
    o, b = objective(), clips()
    pair, gap = o._true(b, SEEDS)
    for k, seed in enumerate(SEEDS):
        i, j = two_frames(5, derive_seed(seed, "moments", "true")).tolist()
        assert torch.equal(pair[k], b.video[k][:, [i, j]])
        assert gap[k].item() == pytest.approx((j - i) * 2 / 8 / 2.0)        # frames at 4 per second, t = 1 after two seconds


def test_made_pairs_stand_where_true_ones_may_and_a_clip_begins_at_zero():
    o, wide = objective(), clips(n=200)
    seeds = list(range(200))
    (_, true), (_, made) = (o._moments(wide, seeds, which) for which in ("true", "made"))
    assert set(made.flatten().tolist()) == set(true.flatten().tolist()) == {k * 0.125 for k in range(5)}
    assert not torch.equal(true, made)


def test_a_clips_loss_does_not_depend_on_its_batch():
    o, b = objective(), clips()
    for step in (0, 1):
        o.begin(step)
        together = o.loss(b, SEEDS).loss.detach()
        one = Batch(video=b.video[1:2], captions=[""], frame_index=b.frame_index[1:2], fps=b.fps[1:2], index=[1], source=["world"])
        torch.testing.assert_close(together[1:2], o.loss(one, SEEDS[1:2]).loss.detach(), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- augmentation


def test_both_frames_are_augmented_alike_each_clip_otherwise_and_the_same_seed_the_same_way():
    still = torch.rand(3, 3, 1, 16, 16, generator=torch.Generator().manual_seed(0)).expand(-1, -1, 2, -1, -1)
    changed = augmented(still, SEEDS)
    assert torch.equal(changed[:, :, 0], changed[:, :, 1])
    assert torch.equal(changed, augmented(still, SEEDS))
    same = augmented(still[:1].expand(3, -1, -1, -1, -1), SEEDS)
    assert (same[0] - same[1]).abs().max() > 0.05
    assert not torch.equal(changed, still)


def test_augmentation_moves_a_clip_by_at_most_an_eighth_and_keeps_its_gray_values_ratios():
    x = torch.zeros(1, 3, 2, 16, 16)
    x[..., 8, 8] = 1.0
    places = set()
    for seed in range(60):
        row, column = divmod(int(augmented(x, [seed])[0, 0, 0].argmax()), 16)
        places.add((row - 8, column - 8))
    assert {dy for dy, _ in places} == {dx for _, dx in places} == set(range(-2, 3))
    gray = augmented(torch.full((1, 3, 2, 16, 16), 0.25), [3])[0, :, :, 4:12, 4:12]
    assert gray.std() < 1e-6                                                 # no colour comes from none


def test_gradient_flows_through_augmentation():
    x = torch.rand(1, 3, 2, 16, 16, requires_grad=True)
    augmented(x, [1]).square().sum().backward()
    assert (x.grad.abs() > 0).double().mean() > 0.7                          # all that was not moved out of the picture


# ---------------------------------------------------------------- turns


def test_the_networks_learn_in_turns_and_who_waits_asks_for_no_gradient():
    o, learned = objective(), []
    for step in range(4):
        o.begin(step)
        o.trainable().zero_grad(set_to_none=True)
        o.loss(clips(), SEEDS).loss.sum().backward()
        learned.append({name for name, part in o.trainable().items() if any(p.grad is not None for p in part.parameters())})
        wanting = {name for name, part in o.trainable().items() if all(p.requires_grad for p in part.parameters())}
        assert wanting == learned[-1]
    assert learned == [{"discriminators"}, {"denoiser"}] * 2


def recipe(folder, steps, **changes):
    return parse_recipe({
        "system": "digan", "system_config": {"denoiser": {
            "content": 6, "motion": 6, "dim": 8, "frequencies": 4, "base": 8, "widths": [8, 6], "layers": [1, 1], "rank": 2, "mapping": 1,
        }},
        "output": str(folder), "data": [{"world": "shapes"}], "num_workers": 0, "steps": steps, "num_frames": 4, "frame_stride": 2, "height": 16,
        "width": 16, "batch_size": 2, "schedule": "constant", "warmup": 0, "clip_norm": 0, "ema": 0.5,
        "objective": {"name": "adversarial", **SMALL, "r1_every": 2}, "validation": {"every": 0}, "samples": {"every": 0},
        "optimizer": {"lr": 2e-3, "betas": [0.0, 0.99], "weight_decay": 0.0}, "log": {"every": 1, "tensorboard": False}, **changes,
    })  # fmt: skip


@pytest.mark.parametrize("cut", [2, 3])
def test_a_run_that_was_cut_before_either_turn_goes_on_bit_for_bit(cut, tmp_path):
    """Weights, their averages and the optimiser's state, of the generator and of both discriminators."""
    train(recipe(tmp_path / "whole", 5))
    train(recipe(tmp_path / "cut", cut))
    train(recipe(tmp_path / "cut", 5), resume=True)
    whole, again = kept(tmp_path / "whole"), kept(tmp_path / "cut")
    assert whole.keys() == again.keys()
    assert all(torch.equal(value, again[key]) for key, value in whole.items())
    for stem in ("model/denoiser", "model/discriminators.image", "ema/discriminators.motion", "optimizer/denoiser"):
        assert any(key.startswith(stem) for key in whole), stem


def test_an_update_leaves_the_weights_of_who_waits_as_they_were(tmp_path):
    """With momentum in the optimiser too, which would go on moving a network whose gradients are zero instead of none."""
    momentum = {"optimizer": {"lr": 2e-3, "betas": [0.9, 0.99], "weight_decay": 0.1}}
    states = []
    for steps in (1, 2, 3):
        train(recipe(tmp_path / "run", steps, **momentum), resume=steps > 1)
        states.append(kept(tmp_path / "run"))
    for before, after, moves in zip(states, states[1:], ("denoiser", "discriminators"), strict=False):
        for key, value in before.items():
            if key.startswith("model/"):
                may = key.startswith(f"model/{moves}")
                assert torch.equal(value, after[key]) or may, key
        assert any(key.startswith(f"model/{moves}") and not torch.equal(value, after[key]) for key, value in before.items())


def test_clipping_and_its_norm_are_of_whose_turn_it_is(tmp_path):
    train(recipe(tmp_path / "run", 4, clip_norm=1e-3))
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    norms = [row["grad_norm"] for row in rows if "grad_norm" in row]
    assert len(norms) == 4
    assert min(norms) > 1e-4


def test_a_term_of_one_turn_is_the_mean_over_the_updates_that_had_it(tmp_path):
    train(recipe(tmp_path / "each", 6))
    train(recipe(tmp_path / "together", 6, log={"every": 6, "tensorboard": False}))
    rows = [[json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()] for name in ("each", "together")]
    each, (line,) = ([row for row in one if "loss" in row] for one in rows)
    for name in ("loss/generator", "loss/discriminators", "loss/r1", "loss"):
        values = [row[name] for row in each if name in row]
        assert len(values) == {"loss/generator": 3, "loss/discriminators": 3, "loss/r1": 2, "loss": 6}[name]
        assert line[name] == pytest.approx(sum(values) / len(values), rel=1e-6), name


def test_validation_and_samples_use_the_average_and_the_saved_model_is_the_generator_alone(tmp_path):
    result = train(recipe(tmp_path / "run", 4, validation={"every": 4, "clips": 2, "repeats": 1}, samples={"every": 4}))
    assert result.validation.by_level == []
    assert 0 < result.validation.loss < 20
    assert list((tmp_path / "run/samples").glob("*.png"))
    saved, checkpoint = systems.load(tmp_path / "run/model"), kept(tmp_path / "run")
    state = saved.denoiser.state_dict()
    assert all(torch.equal(value, checkpoint[f"ema/denoiser.{name}"]) for name, value in state.items())
    assert any(not torch.equal(value, checkpoint[f"model/denoiser.{name}"]) for name, value in state.items())
    assert not any("discriminator" in str(path) for path in (tmp_path / "run/model").rglob("*"))


def test_r1_is_float32_under_autocast():
    o, b = objective(augment=False), clips()
    true, gap = o._true(b, SEEDS)
    with torch.autocast("cpu", torch.bfloat16):
        inside = o._r1(true, gap, SEEDS)
    torch.testing.assert_close(inside, o._r1(true, gap, SEEDS), rtol=0, atol=0)


# ---------------------------------------------------------------- the time between


def squares(speed, n, seed):
    """Pairs (n, 3, 2, 16, 16) of a square that has moved by speed * gap * 8 pixels, and the gaps, (n,)."""
    g = torch.Generator().manual_seed(seed)
    gap, place = 1 + torch.randint(4, (n,), generator=g), torch.randint(5, (n,), generator=g)
    pair = -torch.ones(n, 3, 2, 16, 16)
    for k in range(n):
        for frame, moved in enumerate((0, speed * int(gap[k]))):
            left = int(place[k]) + moved
            pair[k, :, frame, 6:10, left : left + 3] = 1.0
    return pair, gap / 8.0


@pytest.mark.slow
def test_told_two_speeds_apart_the_motion_discriminator_reads_the_time_between():
    """True squares move one pixel in an eighth, made ones two: displacements overlap, and only the time between tells them apart."""
    torch.manual_seed(0)
    net = MotionDiscriminator(3, 16, 8, 16)
    optimizer = torch.optim.Adam(net.parameters(), 2e-3, betas=(0.0, 0.99))
    loss_of = lambda pair, gap, sign: nn.functional.softplus(sign * net(pair, gap)).mean()
    for step in range(400):
        loss = loss_of(*squares(1, 16, 2 * step), -1) + loss_of(*squares(2, 16, 2 * step + 1), 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pair, gap = squares(1, 64, 10_001)
    told, shuffled = loss_of(pair, gap, -1).item(), loss_of(pair, gap.roll(1), -1).item()
    gap.requires_grad_(True)
    (gradient,) = torch.autograd.grad(net(pair, gap).sum(), gap)
    print(f"true pairs {told:.3f}, with the times of others {shuffled:.3f}, slope by the time between {gradient.abs().mean():.2f}")
    assert told < 0.35                                                       # log 2 is to know nothing
    assert shuffled > told + 0.3
    assert gradient.abs().mean() > 1.0


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "says"),
    [({"discriminators": ["sound"]}, "there are image, motion"), ({"discriminators": []}, "Try one of them"), ({"r1_every": 0}, "Try r1=1.0"),
     ({"critics": 2}, r"no option \['critics'\]")],
)  # fmt: skip
def test_options_that_cannot_work_say_what_to_try(options, says):
    with pytest.raises(ValueError, match=says):
        objective(**options)


def test_clips_of_another_side_and_generators_of_whole_clips_are_refused(tmp_path):
    o, b = objective(), clips()
    o.begin(0)
    with pytest.raises(ValueError, match="Try height=16"):
        o.loss(replace(b, video=torch.zeros(3, 3, 5, 32, 32)), SEEDS)
    with pytest.raises(ValueError, match="Try system: digan"):
        build_objective("adversarial", systems.build("tcn", tiny=True), {})
    save_pretrained(o.system, tmp_path / "model")
    assert type(systems.load(tmp_path / "model").denoiser).__name__ == "ImplicitVideo"
