"""Known frames on their way to a network: places, layouts, levels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flipbook.autoencoders.pixels import Pixels, PixelsConfig
from flipbook.conditions import Size, empty_inputs
from flipbook.long.known import Known, blended, by_channels, held, known_by_frames, masked, noised, plain, resized
from flipbook.process import Cosine, Process
from flipbook.systems.base import System

SYSTEM = System(name="test", denoiser=None, autoencoder=Pixels(PixelsConfig(patch=1, scale=1.0)), text_encoder=None, process=Process(Cosine(), "v"))


def inputs(frames=9, side=4, seeds=(5,)):
    size = Size(num_frames=frames, fps=8, height=side, width=side)
    return empty_inputs(size, (3, frames, side, side), seeds)


def ramp(places):
    """Frames whose value is their number / 10."""
    return torch.tensor([p / 10 for p in places], dtype=torch.float32)[None, :, None, None].expand(3, -1, 4, 4)


def entered(layout, places, frames=9):
    known, mask, _ = noised(SYSTEM, [Known(frames=ramp(places), places=tuple(places))], inputs(frames))
    return layout(known, mask)


def test_masked_frames_stand_at_their_places_beside_the_mask():
    x = entered(masked, [0, 4, 8])
    assert x.shape[1] == 4
    assert x[0, 3, :, 0, 0].tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    torch.testing.assert_close(x[0, 0, :, 0, 0], torch.tensor([0, 0, 0, 0, 0.4, 0, 0, 0, 0.8]))


def test_blended_frames_run_straight_from_one_known_frame_to_the_next():
    x = entered(blended, [0, 4, 8])
    torch.testing.assert_close(x[0, 0, :, 0, 0], torch.arange(9) / 10)
    lone = entered(blended, [3])
    torch.testing.assert_close(lone[0, 0, :, 0, 0], torch.full((9,), 0.3))


def test_held_frames_stay_until_the_next_known_one():
    torch.testing.assert_close(entered(held, [0, 4, 8])[0, 0, :, 0, 0], torch.tensor([0, 0, 0, 0, 0.4, 0.4, 0.4, 0.4, 0.8]))


@pytest.mark.parametrize(("layout", "channels"), [(masked, 4), (blended, 4), (held, 3), (plain, 3)])
def test_nothing_known_is_zeros(layout, channels):
    entrance = by_channels(layout, told_as=1.0)
    for lead in (entrance.enter, entrance.null):
        for request in ((), (Known(frames=ramp([]), places=(), level=0.5),)):
            doors = lead(SYSTEM, [request], inputs()).doors
            assert doors.channels.shape == (1, channels, 9, 4, 4)
            assert not doors.channels.any()
            assert doors.vector.tolist() == [[0.0]]


def test_the_null_shows_nothing_of_what_is_known():
    null = by_channels(masked, told_as=1.0).null
    doors = null(SYSTEM, [(Known(frames=ramp(range(9)), level=0.3),)], inputs()).doors
    assert not doors.channels.any()
    assert doors.vector.tolist() == [[0.0]]


def test_a_known_frame_at_a_level_is_alpha_of_it_and_sigma_of_noise():
    """The noise is the seed's, so of two frames only their difference is left, alpha of it; of gray the noise alone."""
    gray, light = (noised(SYSTEM, [Known(frames=torch.full((3, 9, 4, 4), v), level=0.4)], inputs())[0] for v in (0.0, 0.5))
    path = SYSTEM.process.path
    torch.testing.assert_close(light - gray, torch.full_like(gray, 0.5 * float(path.alpha(torch.tensor(0.4)))))
    assert gray.std().item() == pytest.approx(float(path.sigma(torch.tensor(0.4))), rel=0.15)


def test_noise_of_a_known_frame_belongs_to_the_sample_and_the_place():
    known = lambda places, seeds: noised(SYSTEM, [Known(frames=ramp(places), places=tuple(places), level=0.5)], inputs(seeds=seeds))
    both, one = known([2, 6], (5,)), known([6], (5,))
    assert torch.equal(both[0][:, :, 6], one[0][:, :, 6])
    assert not torch.equal(one[0], known([6], (6,))[0])
    assert both[2].item() == 0.5


def test_clean_frames_have_no_noise_and_the_others_keep_theirs():
    """The noise of a place is the same with and without: what one frame is spared does not shift the others'."""
    given = lambda **how: noised(SYSTEM, [Known(frames=ramp([1, 4, 6]), places=(1, 4, 6), level=0.5, **how)], inputs())
    (some, _, level), (all_noisy, *_) = given(clean=(4,)), given()
    assert torch.equal(some[0, :, 4], ramp([4])[:, 0])
    assert (all_noisy[0, :, 4] - some[0, :, 4]).abs().min() > 0
    assert torch.equal(some[:, :, [1, 6]], all_noisy[:, :, [1, 6]])
    assert level.item() == 0.5
    with pytest.raises(ValueError, match=r"clean=\(5,\)"):
        given(clean=(5,))


def test_a_latent_frame_is_clean_if_all_that_it_packs_is():
    class Packing(Pixels):
        def latent_ends(self, num_frames):
            return (0, 4, 8)

        def encode(self, video):
            return video[:, :, [0, 4, 8]]

    packing = replace(SYSTEM, autoencoder=Packing(PixelsConfig(patch=1, scale=1.0)))
    size = replace(inputs(), given=torch.zeros(1, 3, 3, 4, 4))
    known = Known(frames=ramp(range(9)), level=0.5, clean=(0, 1, 2, 3, 4, 5))
    known, _, _ = noised(packing, [known], size)
    assert torch.equal(known[0, :, :2], ramp([0, 4]))
    assert (known[0, :, 2] - ramp([8])[:, 0]).abs().min() > 0


def test_the_level_that_is_told_may_be_another_one():
    doors = by_channels(plain, told_as=999.0).enter(SYSTEM, [(Known(frames=ramp(range(9)), level=0.0, declared=0.5),)], inputs()).doors
    assert doors.vector.item() == pytest.approx(499.5)


def test_known_frames_stand_behind_what_other_entrances_brought():
    before = inputs()
    before = replace(before, doors=before.doors.with_(channels=torch.full((1, 2, 9, 4, 4), 7.0), vector=torch.tensor([[24.0]])))
    doors = by_channels(plain, told_as=1.0).enter(SYSTEM, [(Known(frames=ramp(range(9)), level=0.0, declared=0.25),)], before).doors
    assert doors.channels.shape == (1, 5, 9, 4, 4)
    assert (doors.channels[:, :2] == 7.0).all()
    torch.testing.assert_close(doors.channels[0, 2, :, 0, 0], torch.arange(9) / 10)
    assert doors.vector.tolist() == [[24.0, 0.25]]


def test_by_the_frames_door_they_stand_beside_frames_that_were_given_already():
    before = inputs()
    given = torch.zeros_like(before.given)
    given[:, :, 0] = 7.0
    is_given = before.is_given.clone()
    is_given[:, 0] = True
    after = known_by_frames(SYSTEM, [(Known(frames=ramp([4]), places=(4,)),)], replace(before, given=given, is_given=is_given))
    assert after.is_given.nonzero()[:, 1].tolist() == [0, 4]
    torch.testing.assert_close(after.given[0, 0, :, 0, 0], torch.tensor([7.0, 0, 0, 0, 0.4, 0, 0, 0, 0]))


def test_small_frames_are_enlarged_and_large_ones_averaged():
    small = torch.rand(1, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resized(small, 4, 4), small)
    torch.testing.assert_close(resized(small, 1, 1)[..., 0, 0], small.mean((-2, -1)))         # all 16 pixels of it count
    torch.testing.assert_close(resized(torch.full((1, 3, 2, 4, 4), 0.3), 16, 16), torch.full((1, 3, 2, 16, 16), 0.3))


def test_frames_without_a_place_are_refused():
    with pytest.raises(ValueError, match="2 known frames at places"):
        noised(SYSTEM, [Known(frames=ramp([0, 1]), places=(0,))], inputs())
    with pytest.raises(ValueError, match="clip of 9 frames"):
        noised(SYSTEM, [Known(frames=ramp([0]), places=(9,))], inputs())
