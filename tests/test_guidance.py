"""The guidance list: bit-exact ends, branches that are not run, and the published formulas as lists."""

from __future__ import annotations

import math

import pytest
import torch

from analytic import well_apart
from flipbook.guidance import guide
from flipbook.process import EDM, VP, Process, RectifiedFlow, initial_noise, noise_levels
from flipbook.samplers import sample_ddim, sample_euler

SHAPE = (2, 4, 2, 2)
X = initial_noise(SHAPE, [0, 1, 2])
T = torch.full((3, 4), 0.5)


class Branches(dict):
    """Denoisers that answer with their own noise and count their calls."""

    def __init__(self, *names):
        self.answers = {name: initial_noise(SHAPE, [10 * k + b for b in range(3)]) for k, name in enumerate(names, 1)}
        self.calls = []
        super().__init__({name: self.branch(name) for name in names})

    def branch(self, name):
        def denoise(x, t):
            self.calls.append(name)
            return self.answers[name]

        return denoise


@pytest.mark.parametrize(("scale", "only"), [(1, "cond"), (1.0, "cond"), (0, "uncond")])
def test_scales_one_and_zero_run_one_branch_and_return_its_bits(scale, only):
    b = Branches("uncond", "cond")
    guided = guide(b, [("uncond", 1), ("cond", scale)])(X, T)
    assert b.calls == [only]
    assert torch.equal(guided, b.answers[only])


def test_a_scale_is_classifier_free_guidance():
    b = Branches("uncond", "cond")
    guided = guide(b, [("uncond", 1), ("cond", 7.5)])(X, T)
    u, c = b.answers["uncond"], b.answers["cond"]
    torch.testing.assert_close(guided, u + 7.5 * (c - u))
    assert b.calls == ["uncond", "cond"]


def test_lists_fold_left_to_right():
    """Dual guidance, arXiv 2310.12190: e = e_uu + s_img (e_ui - e_uu) + s_txt (e_ti - e_ui)."""
    b = Branches("none", "image", "both")
    guided = guide(b, [("none", 1), ("image", 2.0), ("both", 7.5)])(X, T)
    n, i, both = b.answers.values()
    torch.testing.assert_close(guided, n + 2.0 * (i - n) + 7.5 * (both - i))


@pytest.mark.parametrize(
    ("image", "both", "run"),
    [
        (1, 7.5, ["image", "both"]),
        (7.5, 7.5, ["none", "both"]),
        (1, 1, ["both"]),
        (1, 0, ["image"]),
        (0, 0, ["none"]),
        (0, 2, ["none", "image", "both"]),
        (2, 0, ["none", "image"]),
    ],
)
def test_a_branch_that_cancels_is_not_run(image, both, run):
    b = Branches("none", "image", "both")
    guided = guide(b, [("none", 1), ("image", image), ("both", both)])(X, T)
    n, i, t = b.answers.values()
    assert b.calls == run
    torch.testing.assert_close(guided, n + image * (i - n) + both * (t - i), rtol=1e-5, atol=1e-5)


def test_a_weight_per_frame_guides_each_frame_and_keeps_bits_at_zero_and_one():
    b = Branches("uncond", "cond")
    guided = guide(b, [("uncond", 1), ("cond", torch.tensor([0.0, 1.0, 1.5, 3.0]))])(X, T)
    u, c = b.answers.values()
    assert torch.equal(guided[:, :, 0], u[:, :, 0])
    assert torch.equal(guided[:, :, 1], c[:, :, 1])
    for frame, w in ((2, 1.5), (3, 3.0)):
        torch.testing.assert_close(guided[:, :, frame], (u + w * (c - u))[:, :, frame])


def test_a_weight_may_be_a_function_of_t():
    """Oscillating guidance (arXiv 2210.02303) or a ramp; per sample, per frame or both."""
    u, c = Branches("uncond", "cond").answers.values()
    t = torch.linspace(0.1, 0.9, 12).reshape(3, 4)
    forms = {
        "number": (lambda t: 5.0, torch.tensor(5.0)),
        "matrix": (lambda t: 1 + 8 * t, (1 + 8 * t)[:, None, :, None, None]),
        "frames": (lambda t: 8 * t.mean(0), (8 * t.mean(0))[:, None, None]),
    }
    for weight, expected in forms.values():
        guided = guide(Branches("uncond", "cond"), [("uncond", 1), ("cond", weight)])(X, t)
        torch.testing.assert_close(guided, u + expected * (c - u))
    guided = guide(Branches("uncond", "cond"), [("uncond", 1), ("cond", lambda t: 8 * t)])(X, t[:, 0])
    torch.testing.assert_close(guided, u + (8 * t[:, 0]).reshape(3, 1, 1, 1, 1) * (c - u))


def test_outside_the_interval_only_the_last_branch_is_run():
    for level, run in ((0.2, ["cond"]), (0.3, ["cond"]), (0.5, ["uncond", "cond"]), (0.8, ["uncond", "cond"])):
        b = Branches("uncond", "cond")
        guide(b, [("uncond", 1), ("cond", 4.0)], interval=(0.3, 0.8))(X, torch.full((3,), level))
        assert b.calls == run


def test_the_interval_is_decided_frame_by_frame():
    b = Branches("uncond", "cond")
    t = torch.tensor([0.0, 0.2, 0.5, 0.9]).expand(3, 4)
    guided = guide(b, [("uncond", 1), ("cond", 4.0)], interval=(0.3, 0.8))(X, t)
    u, c = b.answers.values()
    assert torch.equal(guided[:, :, [0, 1, 3]], c[:, :, [0, 1, 3]])
    torch.testing.assert_close(guided[:, :, 2], (u + 4.0 * (c - u))[:, :, 2])


@pytest.mark.parametrize("predicts", ["eps", "v", "flow", "edm"])
@pytest.mark.parametrize("path", [VP(), EDM(), RectifiedFlow()], ids=str)
def test_guidance_on_x0_is_guidance_on_the_prediction(path, predicts):
    """x0 is affine in each prediction for fixed (x, t), and the coefficients of a list add up to 1."""
    process, mixture = Process(path, predicts), well_apart(path)
    nets = {"uncond": mixture.network(process), "cond": mixture.network(process, mode=1)}
    guided = guide({k: process.denoiser(net) for k, net in nets.items()}, [("uncond", 1), ("cond", 5.0)])
    u, c = (net(process.network_input(X, T), T) for net in nets.values())
    torch.testing.assert_close(guided(X, T), process.to_x0(u + 5.0 * (c - u), X, T), rtol=1e-4, atol=1e-4)


def test_rescale_is_the_one_of_diffusers_on_the_prediction():
    diffusion = pytest.importorskip("diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion")
    path = VP(zero_terminal=True)
    process, mixture = Process(path, "v"), well_apart(path)
    nets = {"uncond": mixture.network(process), "cond": mixture.network(process, mode=1)}
    for t in (T, torch.ones(3, 4)):
        u, c = nets["uncond"](X, t), nets["cond"](X, t)
        expected = diffusion.rescale_noise_cfg(u + 7.5 * (c - u), c, guidance_rescale=0.7)
        branches = {k: process.denoiser(net) for k, net in nets.items()}
        guided = guide(branches, [("uncond", 1), ("cond", 7.5)], rescale=0.7, process=process)(X, t)
        torch.testing.assert_close(guided, process.to_x0(expected, X, t), rtol=1e-4, atol=1e-4)


def test_rescale_brings_the_deviation_of_x0_back():
    b = Branches("uncond", "cond")
    guided = guide(b, [("uncond", 1), ("cond", 7.5)], rescale=1.0)(X, T)
    torch.testing.assert_close(guided.flatten(1).std(1), b.answers["cond"].flatten(1).std(1))


def test_more_guidance_means_more_of_the_wanted_mode():
    path = VP()
    mixture, matrix = well_apart(path, std=0.6), noise_levels(20, 4)
    x, shares = initial_noise(SHAPE, list(range(32))), []
    for scale in (0.0, 0.5, 1.0, 3.0):
        branches = {"uncond": mixture.denoise, "cond": mixture.conditional(0)}
        x0 = sample_ddim(guide(branches, [("uncond", 1), ("cond", scale)]), x, path, matrix)
        shares.append(mixture.posterior(x0, torch.zeros(32))[:, 0].mean().item())
    assert shares[0] < shares[1] <= shares[2] <= shares[3]
    assert shares[0] < 0.4
    assert shares[2] > 0.99


def test_a_guided_trajectory_of_scale_one_is_the_conditional_one_bit_for_bit():
    path = RectifiedFlow()
    mixture, matrix = well_apart(path), noise_levels(10, 4)
    branches = {"uncond": mixture.denoise, "cond": mixture.conditional(2)}
    guided = sample_euler(guide(branches, [("uncond", 1), ("cond", 1.0)]), X, path, matrix)
    assert torch.equal(guided, sample_euler(branches["cond"], X, path, matrix))


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ([], {}, "empty"),
        ([("uncond", 1), ("text", 2.0)], {}, "'text'"),
        ([("uncond", 2.0), ("cond", 2.0)], {}, "first entry"),
        ([("cond", 1)], {"interval": (0.8, 0.2)}, "interval"),
        ([("cond", 1)], {"rescale": 1.5}, "rescale"),
    ],
)
def test_a_list_that_cannot_be_is_refused_before_anything_runs(weights, options, message):
    b = Branches("uncond", "cond")
    with pytest.raises(ValueError, match=message):
        guide(b, weights, **options)


def test_a_single_entry_is_no_guidance():
    b = Branches("cond")
    assert torch.equal(guide(b, [("cond", 1.0)])(X, T), b.answers["cond"])
    assert math.isfinite(float(b.answers["cond"].sum()))
