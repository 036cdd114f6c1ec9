"""Ways round slow CPU kernels give the numbers of the plain way."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from flipbook.nn.attention import kernels, softmax_attention
from flipbook.nn.clip import Clip, GroupNorm, ImageConv, TimeConv
from flipbook.sampling import inference_copy


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("keys", [1, 3, 15, 16, 31, 32, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_softmax_of_short_rows_is_softmax(keys, dtype):
    scores = (4 * draw(2, 3, 5, keys)).to(dtype)
    scores[0, 0, 0, : keys // 2] = float("-inf")
    got = kernels._softmax(scores)
    assert (got.dtype, got.shape) == (dtype, scores.shape)
    torch.testing.assert_close(got.float(), torch.softmax(scores.double(), -1).float(), atol=1e-6 if dtype == torch.float32 else 4e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tiles", [False, True])
@pytest.mark.parametrize("keys", [40, 300])
def test_attention_is_the_same_with_and_without_tiles_and_gradients(dtype, tiles, keys, monkeypatch):
    monkeypatch.setattr(kernels, "TILES", tiles)
    q, k, v = (draw(2, n, 2, 16, seed=n) for n in (700, keys, keys))        # enough rows for chunks of them
    mask = draw(1, 1, 700, keys) > -1
    expected = F.scaled_dot_product_attention(*(x.transpose(1, 2).double() for x in (q, k, v)), attn_mask=mask).transpose(1, 2).float()
    for learns in (False, True):
        got = softmax_attention(q.to(dtype).requires_grad_(learns), k.to(dtype), v.to(dtype), mask)
        torch.testing.assert_close(got.detach().float(), expected, atol=2e-6 if dtype == torch.float32 else 0.03, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("size", "plain"), [(1.0, False), (3.0, True), (30.0, True)])
def test_a_text_is_read_without_the_largest_of_each_row_only_where_no_logit_can_be_large(size, plain, dtype, monkeypatch):
    calls, as_they_are = [], kernels._rows_as_they_are
    monkeypatch.setattr(kernels, "_rows_as_they_are", lambda *args: calls.append(args) or as_they_are(*args))
    monkeypatch.setattr(kernels, "TOGETHER", 2 * 2 * 300 * 77)              # two of the three clips at once
    q, k, v = (draw(3, n, 2, 16, seed=n).to(dtype) for n in (300, 77, 77))
    q, k = size * q, size * k
    expected = F.scaled_dot_product_attention(*(x.transpose(1, 2).double() for x in (q, k, v))).transpose(1, 2)
    with torch.no_grad():
        got = softmax_attention(q, k, v)
    assert bool(calls) != plain
    assert got.isfinite().all()
    error = (got.double() - expected).abs()
    assert (error.max() if dtype == torch.float32 else error.mean()) < (1e-5 * size if dtype == torch.float32 else 0.02)


def test_logits_at_the_bound_neither_overflow_nor_vanish():
    """All keys alike but one: the row's weights are known, at either end of the bound."""
    unit = torch.zeros(1, 128, 1, 16)
    unit[..., 0] = (kernels.BOUND * 4.0) ** 0.5
    for sign in (1.0, -1.0):
        keys, values = sign * unit[:, :77].clone(), torch.ones(1, 77, 1, 16)
        keys[:, 0], values[:, 0] = 0.0, 3.0
        with torch.no_grad():
            got = kernels._rows_as_they_are(unit.transpose(1, 2) / 4.0, keys.permute(0, 2, 3, 1), values.transpose(1, 2))
        torch.testing.assert_close(got, torch.full_like(got, 1.0 if sign > 0 else 3.0))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (4, 4), (2, 8), (3, 5), (8, 8)])
def test_a_convolution_of_tiny_pictures_is_a_convolution(height, width, stride):
    layer, image = ImageConv(6, 10, stride), draw(3, 6, height, width)
    expected = F.conv2d(image, layer.weight, layer.bias, stride=stride, padding=1)
    assert layer(image).grad_fn is not None
    with torch.no_grad():
        torch.testing.assert_close(layer(image), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(layer(image.contiguous(memory_format=torch.channels_last)), expected, atol=1e-5, rtol=1e-5)


def test_tiny_pictures_alone_take_the_product_and_only_without_gradients(monkeypatch):
    layer, products, linear = ImageConv(6, 10), [], F.linear
    monkeypatch.setattr(F, "linear", lambda *args: products.append(args) or linear(*args))
    layer(draw(1, 6, 4, 4))
    with torch.no_grad():
        layer(draw(1, 6, 8, 8))
        assert not products
        layer(draw(1, 6, 4, 4))
    assert len(products) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_copy_for_inference_has_the_weights_and_kernels_that_lie_as_pictures_do(dtype):
    net = torch.nn.ModuleList([ImageConv(6, 10), TimeConv(6, 6), torch.nn.Linear(4, 4)])
    made = inference_copy(net, dtype)
    for p, kept in zip(made.parameters(), net.parameters(), strict=True):
        assert p.dtype == dtype
        assert not p.requires_grad
        assert torch.equal(p, kept.to(dtype))
    assert made[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert made[1].weight[..., None].is_contiguous(memory_format=torch.channels_last)
    x, clip = draw(1, 3, 2, 2, 6), Clip(1, 3, torch.zeros(1, 1, 4), torch.arange(3.0)[None])
    torch.testing.assert_close(made[1](x.to(dtype), clip).float(), net[1](x, clip), atol=1e-5 if dtype == torch.float32 else 0.05, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("height", "width", "summed"), [(8, 8, True), (16, 9, True), (4, 4, False)])
def test_a_group_norm_by_sums_is_a_group_norm(dtype, height, width, summed, monkeypatch):
    """Every image has its own mean and deviation, so that a norm over the wrong numbers shows."""
    layer = GroupNorm(4, 24)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    x = (draw(2, 3, height, width, 24) * torch.tensor([1.0, 5.0, 0.2])[:, None, None, None] + draw(2, 3, 1, 1, 24, seed=1)).to(dtype)
    expected = F.group_norm(x.flatten(0, 1).permute(0, 3, 1, 2).double(), 4, layer.weight.double(), layer.bias.double(), layer.eps)
    calls, moments = [], GroupNorm._moments
    monkeypatch.setattr(GroupNorm, "_moments", lambda self, x: calls.append(x) or moments(self, x))
    clip = Clip(2, 3, torch.zeros(2, 1, 4), torch.arange(3.0)[None])
    with torch.no_grad():
        got = layer.to(dtype)(x, clip)
    assert bool(calls) == summed
    assert (got.dtype, got.shape) == (dtype, x.shape)
    error = (got.flatten(0, 1).permute(0, 3, 1, 2).double() - expected).abs().max()
    assert error < (1e-5 if dtype == torch.float32 else 0.06)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (1, 4), (4, 4)])
def test_a_convolution_over_time_of_tiny_frames_is_a_convolution(height, width, kernel):
    layer, x = TimeConv(6, 10, kernel), draw(2, 5, height, width, 6)
    clip = Clip(2, 5, torch.zeros(2, 1, 4), torch.arange(5.0)[None])
    expected = F.conv3d(x.permute(0, 4, 1, 2, 3), layer.weight[..., None, None], layer.bias, padding=(kernel // 2, 0, 0)).permute(0, 2, 3, 4, 1)
    with torch.no_grad():
        torch.testing.assert_close(layer(x, clip), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer(x, clip), expected, atol=1e-5, rtol=1e-5)
