"""Warping follows one sign, and the world's own optical flow proves it."""

from __future__ import annotations

import pytest
import torch

from flipbook.data.world import draw
from flipbook.nn.warp import is_consistent, lands_inside, warp
from flipbook.shapes import fold_frames, pixels_to_tensor


def picture(channels: int = 3, height: int = 9, width: int = 11) -> torch.Tensor:
    return torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(0))


def field(dx: float, dy: float, like: torch.Tensor) -> torch.Tensor:
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(len(like), 2, *like.shape[-2:])


def test_a_zero_field_returns_the_picture_bit_for_bit():
    x = picture()
    assert torch.equal(warp(x, field(0, 0, x)), x)


def test_the_pixel_that_the_field_points_at_is_read():
    x = picture()
    moved = warp(x, field(2, -1, x))
    torch.testing.assert_close(moved[:, :, 1:, :-2], x[:, :, :-1, 2:])                # out(u) = x(u + (2, -1))


def test_half_a_pixel_is_the_mean_of_two():
    x = picture()
    torch.testing.assert_close(warp(x, field(0.5, 0, x))[..., :-1], (x[..., :-1] + x[..., 1:]) / 2)


def test_beyond_the_border_the_border_is_read():
    x = picture()
    torch.testing.assert_close(warp(x, field(100, 0, x)), x[..., -1:].expand_as(x))


def test_a_video_is_warped_frame_by_frame():
    x, f = torch.rand(2, 3, 4, 8, 8), torch.rand(2, 2, 4, 8, 8)
    assert torch.equal(warp(x, f)[:, :, 2], warp(x[:, :, 2], f[:, :, 2]))


def test_a_field_of_another_layout_is_refused():
    with pytest.raises(ValueError, match="movedim"):
        warp(picture(), torch.zeros(2, 9, 11, 2))


@pytest.mark.parametrize("seed", [3, 11])
def test_the_true_flow_of_the_world_brings_the_next_frame_back(seed):
    """Where a point is seen in both frames; shapes change colour by less than antialiasing does."""
    clip = draw("shapes", seed)
    x = fold_frames(pixels_to_tensor(clip.frames)[None])                             # (T, 3, H, W)
    forward = torch.tensor(clip.optical_flow).movedim(-1, 1)                         # (T - 1, 2, H, W)
    backward = torch.tensor(clip.backward_flow).movedim(-1, 1)
    seen = is_consistent(forward, backward).expand(-1, 3, -1, -1)
    right = (warp(x[1:], forward) - x[:-1])[seen].abs().mean()
    wrong = (warp(x[1:], -forward) - x[:-1])[seen].abs().mean()
    still = (x[1:] - x[:-1])[seen].abs().mean()
    assert right < 0.35 * still < 0.35 * wrong


def test_what_is_covered_in_the_other_frame_is_not_consistent():
    """A square moves right by 4: the strip that it covers is seen in the first frame only, the one it leaves in the second."""
    forward, backward = torch.zeros(1, 2, 16, 32), torch.zeros(1, 2, 16, 32)
    forward[:, 0, 4:12, 8:16] = 4
    backward[:, 0, 4:12, 12:20] = -4
    seen = is_consistent(forward, backward)[0, 0]
    assert not seen[4:12, 16:20].any()                                               # background about to be covered
    assert seen[4:12, 8:16].all()
    assert seen[:4].all()


def test_leaving_the_picture_is_told():
    f = field(3, 0, picture())[:1]
    assert lands_inside(f)[0, 0, 0].tolist() == [True] * 8 + [False] * 3
