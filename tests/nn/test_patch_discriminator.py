"""The discriminator of patches: what a logit sees, that nothing else reaches it, and the shapes that it takes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from flipbook.nn.patch_discriminator import PatchDiscriminator


def made(levels, dim=3):
    torch.manual_seed(0)
    return PatchDiscriminator(dim, levels).double()


def clips(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1


def support(gradient):
    """The first frame, row and column of (3, T, H, W) where it is not zero, and the last: (3, 2)."""
    places = (gradient != 0).any(0).nonzero()
    return torch.stack([places.amin(0), places.amax(0)], dim=1).tolist()


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_logit_sees_a_patch_of_frames_and_pixels_and_every_value_of_it(levels):
    net = made(levels)
    frames, side = net.patch
    assert (frames, side) == (2 ** (levels + 1) - 1, 5 * 2**levels - 2)
    assert (frames, side) == (15, 38) or levels != 3
    x = clips(1, 3, 2 * frames, 2 * side, 2 * side).requires_grad_(True)
    logits = net(x)
    t, y, w = (n // 2 for n in logits.shape[2:])
    (gradient,) = torch.autograd.grad(logits[0, 0, t, y, w], x)
    (t0, t1), (y0, y1), (x0, x1) = support(gradient[0])
    assert (t1 - t0 + 1, y1 - y0 + 1, x1 - x0 + 1) == (frames, side, side)
    assert (gradient[0, :, t0 : t1 + 1, y0 : y1 + 1, x0 : x1 + 1] != 0).all()


def test_a_logit_does_not_change_with_what_lies_outside_its_patch():
    """Norms over a clip would let it: they tell every patch how bright all others are."""
    net, x = made(2), clips(1, 3, 9, 60, 60)
    _, side = net.patch
    other = x.clone()
    other[..., side:, :] = 5.0                                               # below the patch of the first row of logits
    assert torch.equal(net(x)[..., 0, :], net(other)[..., 0, :])
    assert not torch.equal(net(x)[..., -1, :], net(other)[..., -1, :])


def test_the_logits_of_a_clip_do_not_depend_on_its_batch():
    net, x = made(3), clips(3, 3, 5, 24, 16)
    alone = torch.cat([net(one[None]) for one in x])
    torch.testing.assert_close(net(x), alone, rtol=1e-12, atol=1e-12)
    assert net.train()(x).equal(net.eval()(x))


@pytest.mark.parametrize(("shape", "logits"), [((1, 16, 16), (1, 2, 2)), ((2, 17, 23), (1, 2, 2)), ((9, 8, 40), (2, 1, 5)), ((16, 32, 32), (2, 4, 4))])
def test_pictures_and_clips_of_any_length_have_logits(shape, logits):
    assert made(3)(clips(2, 3, *shape)).shape == (2, 1, *logits)


def test_a_level_is_a_strided_convolution_its_channels_at_unit_size_and_a_leaky_slope():
    net, x = made(2), clips(2, 3, 4, 12, 12)
    first, second = net.levels
    assert [level.conv.out_channels for level in net.levels] == [3, 6]       # the width doubles
    with torch.no_grad():
        second.norm.gain.copy_(torch.linspace(0.5, 2.0, 6))
        h = F.leaky_relu(nn.functional.conv3d(x, first.conv.weight, first.conv.bias, 2, 1), 0.2)
        h = nn.functional.conv3d(h, second.conv.weight, second.conv.bias, 2, 1)
        h = h / (h.square().mean(1, keepdim=True) + 1e-6).sqrt() * second.norm.gain[:, None, None, None]
        expected = nn.functional.conv3d(F.leaky_relu(h, 0.2), net.head.weight, net.head.bias, padding=(0, 1, 1))
        torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-6)   # the norm's statistics are float32


@pytest.mark.parametrize(
    ("build", "message"),
    [(lambda: made(3)(clips(1, 3, 2, 4, 16)), "4 x 16 pixels.*Try levels=2"), (lambda: PatchDiscriminator(0, 1), "Try dim=64")],
)
def test_what_cannot_be_judged_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
