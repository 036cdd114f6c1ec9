"""A linear layer with its activation in one kernel: the same numbers, with and without gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from flipbook.nn import blocks, fused
from flipbook.nn.transformer import GatedMLP


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.04)])
@pytest.mark.parametrize("shape", [(5, 16), (2, 3, 7, 16), (1, 16)])
def test_one_kernel_gives_what_two_give(shape, dtype, tolerance):
    torch.manual_seed(0)
    layer, x = nn.Linear(16, 24), torch.randn(shape)
    exact = F.gelu(layer.double()(x.double()), approximate="tanh").float()
    with torch.no_grad():
        got = fused.linear_gelu(layer.to(dtype), x.to(dtype))
    assert got.dtype == dtype
    torch.testing.assert_close(got.float(), exact, atol=tolerance, rtol=0)


def test_gradients_take_the_plain_way(monkeypatch):
    monkeypatch.setattr(fused, "_OPS", None)                                 # no gradient passes through a kernel
    layer, x = nn.Linear(4, 4), torch.randn(2, 4)
    fused.linear_gelu(layer, x).sum().backward()
    assert layer.weight.grad.abs().sum() > 0


def test_two_layers_with_their_activation_are_three_plain_ones_by_the_same_names():
    torch.manual_seed(0)
    ours, x = fused.GELULayers(16, 24), torch.randn(2, 5, 16)
    plain = nn.Sequential(nn.Linear(16, 24), nn.GELU(approximate="tanh"), nn.Linear(24, 16))
    plain.load_state_dict(ours.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ours(x), plain(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours(x), plain(x), atol=1e-6, rtol=1e-5)


def test_a_layer_that_is_more_than_linear_is_called_as_it_is(monkeypatch):
    """Its own forward may add to the product, as an adapter's does."""

    class More(nn.Linear):
        def forward(self, x):
            return super().forward(x) + 1.0

    layer, x = More(4, 4), torch.randn(2, 4)
    with torch.no_grad():
        torch.testing.assert_close(fused.linear_gelu(layer, x), F.gelu(layer(x), approximate="tanh"))
        assert (fused.linear_gelu(layer, x) - F.gelu(F.linear(x, layer.weight, layer.bias), approximate="tanh")).abs().max() > 0.1


def test_without_the_kernel_nothing_changes(monkeypatch):
    layer, x = nn.Linear(4, 4), torch.randn(2, 4)
    with torch.no_grad():
        with_kernel = fused.linear_gelu(layer, x)
        monkeypatch.setattr(blocks, "HAS_KERNELS", False)
        torch.testing.assert_close(fused.linear_gelu(layer, x), with_kernel, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gelu", [fused.linear_gelu, fused.linear_geglu])
def test_a_linear_layer_and_its_gelu_in_one_pass_are_the_two(dtype, gelu, monkeypatch):
    torch.manual_seed(0)
    layer, x = nn.Linear(24, 64).to(dtype), torch.randn(2, 3, 5, 24).to(dtype)
    with torch.no_grad():
        once = gelu(layer, x)
        monkeypatch.setattr(blocks, "HAS_KERNELS", False)
        plain, exact = gelu(layer, x), gelu(layer.double(), x.double())
    assert (once.dtype, once.shape) == (dtype, plain.shape)
    torch.testing.assert_close(once.double(), exact, atol=1e-5 if dtype == torch.float32 else 0.02, rtol=0)
    assert (once.double() - exact).abs().max() <= 1.5 * (plain.double() - exact).abs().max() + 1e-6


def test_a_gated_mlp_learns_as_ever_and_an_adapted_layer_keeps_its_adapter():
    class Adapted(nn.Linear):
        def forward(self, x):
            return super().forward(x) + 1.0

    mlp, x = GatedMLP(8), torch.randn(2, 8)
    mlp(x).sum().backward()
    assert mlp.enter.weight.grad is not None
    adapted = GatedMLP(8)
    adapted.load_state_dict(mlp.state_dict())
    adapted.enter.__class__ = Adapted
    with torch.no_grad():
        value, gate = (mlp.enter(x) + 1.0).chunk(2, -1)
        torch.testing.assert_close(adapted(x), mlp.leave(value * F.gelu(gate)))


@pytest.mark.parametrize("gelu", [fused.linear_gelu, fused.linear_geglu])
def test_a_frozen_layer_answers_with_the_bits_of_one_that_learns(gelu):
    torch.manual_seed(0)
    layer, x = nn.Linear(24, 64), torch.randn(7, 24)
    learning = gelu(layer, x)
    assert torch.equal(gelu(layer.requires_grad_(False), x), learning)
