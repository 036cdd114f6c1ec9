"""A clip as a function of place and time: moments by themselves, what each of the two vectors says, and the function place by place."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from flipbook.baselines.implicit import ImplicitVideo, ImplicitVideoConfig, Modulated, centres, vectors

SMALL = ImplicitVideoConfig(content=6, motion=5, dim=8, frequencies=4, base=4, widths=(10, 6), layers=(2, 1), rank=2)


def net(config=SMALL, seed=0):
    """Every weight random, so that all of them matter."""
    torch.manual_seed(seed)
    made = ImplicitVideo(config).eval().requires_grad_(False)
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return made


def drawn(config=SMALL, n=2, what=0):
    return vectors(range(n), f"content {what}", config.content), vectors(range(n), f"motion {what}", config.motion)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", [SMALL, ImplicitVideoConfig(content=64, motion=64, dim=64, frequencies=32, base=16, widths=(64,), layers=(2,), rank=3)])
def test_frames_at_equal_moments_are_equal_bit_for_bit_however_many_are_asked_for(config, dtype):
    ours, t = net(config).to(dtype), torch.linspace(0, 1, 13)
    content, motion = drawn(config)
    dense = ours(content, motion, t)
    for every in (2, 3, 4, 6):
        assert torch.equal(ours(content, motion, t[::every]), dense[:, :, ::every]), every
    for k in (0, 5, 12):
        assert torch.equal(ours(content, motion, t[k : k + 1])[:, :, 0], dense[:, :, k]), k
    assert not torch.equal(dense[:, :, 0], dense[:, :, -1])


def test_the_motion_vector_says_nothing_of_the_first_picture_and_something_of_later_ones():
    ours, t = net(), torch.tensor([0.0, 0.4, 1.0])
    content, motion = drawn()
    clip, other = ours(content, motion, t), ours(content, motion + 1.0, t)
    assert torch.equal(clip[:, :, 0], other[:, :, 0])
    assert (clip - other).abs().amax(dim=(0, 1, 3, 4))[1:].min() > 1e-3
    assert torch.equal(clip, ours(content, motion.clone(), t))              # the same vector, the same path
    assert (ours(content.flip(0), motion, t)[:, :, 0] - clip[:, :, 0]).abs().max() > 1e-2


def test_any_real_number_is_a_moment_and_near_moments_look_alike():
    ours = net()
    content, motion = drawn()
    for t in (-0.5, 0.3, 2.7):
        away = [(ours(content, motion, torch.tensor([t + h])) - ours(content, motion, torch.tensor([t]))).abs().max().item() for h in (0.02, 0.01)]
        assert 0 < away[1] < 0.7 * away[0] < 0.1


def test_each_clip_may_have_moments_of_its_own():
    ours, t = net(), torch.tensor([[0.0, 0.5], [0.3, 1.2]])
    content, motion = drawn()
    both = ours(content, motion, t)
    for k in range(2):
        torch.testing.assert_close(both[k : k + 1], ours(content[k : k + 1], motion[k : k + 1], t[k]), rtol=0, atol=1e-6)


def test_a_colour_depends_on_its_place_alone_so_a_finer_grid_holds_the_coarser_ones_places():
    ours = net(ImplicitVideoConfig(content=6, motion=5, dim=8, frequencies=4, base=4, widths=(10,), layers=(2,), rank=2))
    content, motion = drawn()
    assert torch.allclose(centres(12)[1::3], centres(4), atol=1e-7)
    t = torch.tensor([0.6])
    fine, coarse = ours(content, motion, t, 12, 12), ours(content, motion, t)
    torch.testing.assert_close(fine[..., 1::3, 1::3], coarse, rtol=0, atol=1e-5)
    wide = ours(content, motion, t, 4, 12)
    torch.testing.assert_close(wide[..., 1::3], coarse, rtol=0, atol=1e-5)


def test_the_weights_of_a_modulated_layer_are_of_length_one_and_differ_from_the_layers_own_by_a_few_factors():
    torch.manual_seed(0)
    layer, w = Modulated(8, 12, 9, rank=2), torch.randn(3, 8)
    weights = layer.weights(w)
    torch.testing.assert_close(weights.norm(dim=2), torch.ones(3, 9))
    assert not torch.allclose(weights[0], weights[1])
    ratio = weights[0] / layer.weight                                       # (1 + a b) by row, up to the row's length
    assert np.linalg.matrix_rank(ratio.detach().double().numpy(), tol=1e-5) == 3                # two factors and the 1


def by_place(ours, content, motion, t, row, column):
    """The function at one place and moment, (3,), in float64 with numpy: a second derivation, as complex waves and explicit sums."""
    state = {name: value.double().numpy() for name, value in ours.state_dict().items()}
    config, leaky = ours.config, lambda x: np.where(x > 0, x, 0.2 * x) * math.sqrt(2)

    def linear(name, x, rate=1.0):
        weight = state[f"{name}.weight"]
        return weight @ x * rate / math.sqrt(len(x)) + state[f"{name}.bias"] * rate

    w = content / math.sqrt((content**2).mean() + 1e-8)
    for k in range(config.mapping):
        w = leaky(linear(f"mapping.{k}", w, 0.01))
    side, colour, x = ours.config.side, 0.0, np.zeros(0)
    for level, (width, depth) in enumerate(zip(config.widths, config.layers, strict=True)):
        cells = side >> (len(config.widths) - 1 - level)
        here = [(place * cells // side + 0.5) / cells * 2 - 1 for place in (column, row)]       # x, y
        grid = f"grids.{level}"
        said = linear(f"{grid}.waves.space", w).reshape(3, config.frequencies)
        path = linear(f"{grid}.waves.path", np.concatenate([w, motion])) * t * config.time_bandwidth
        moved = linear(f"{grid}.waves.turn2", leaky(linear(f"{grid}.waves.turn1", np.where(path > 0, path, 0.01 * path))))
        wave = np.exp(1j * (config.space_bandwidth * (said[0] * here[0] + said[1] * here[1]) + said[2] + moved))
        x = np.concatenate([x, wave.imag, wave.real])
        for layer in range(depth):
            name = f"{grid}.layers.{layer}"
            weight = state[f"{name}.weight"]
            factors = linear(f"{name}.factors", w)
            a, b = factors[: config.rank * width].reshape(width, config.rank), factors[config.rank * width :].reshape(config.rank, len(x))
            rows = weight * (1 + a @ b / math.sqrt(config.rank))
            x = leaky(rows @ x / np.linalg.norm(rows, axis=1) + state[f"{name}.bias"])
        scale = linear(f"{grid}.colour.scale", w)
        colour = colour + state[f"{grid}.colour.weight"] @ (scale * x) / math.sqrt(len(x)) + state[f"{grid}.colour.bias"]
    return colour


def test_the_network_is_the_function_as_derived_a_second_time_place_by_place():
    ours = net()
    content, motion = drawn()
    t = torch.tensor([0.0, 0.7, 1.4])
    clip = ours(content, motion, t)
    for sample, frame, row, column in ((0, 0, 0, 0), (0, 1, 3, 6), (1, 2, 7, 1), (1, 1, 4, 4)):
        expected = by_place(ours, content[sample].double().numpy(), motion[sample].double().numpy(), float(t[frame]), row, column)
        np.testing.assert_allclose(clip[sample, :, frame, row, column].numpy(), expected, atol=2e-5)


def test_sizes_that_cannot_be_say_what_to_try():
    with pytest.raises(ValueError, match="multiples of 2"):
        net()(*drawn(), torch.zeros(1), 7, 8)
    with pytest.raises(ValueError, match="equally long"):
        ImplicitVideoConfig(widths=(8, 8), layers=(1,))
    with pytest.raises(ValueError, match=r"Try 2\.0"):
        ImplicitVideoConfig(seconds=0.0)
    assert (SMALL.side, SMALL.cell, ImplicitVideoConfig().side) == (8, 2, 128)
