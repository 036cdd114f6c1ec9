"""Weights in the library's order give what plain ones give, follow their weights, and stay out of copies, files, gradients and compilers."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F

from flipbook.forecast import LiveBytes
from flipbook.nn import blocks
from flipbook.nn.blocks import BlockedLinear, give_blocks
from flipbook.nn.clip import Clip, ImageConv, TimeConv
from flipbook.nn.fused import linear_geglu, linear_gelu
from flipbook.sampling import inference_copy

pytestmark = pytest.mark.skipif(not blocks.HAS_KERNELS, reason="this torch has no oneDNN, or other names for its operators")
DTYPES = [torch.float32, torch.bfloat16]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def used(module):
    """The operations that the module keeps blocks for."""
    return sorted(module.blocked._made) if module.blocked else []


def close(got, expected, dtype):
    torch.testing.assert_close(got.double(), expected.double(), atol=1e-5 if dtype == torch.float32 else 0.03, rtol=1e-5 if dtype == torch.float32 else 0.02)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width", "way"), [(2, 2, "multiply"), (4, 4, "multiply"), (5, 4, "convolve"), (9, 16, "convolve")])
def test_a_convolution_of_pictures(height, width, way, stride, dtype):
    made = inference_copy(ImageConv(6, 10, stride), dtype)
    image = draw(3, 6, height, width).to(dtype)
    for picture in (image, image.contiguous(memory_format=torch.channels_last)):
        with torch.no_grad():
            close(made(picture), F.conv2d(picture.double(), made.weight.double(), made.bias.double(), stride=stride, padding=1), dtype)
    assert used(made) == [way]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("side", [1, 2, 5])
def test_a_convolution_over_time(side, kernel, dtype):
    made, x = inference_copy(TimeConv(6, 10, kernel), dtype), draw(2, 5, side, side, 6).to(dtype)
    clip = Clip(2, 5, torch.zeros(2, 1, 4), torch.arange(5.0)[None])
    weight = made.weight.double()[..., None, None]
    expected = F.conv3d(x.double().permute(0, 4, 1, 2, 3), weight, made.bias.double(), padding=(kernel // 2, 0, 0)).permute(0, 2, 3, 4, 1)
    with torch.no_grad():
        close(made(x, clip), expected, dtype)
        assert used(made) == ["convolve"]
        causal = Clip(2, 5, torch.zeros(2, 1, 4), torch.arange(5.0)[None], attends=torch.ones(1, 5, 5, dtype=torch.bool).tril())
        close(made(x, causal)[:, :1], F.pad(x[:, :1].double(), (0, 0)) @ made.weight.double()[..., kernel // 2].T + made.bias.double(), dtype)


def test_linear_layers_in_bf16_alone_and_what_follows_them():
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Sequential(torch.nn.Linear(16, 12, bias=False)))
    assert not any(isinstance(m, BlockedLinear) for m in inference_copy(net, torch.float32).modules())
    made, x = inference_copy(net, torch.bfloat16), draw(3, 5, 8).bfloat16()
    first, second = made[0], made[1][0]
    assert [name for name, _ in made.named_parameters()] == [name for name, _ in net.named_parameters()]
    plain = F.linear(x.double(), first.weight.double(), first.bias.double())
    with torch.no_grad():
        close(first(x), plain, torch.bfloat16)
        close(second(first(x)), first(x).double() @ second.weight.double().T, torch.bfloat16)
        close(linear_gelu(first, x), F.gelu(plain, approximate="tanh"), torch.bfloat16)
        close(linear_geglu(first, x), plain.chunk(2, -1)[0] * F.gelu(plain.chunk(2, -1)[1]), torch.bfloat16)
    assert used(first) == used(second) == ["multiply"]


def test_one_row_is_read_plainly():
    made = inference_copy(torch.nn.Sequential(torch.nn.Linear(8, 16)), torch.bfloat16)[0]
    with torch.no_grad():
        close(made(draw(1, 8).bfloat16()), F.linear(draw(1, 8).bfloat16(), made.weight, made.bias), torch.bfloat16)
    assert used(made) == []


@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_follow_their_weight(dtype):
    made, image = inference_copy(ImageConv(6, 10), dtype), draw(2, 6, 8, 8).to(dtype)
    with torch.no_grad():
        before = made(image)
        made.weight.mul_(2.0)                                               # in place
        close(made(image) - made.bias[:, None, None], 2 * (before - made.bias[:, None, None]).double(), dtype)
        version, other = made.weight._version, torch.nn.Parameter(torch.zeros_like(made.weight), requires_grad=False)
        while other._version < version:
            other.zero_()
        made.weight = other                                                 # another one of the same version
        close(made(image), made.bias[:, None, None].expand_as(before), dtype)


def test_gradients_run_through_the_plain_weight():
    made, image = inference_copy(ImageConv(6, 10), torch.float32), draw(2, 6, 8, 8).requires_grad_()
    made(image).sum().backward()
    assert used(made) == []
    assert image.grad.abs().sum() > 0


def test_copies_and_files_begin_without_blocks():
    made = inference_copy(torch.nn.ModuleList([ImageConv(6, 10)]), torch.bfloat16)
    image = draw(2, 6, 8, 8).bfloat16()
    with torch.no_grad():
        expected = made[0](image)
        for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
            assert used(other[0]) == []
            assert torch.equal(other[0](image), expected)
    assert list(made.state_dict()) == ["0.weight", "0.bias"]


def test_large_networks_hold_their_weights_once(monkeypatch):
    net = torch.nn.ModuleList([ImageConv(6, 10), torch.nn.Linear(4, 4)]).bfloat16()
    monkeypatch.setattr(blocks, "LIMIT", 2 * sum(p.numel() for p in net.parameters()) - 1)
    give_blocks(net)
    assert net[0].blocked is None
    assert type(net[1]) is torch.nn.Linear
    monkeypatch.setattr(blocks, "LIMIT", 2 * sum(p.numel() for p in net.parameters()))
    give_blocks(net)
    assert net[0].blocked is not None
    assert type(net[1]) is BlockedLinear


def test_layers_with_hooks_are_left_as_they_are():
    net = torch.nn.ModuleList([torch.nn.Linear(4, 4)]).bfloat16()
    net[0].register_forward_hook(lambda layer, args, out: out + 1)
    give_blocks(net)
    assert type(net[0]) is torch.nn.Linear


def test_a_network_with_blocks_can_be_forecast():
    made, image = inference_copy(ImageConv(6, 10), torch.bfloat16), draw(2, 6, 8, 8).bfloat16()
    with torch.no_grad(), LiveBytes() as held:
        out = made(image)
    assert held.peak >= out.numel() * 2
