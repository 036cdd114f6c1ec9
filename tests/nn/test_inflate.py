"""Kernels that gain time: which clips they leave to the picture's network, and what a split kernel costs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from flipbook.nn.causal import CausalConv3d
from flipbook.nn.inflate import SplitConv3d, inflated, matched_width
from flipbook.shapes import fold_frames, unfold_frames


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


KERNEL = draw(5, 3, 3, 3)
MOVING = draw(2, 3, 6, 8, 8, seed=1)
STILL = MOVING[:, :, :1].expand(-1, -1, 6, -1, -1)


def by_frame(clip):
    return unfold_frames(F.conv2d(fold_frames(clip), KERNEL, padding=1), len(clip))


def apart(where, clip, frames=slice(None)):
    out = F.conv3d(clip, inflated(KERNEL, 3, where), padding=1)
    return (out - by_frame(clip)).abs().amax((0, 1, 3, 4))[frames].max().item()


def test_with_its_weight_in_the_middle_a_kernel_is_the_pictures_on_any_clip():
    assert apart("centre", MOVING) < 1e-5
    assert apart("centre", STILL) < 1e-5


def test_with_its_weight_shared_out_a_kernel_is_the_pictures_on_still_clips_alone_and_not_at_their_ends():
    assert apart("mean", STILL, slice(1, -1)) < 1e-5
    assert apart("mean", STILL) > 0.1                                       # zeros stand beyond the ends
    assert apart("mean", MOVING, slice(1, -1)) > 0.1
    held = F.pad(STILL, (0, 0, 0, 0, 1, 1), mode="replicate")
    torch.testing.assert_close(F.conv3d(held, inflated(KERNEL, 3, "mean"), padding=(0, 1, 1)), by_frame(STILL), atol=1e-5, rtol=1e-5)


def test_with_its_weight_on_the_last_frame_a_kernel_that_looks_back_is_the_pictures():
    conv = CausalConv3d(3, 5)
    for where, same in (("last", True), ("centre", False)):
        with torch.no_grad():
            conv.weight.copy_(inflated(KERNEL, 3, where))
            conv.bias.zero_()
            assert ((conv(MOVING) - by_frame(MOVING)).abs().max() < 1e-5) == same


@pytest.mark.parametrize(("dim_in", "dim", "kernel", "width"), [(64, 64, (3, 3, 3), 144), (8, 24, (3, 3, 3), None), (16, 8, (4, 4, 4), None)])
def test_a_split_convolution_has_as_many_weights_and_operations_as_the_whole_one(dim_in, dim, kernel, width):
    """At stride 1 every weight is used once for each place, so that operations are counted by weights."""
    found, whole = matched_width(dim_in, dim, kernel), dim_in * dim * kernel[0] * kernel[1] * kernel[2]
    split = SplitConv3d(dim_in, dim, kernel)
    weights = split[0].weight.numel() + split[2].weight.numel()
    one_more = (found + 1) * (kernel[1] * kernel[2] * dim_in + kernel[0] * dim)
    assert weights <= whole < one_more
    assert width in (None, found)
    assert width is None or weights == whole == 110_592


def test_a_split_convolution_without_its_non_linearity_is_a_whole_one_of_the_product_of_its_kernels():
    split = SplitConv3d(3, 5, (3, 3, 3), (2, 2, 2), (1, 1, 1))
    x = draw(1, 3, 8, 8, 8)
    space, time = split[0].weight[:, :, 0], split[2].weight[:, :, :, 0, 0]
    product = torch.einsum("omt,mihw->oithw", time, space)
    whole = F.conv3d(x, product, split[2].bias, stride=2, padding=1)
    torch.testing.assert_close(split[2](split[0](x)), whole, atol=1e-5, rtol=1e-5)
    assert (split(x) - whole).abs().max() > 1e-3


def test_kernels_without_a_middle_and_other_places_are_refused():
    with pytest.raises(ValueError, match="Try 5, or where='last'"):
        inflated(KERNEL, 4)
    with pytest.raises(ValueError, match="Try where='centre'"):
        inflated(KERNEL, 3, "first")
