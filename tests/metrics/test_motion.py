"""Motion, warping error and what optical flow finds, against the true optical flow of the world."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flipbook.encoders.optical_flow import optical_flow_of_clip
from flipbook.metrics.motion import dynamic_degree, motion_per_second, sharpness, warping_error
from flipbook.nn.warp import is_consistent
from flipbook.shapes import pixels_to_tensor


def moving(seed=0, motion="moves right", background="black", size=64):
    """A clip of one object and its true optical flow, there and back: (3, T, H, W), (T - 1, 2, H, W) twice."""
    from flipbook.data.world import from_scene, scene_from_caption

    clip = from_scene(scene_from_caption(f"a large red square {motion} on a {background} background", seed), height=size, width=size)
    fields = (torch.from_numpy(np.ascontiguousarray(f)).movedim(-1, 1) for f in (clip.optical_flow, clip.backward_flow))
    return pixels_to_tensor(clip.frames), *fields


def interior(there, back):
    """Pixels in sight whose neighbourhood moves as one: at a rim, a pixel is a mixture and no field is right for it."""
    lengths = torch.nn.functional.max_pool2d(there, 5, 1, 2) + torch.nn.functional.max_pool2d(-there, 5, 1, 2)
    return is_consistent(there, back) & (lengths < 1e-3).all(1, keepdim=True)


def test_a_clip_that_only_moves_has_no_warping_error_under_its_true_flow():
    x, there, back = moving()
    assert there.abs().max() > 1
    assert warping_error(x, there, interior(there, back)) < 1e-4


def test_the_warping_error_grows_fourfold_when_flicker_doubles():
    x, there, back = moving()
    mask = interior(there, back)
    jumps = 0.05 * torch.tensor([1.0, -1.0]).repeat(8).view(1, 16, 1, 1)
    base, once, twice = (warping_error(x * 0.8 + k * jumps, there, mask) for k in (0, 1, 2))
    assert (twice - base) / (once - base) == pytest.approx(4.0, rel=0.05)
    assert once - base == pytest.approx(0.05**2, rel=0.05)                       # (2 * 0.05 / 2) ** 2, on values in [0, 1]


def test_the_wrong_direction_of_the_field_is_an_error_that_shows():
    x, there, back = moving()
    mask = is_consistent(there, back)
    assert warping_error(x, -there, mask) > 10 * warping_error(x, there, mask)


def test_blur_lowers_the_warping_error_and_sharpness_tells():
    from flipbook.metrics.corrupt import corrupt

    x, there, back = moving(background="cloudy")
    x = corrupt("noise", x[None], 0.3)[0]
    mask = is_consistent(there, back)
    soft = corrupt("blur", x[None], 0.5)[0]
    assert warping_error(soft, there, mask) < 0.3 * warping_error(x, there, mask)
    assert sharpness(soft) < 0.1 * sharpness(x)


def test_motion_to_and_fro_does_not_cancel_and_a_still_has_none():
    there = torch.zeros(4, 2, 8, 8)
    still = motion_per_second(there, 8.0)
    there[0::2, 0], there[1::2, 0] = 2.0, -2.0
    assert still == 0.0
    assert motion_per_second(there, 8.0) == pytest.approx(2 / 8 * 8)


def test_motion_does_not_change_with_size_or_rate():
    """Twice the pixels or twice the frames per second of one and the same motion: within the rims, the number stays."""
    small, large = (motion_per_second(moving(size=size)[1], 8.0) for size in (64, 128))
    assert small == pytest.approx(large, rel=0.05)
    there = moving()[1]
    assert motion_per_second(there, 8.0) == pytest.approx(motion_per_second(there / 2, 16.0))


def test_dynamic_degree_counts_the_fast_twentieth_and_a_quarter_of_the_pairs():
    there = torch.zeros(16, 2, 256, 256)
    assert not dynamic_degree(there)
    there[:4, 0, :13] = 7.0                                                      # 13 of 256 rows: just above a twentieth
    assert dynamic_degree(there)
    there[3] = 0
    assert not dynamic_degree(there)
    there[3, 0, :6] = 7.0                                                        # too few pixels
    assert not dynamic_degree(there)


def test_dynamic_degree_is_a_matter_of_the_picture_and_not_of_its_pixels():
    there = torch.zeros(16, 2, 128, 128)
    there[:, 0] = 4.0                                                            # 8 pixels at 256
    assert dynamic_degree(there)
    assert not dynamic_degree(there * 0.7)                                       # 5.6 pixels


def test_optical_flow_of_opencv_finds_the_true_motion_of_the_world():
    pytest.importorskip("cv2")
    x, there, _ = moving(size=96)
    found, back = optical_flow_of_clip(x)
    moving_pixels = there.norm(dim=1) > 0.5
    error = (found - there).norm(dim=1)[moving_pixels]
    assert float(error.median()) < 0.5 * float(there.norm(dim=1)[moving_pixels].median())
    assert is_consistent(found, back).float().mean() > 0.7


def test_clips_without_motion_or_with_fields_of_another_size_are_refused():
    x, there, back = moving()
    with pytest.raises(ValueError, match="one frame less"):
        warping_error(x[:, 1:], there, is_consistent(there, back))
    with pytest.raises(ValueError, match="at a cut"):
        warping_error(x, there, torch.zeros_like(there[:, :1], dtype=torch.bool))
    pytest.importorskip("cv2")
    with pytest.raises(ValueError, match="has no motion"):
        optical_flow_of_clip(x[:, :1])
