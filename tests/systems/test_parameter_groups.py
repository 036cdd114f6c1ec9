"""Stages of training: what a stage does not train keeps every bit."""

from __future__ import annotations

import importlib

import pytest
import torch

from flipbook import systems
from flipbook.denoisers.unet import UNet
from flipbook.nn.doors import Doors
from flipbook.systems.parameter_groups import GROUPS, groups_of, names, train_only


def is_unet(name: str) -> bool:
    """Only U-Nets are trained by groups of inserts; other networks are trained whole, or say themselves what of them looks along time."""
    module = importlib.import_module(systems.SYSTEMS[name])
    with torch.device("meta"):
        return hasattr(module, "CARD") and isinstance(module.build(module.TINY).denoiser, UNet)


NAMES = tuple(filter(is_unet, systems.SYSTEMS))


def one_step(net: torch.nn.Module) -> None:
    """One step of AdamW, weight decay and all, on whatever learns."""
    config = net.config
    doors = Doors(
        tokens=torch.randn(1, 3, config.text_dim) if config.text_dim else None,
        vector=torch.full((1, sum(part.width for part in config.vector)), 3.0) if config.vector else None,
    )  # fmt: skip
    optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.01, weight_decay=0.1)
    frames = next((row.kind.num_frames for row in config.inserts.rows if hasattr(row.kind, "num_frames")), 2)
    channels = torch.randn(1, config.channel_door, frames, 8, 8) if config.channel_door else None
    given = torch.tensor([[True] + [False] * (frames - 1)])
    net(torch.randn(1, config.in_channels, frames, 8, 8), torch.tensor([0.5]), doors.with_(channels=channels), frame_is_given=given).square().mean().backward()
    optimiser.step()


def random_net(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    net = systems.build(name, tiny=True).denoiser
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return net


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_moves_its_groups_and_leaves_every_other_bit(name):
    module = importlib.import_module(systems.SYSTEMS[name])
    for stage in module.STAGES:
        if "denoiser" not in stage.parts:
            continue
        net = random_net(name)
        learning = set(train_only(net, stage.trains))
        before = {key: value.detach().clone() for key, value in net.named_parameters()}
        one_step(net)
        for key, value in net.named_parameters():
            assert torch.equal(value, before[key]) != (key in learning), (stage.name, key)


def test_every_weight_is_in_a_group_and_inserts_alone_are_temporal():
    for name in NAMES:
        net = random_net(name)
        assert set(names(net, GROUPS)) == {key for key, _ in net.named_parameters()}
        temporal = names(net, ["temporal"])
        assert all(any(part.startswith("inserts") for part in key.split(".")) for key in temporal)
        assert bool(temporal) == (name != "stable-diffusion")


def test_the_first_convolution_belongs_to_the_condition_where_it_reads_one():
    assert groups_of("conv_in.weight", random_net("svd")) == {"spatial", "conditioning"}
    assert groups_of("conv_in.weight", random_net("animatediff")) == {"spatial"}
    assert groups_of("vector.0.enter.weight", random_net("svd")) == {"conditioning"}


def test_unknown_and_empty_groups_are_refused():
    with pytest.raises(ValueError, match="not known"):
        train_only(random_net("animatediff"), ["motion"])
    with pytest.raises(ValueError, match="hold no parameter"):
        train_only(random_net("stable-diffusion"), ["temporal"])


@pytest.mark.parametrize("name", NAMES)
def test_every_stage_is_a_recipe_that_its_objective_takes_and_that_moves_what_the_stage_says(name):
    from flipbook.objectives.base import build_objective
    from flipbook.systems.parameter_groups import groups_of

    module = importlib.import_module(systems.SYSTEMS[name])
    for stage in module.STAGES:
        system = module.build(module.TINY)
        options = stage.recipe()
        if options.get("form") == "ranks":
            continue                                                         # it needs more processes than one
        learns = build_objective(options.pop("name"), system, options).trainable()
        assert set(learns) - {"statistics", "adversary"} == set(stage.parts)  # latents' are measured, not taught; who judges is no part
        for part, net in learns.items():
            for key, p in net.named_parameters():
                if part == "denoiser":
                    assert p.requires_grad == bool(groups_of(key, net) & set(stage.trains)), (stage.name, key)
                elif part == "statistics":
                    raise AssertionError(key)
                elif part == "autoencoder" and stage.trains:
                    assert p.requires_grad == (key in dict(net.temporal_parameters())), (stage.name, key)
                else:
                    assert p.requires_grad, (stage.name, part)
