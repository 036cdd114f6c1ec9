import pytest
import torch

from flipbook.nn.rope import rotary_table, rotate, split_axes


def logits(coords_q, coords_k, head_dim=32):
    g = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, coords_q.shape[0], 2, head_dim, generator=g, dtype=torch.float64) for _ in range(2))
    q, k = rotate(q, rotary_table(coords_q, head_dim)), rotate(k, rotary_table(coords_k, head_dim))
    return torch.einsum("bnhd,bmhd->bhnm", q, k)


def test_shifting_all_positions_leaves_every_logit_as_it_is():
    coords = torch.randn(7, 3, generator=torch.Generator().manual_seed(1)) * 5
    shift = torch.tensor([4.0, -2.0, 3.0])
    torch.testing.assert_close(logits(coords, coords), logits(coords + shift, coords + shift), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_logit_changes_with_the_distance_along_every_axis(axis):
    coords = torch.zeros(2, 3)
    moved = coords.clone()
    moved[1, axis] = 3.0
    assert (logits(coords, moved) - logits(coords, coords)).abs().max() > 0.05


def test_rotation_keeps_the_length_of_every_query():
    x = torch.randn(2, 5, 3, 16, generator=torch.Generator().manual_seed(2))
    turned = rotate(x, rotary_table(torch.randn(2, 5, 3), 16))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5, rtol=1e-5)


def test_the_same_moments_have_the_same_codes_at_any_frame_rate():
    """Positions are seconds, so frames 0, 2, 4 at 16 fps stand where frames 0, 1, 2 at 8 fps stand."""
    at_8 = torch.arange(8) / 8 * 8
    at_16 = torch.arange(16) / 16 * 8
    as_coords = lambda index: torch.stack([index, torch.zeros_like(index), torch.zeros_like(index)], -1)
    for a, b in zip(rotary_table(as_coords(at_8), 16), rotary_table(as_coords(at_16[::2]), 16), strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0)


@pytest.mark.parametrize("head_dim", [16, 32, 64, 128])
def test_the_axes_share_all_channels_in_even_numbers(head_dim):
    parts = split_axes(head_dim)
    assert sum(parts) == head_dim
    assert all(part % 2 == 0 and part > 0 for part in parts)
    assert head_dim != 128 or parts == (44, 42, 42)         # as Wan splits its heads
