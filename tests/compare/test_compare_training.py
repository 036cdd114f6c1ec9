"""Comparisons that train: what all arms share, what interruption may not change, what the budget means."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from compare_toy import RECIPE, made, training_plan, weights_of

from flipbook.compare import run
from flipbook.compare.training import Stopped, build, share_weights, take_weights
from flipbook.objectives.conditioned import Conditioned
from flipbook.training.recipe import parse_recipe

LR = {"slow": {}, "slow again": {}, "fast": {"optimizer.lr": 0.03}}


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    output = tmp_path_factory.mktemp("twins")
    return output, run.compare(training_plan(LR), output)


def test_two_arms_with_the_same_settings_give_the_same_results_bit_for_bit(twins):
    output, results = twins
    runs = made(results)
    for clip in runs["slow again"][0]["clips"]:
        clip["video"] = clip["video"].replace("slow-again", "slow")
    assert [clip | {"key": ""} for clip in runs["slow"][0]["clips"]] == [clip | {"key": ""} for clip in runs["slow again"][0]["clips"]]
    assert runs["slow"][0]["training"] == runs["slow again"][0]["training"]
    ours, theirs = (weights_of(output / "arms" / name / "repeat-0" / "training" / "model") for name in ("slow", "slow-again"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    against = results["summary"]["slow again"]
    assert all(against[name]["against"]["value"] == 0 for name in ("motion", "identity", "local flicker", "validation"))


def test_an_arm_with_another_rate_ends_elsewhere(twins):
    output, results = twins
    assert results["runs"]["fast"][0]["training"]["validation"] != results["runs"]["slow"][0]["training"]["validation"]
    ours, theirs = (weights_of(output / "arms" / name / "repeat-0" / "training" / "model") for name in ("slow", "fast"))
    assert not all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_is_learnt_from_is_the_same_in_all_arms_and_another_one_in_each_repeat(tmp_path, monkeypatch):
    seen: dict[str, list] = {}
    loss = Conditioned.loss

    def watched(self, batch, seeds, *, t=None):
        if t is None:
            seen[current[-1]].append((batch.captions, batch.video.sum().item(), tuple(seeds)))
        return loss(self, batch, seeds, t=t)

    current: list[str] = []
    monkeypatch.setattr(Conditioned, "loss", watched)
    plan = training_plan({"a": {}, "b": {"optimizer.lr": 0.03}}, repeats=2, steps=2)
    run.compare(plan, tmp_path, say=lambda line: (current.append(line), seen.setdefault(line, [])))
    a0, b0, b1, a1 = (seen[line] for line in current)                      # the second repeat begins with the second arm
    assert [line.partition(": ")[2] for line in current] == ["a, repeat 1 of 2", "b, repeat 1 of 2", "b, repeat 2 of 2", "a, repeat 2 of 2"]
    assert a0 == b0
    assert a1 == b1
    assert a0 != a1


@pytest.mark.slow
def test_a_comparison_that_crashed_twice_and_was_started_again_is_the_undisturbed_one(tmp_path, monkeypatch):
    plan = training_plan(LR, recipe={**RECIPE, "checkpoint": {"every": 1}})
    whole = run.compare(plan, tmp_path / "whole")
    loss, evaluate, count = Conditioned.loss, run.evaluate, {"loss": 0, "evaluate": 0}

    def crashing_loss(self, batch, seeds, *, t=None):
        count["loss"] += t is None
        if count["loss"] == 5 and t is None:                               # in the second arm's second update
            raise MemoryError
        return loss(self, batch, seeds, t=t)

    def crashing_evaluate(*arguments, **named):
        count["evaluate"] += 1
        if count["evaluate"] == 2:                                         # behind the second arm's training
            raise MemoryError
        return evaluate(*arguments, **named)

    monkeypatch.setattr(Conditioned, "loss", crashing_loss)
    monkeypatch.setattr(run, "evaluate", crashing_evaluate)
    for _ in range(2):
        with pytest.raises(MemoryError):
            run.compare(plan, tmp_path / "cut")
    cut = run.compare(plan, tmp_path / "cut")
    assert made(cut) == made(whole)
    assert count["loss"] == 9 + 1                                          # three updates each, one of them begun twice
    assert count["evaluate"] == 3 + 1


def test_an_arm_whose_loss_is_no_number_is_told_of_and_the_others_go_on(tmp_path):
    plan = training_plan({"fine": {}, "wild": {"optimizer.lr": 1e30}})
    results = run.compare(plan, tmp_path)
    assert results["summary"]["fine"]["validation"]["value"] > 0
    assert results["summary"]["wild"]["validation"]["value"] is None
    assert "| wild | – |" in (tmp_path / "table.md").read_text()
    assert "wild, repeat 1, has no results: update 2 stopped" in (tmp_path / "table.md").read_text()
    assert run.compare(plan, tmp_path)["runs"] == results["runs"]


def test_a_training_that_is_told_to_stop_ends_the_comparison_with_a_word_on_how_to_go_on(tmp_path):
    plan = training_plan(LR, recipe={**RECIPE, "time_limit_minutes": 1e-9})
    with pytest.raises(Stopped, match="same command goes on"):
        run.compare(plan, tmp_path)
    assert not list(tmp_path.rglob("result.json"))


@pytest.mark.slow
def test_sampling_factors_share_one_training_per_repeat(tmp_path):
    plan = training_plan([1, 2], vary="num_inference_steps", repeats=2)
    results = run.compare(plan, tmp_path)
    assert sorted(path.parent.name for path in tmp_path.rglob("training.json")) == ["training", "training"]
    one, two = (results["runs"][name] for name in ("1", "2"))
    assert [r["training"] for r in one] == [r["training"] for r in two]
    assert one[0]["training"] != one[1]["training"]


def test_budgets_are_updates_or_minutes_of_every_arm(tmp_path):
    plan = training_plan(LR, steps=None, minutes=0.5)
    assert {(arm.recipe.schedule_minutes, arm.recipe.steps) for arm in plan.arms} == {(0.5, 10**9)}
    assert {arm.recipe.steps for arm in training_plan(LR, steps=7).arms} == {7}


@pytest.mark.slow
def test_what_goes_before_is_trained_once_and_every_arm_begins_with_its_weights(tmp_path):
    arms = {"none": [], "attention": RECIPE["system_config"]["denoiser"]["inserts"]}
    plan = training_plan(arms, vary="inserts", before={"steps": 2, "num_frames": 1, "inserts": []}, recipe={**RECIPE, "optimizer": {"lr": 1e-12}}, repeats=2)
    assert plan.before.num_frames == 1
    assert plan.before.steps == 2
    run.compare(plan, tmp_path)
    image = weights_of(tmp_path / "before" / "model")
    assert image
    for arm, repeat in (("none", 0), ("attention", 0), ("attention", 1)):  # at that rate nobody leaves the place where he began
        model = weights_of(tmp_path / "arms" / arm / f"repeat-{repeat}" / "training" / "model")
        assert image.keys() <= model.keys()
        assert all((model[name] - value).abs().max() < 1e-6 for name, value in image.items())
        assert any("inserts" in name for name in model) == (arm == "attention")


def test_before_needs_a_length_and_something_that_fits(tmp_path):
    with pytest.raises(ValueError, match="before has no length of its own"):
        training_plan(LR, before={"num_frames": 1})
    with pytest.raises(ValueError, match="no weight of what `before` trains"):
        take_weights({"denoiser": torch.nn.Linear(2, 2)}, {"denoiser": torch.nn.Linear(3, 3)})


def recipe(**changes):
    tree = yaml.safe_load(json.dumps(RECIPE)) | {"output": "."}
    tree["system_config"]["denoiser"] |= changes
    return parse_recipe(tree)


def test_arms_of_different_layers_begin_with_the_same_image_network():
    with_attention = build(recipe()).trainable()
    without = build(recipe(inserts=[])).trainable()
    names = [name for name, value in without.named_parameters() if value.unique().numel() > 1]
    theirs = dict(with_attention.named_parameters())
    assert any(not torch.equal(dict(without.named_parameters())[name], theirs[name]) for name in names)   # another order of drawing
    share_weights(without, with_attention)
    own = dict(without.named_parameters())
    assert all(torch.equal(own[name], theirs[name]) for name in names)


def test_weights_born_constant_or_at_another_scale_are_a_design_of_their_own_and_stay():
    torch.manual_seed(0)
    first, own = (torch.nn.ModuleDict({name: torch.nn.Linear(16, 16) for name in ("same", "zero", "small")}) for _ in range(2))
    with torch.no_grad():
        own["zero"].weight.zero_()
        own["zero"].bias.zero_()                                           # so few that their scale tells nothing
        own["small"].weight.mul_(0.1)
    small = own["small"].weight.clone()
    share_weights(own, first)
    assert torch.equal(own["same"].weight, first["same"].weight)
    assert not own["zero"].weight.any()
    assert not own["zero"].bias.any()
    assert torch.equal(own["small"].weight, small)
