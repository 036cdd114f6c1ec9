"""Systems whose networks predict a variance: their loss teaches it, and `ddpm` draws with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clips import batch
from flipbook import systems
from flipbook.objectives.base import build_objective
from flipbook.process.variance import vlb
from flipbook.sampling import settle
from flipbook.systems import show1
from public_folders import randomised

SEEDS = [11, 12, 13, 14]


def built(name):
    torch.manual_seed(0)
    system = show1.build(replace(show1.TINY, kind="keyframes")) if name == "show1" else systems.build(name, tiny=True)
    randomised(system.denoiser)
    system.denoiser.requires_grad_(True)
    return system


@pytest.mark.parametrize("name", ["latte", "show1"])
def test_the_loss_is_the_plain_one_and_a_thousandth_of_what_the_chain_costs(name):
    system = built(name)
    plain, both = (build_objective("conditioned", system, {"vlb": weight}) for weight in (0.0, 0.001))
    t = torch.tensor([0.05, 0.3, 0.6, 0.9])
    rows = both.rows(batch(), range(4), SEEDS, t, still=False)
    cost = vlb(system.process, rows.z0, rows.x, both.predict(rows), rows.t).mean(1)
    with torch.no_grad():
        added = both.loss(batch(), SEEDS, t=t).loss - plain.loss(batch(), SEEDS, t=t).loss
    torch.testing.assert_close(added, cost.detach(), atol=1e-4, rtol=1e-3)  # a thousandth, times its thousand steps


@pytest.mark.parametrize("name", ["latte", "show1"])
def test_the_weights_that_say_the_mean_get_the_gradient_that_they_got(name):
    """The head's rows of the first channels; what lies before them serves both."""
    grads = {}
    for weight in (0.0, 0.001):
        system = built(name)
        build_objective("conditioned", system, {"vlb": weight}).loss(batch(), SEEDS).loss.mean().backward()
        head = system.denoiser.head if name == "latte" else system.denoiser.conv_out
        grad = head.weight.grad.flatten(1)
        rows = grad.unflatten(0, (-1, system.denoiser.config.out_channels)) if name == "latte" else grad[None]
        grads[weight] = rows.split(system.denoiser.config.in_channels, dim=1)
    torch.testing.assert_close(grads[0.001][0], grads[0.0][0], atol=1e-6, rtol=1e-4)
    assert not grads[0.0][1].any()
    assert grads[0.001][1].any()


def test_images_behind_a_clip_pay_for_their_variance_too():
    system = built("latte")
    forms = ({"vlb": 0.001, "stills": 1, "form": form} for form in ("separate", "append"))
    apart, together = (build_objective("conditioned", system, options).loss(batch(), SEEDS).loss for options in forms)
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["latte", "show1"])
def test_ddpm_draws_with_what_was_learned_and_the_stages_teach_it(name):
    system = built(name)
    assert system.sampler_options["ddpm"] == {"variance": "learned"}
    assert settle(system, sampler="ddpm").sampler == "ddpm"
    module = show1 if name == "show1" else __import__("flipbook.systems.latte", fromlist=["STAGES"])
    assert [stage.options.get("vlb") for stage in module.STAGES] == ([0.001, 0.001] if name == "latte" else [0.001, 0.001, 0.001, None])


def test_the_plain_objective_leaves_the_variance_alone():
    system = built("latte")
    build_objective("denoising", system, {"given": 0.0}).loss(batch(), SEEDS).loss.mean().backward()
    rows = system.denoiser.head.weight.grad.unflatten(0, (-1, 8))
    assert rows[:, :4].any()
    assert not rows[:, 4:].any()


def test_a_network_without_a_variance_is_not_taught_one():
    with pytest.raises(ValueError, match=r"vlb=0.001 teaches a variance, and this UNet predicts none. Try vlb=0"):
        build_objective("conditioned", systems.build("modelscope", tiny=True), {"vlb": 0.001})
