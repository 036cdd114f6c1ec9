"""Discriminators: what each reads of a pair, and the network as derived a second time."""

from __future__ import annotations

import math

import pytest
import torch

from flipbook.baselines.discriminator import Discriminator, ImageDiscriminator, MotionDiscriminator

PAIR, GAP = torch.randn(3, 3, 2, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([0.1, 0.5, 0.9])


def made(kind):
    torch.manual_seed(1)
    return kind(3, 16, 4, 8).requires_grad_(False)


def test_a_pair_is_judged_by_itself_whatever_its_batch():
    for kind in (ImageDiscriminator, MotionDiscriminator):
        net = made(kind)
        together = net(PAIR, GAP)
        alone = torch.cat([net(PAIR[k : k + 1], GAP[k : k + 1]) for k in range(3)])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
        assert together.std() > 1e-3


def test_the_motion_discriminator_reads_order_and_time_and_the_image_discriminator_neither():
    image, motion = made(ImageDiscriminator), made(MotionDiscriminator)
    swapped = PAIR.flip(2)
    torch.testing.assert_close(image(swapped, GAP.flip(0)), image(PAIR, GAP).flip(1), rtol=0, atol=1e-5)
    assert image(PAIR, GAP).shape == (3, 2)
    assert motion(PAIR, GAP).shape == (3, 1)
    assert (motion(swapped, GAP) - motion(PAIR, GAP)).abs().min() > 1e-4
    assert (motion(PAIR, GAP + 0.3) - motion(PAIR, GAP)).abs().min() > 1e-4


def test_the_network_is_the_one_derived_a_second_time_with_plain_layers():
    """In float64: convolutions as sums over unfolded neighbourhoods, halving by strided means."""
    net = made(Discriminator).double()
    state = net.state_dict()
    leaky = lambda x: torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)

    def conv(name, x):
        weight = state[f"{name}.weight"] / math.sqrt(state[f"{name}.weight"][0].numel())
        kernel = weight.shape[-1]
        patches = torch.nn.functional.unfold(x, kernel, padding=kernel // 2)                    # (N, C k k, H W)
        out = (weight.flatten(1) @ patches).unflatten(2, x.shape[2:])
        return out + state[f"{name}.bias"][:, None, None] if f"{name}.bias" in state else out

    halved = lambda x: sum(x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4
    x = PAIR[:, :, 0].double()
    h = leaky(conv("first", x))
    for k in range(2):
        deep = halved(leaky(conv(f"blocks.{k}.conv2", leaky(conv(f"blocks.{k}.conv1", h)))))
        h = (deep + conv(f"blocks.{k}.plain", halved(h))) / math.sqrt(2)
    h = leaky(conv("whole", h)).flatten(1)
    for name in ("hidden", "logit"):
        h = h @ state[f"{name}.weight"].T / math.sqrt(h.shape[1]) + state[f"{name}.bias"]
        h = leaky(h) if name == "hidden" else h
    torch.testing.assert_close(net(x).double(), h.squeeze(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("side", [12, 2, 48])
def test_a_side_that_is_no_power_of_two_says_what_to_try(side):
    with pytest.raises(ValueError, match="Try 32, 64, or 128"):
        Discriminator(3, side, 4, 8)
