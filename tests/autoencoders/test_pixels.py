import pytest
import torch

from flipbook.autoencoders.pixels import Pixels, PixelsConfig


def test_nothing_is_lost_and_a_cell_holds_a_square_of_pixels():
    pixels = Pixels(PixelsConfig(patch=4, scale=0.5))
    x = torch.rand(2, 3, 3, 8, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    z = pixels.encode(x)
    assert z.shape == (2, 48, 3, 2, 3)
    assert torch.equal(pixels.decode(z), x)
    changed = x.clone()
    changed[..., 5, 9] = 0
    assert (pixels.encode(changed) != z).any(1).nonzero()[:, 2:].unique(dim=0).tolist() == [[1, 2]]


def test_sides_that_are_no_multiple_of_the_square_are_refused():
    with pytest.raises(ValueError, match=r"10x8 pixels.*multiples of 4"):
        Pixels(PixelsConfig()).encode(torch.zeros(1, 3, 1, 10, 8))
