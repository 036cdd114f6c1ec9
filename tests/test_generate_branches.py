"""Turns of the request path that few requests take: guidance within an interval, unit noise, batches that do not fit together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from flipbook.conditions import TEXT_AND_FRAMES, FirstFrame, Text, resolve
from flipbook.conditions.recipe import empty_inputs
from flipbook.process.path import RectifiedFlow
from flipbook.process.vp import VP
from flipbook.sampling import Prepared, first_state, frame_index, prepare, sample_latents, settle
from tiny import tiny_system

PROMPT = "a red circle moves right"


@pytest.fixture(scope="module")
def ready() -> Prepared:
    return prepare(tiny_system(), dtype="float32")


def latents(ready: Prepared, *conditions, **asked) -> torch.Tensor:
    settings = settle(ready.system, **asked)
    return sample_latents(ready, [resolve(conditions or (Text(PROMPT),), settings.size, TEXT_AND_FRAMES)], settings, [7])


def test_guidance_acts_within_its_interval_alone(ready):
    everywhere, nowhere = latents(ready), latents(ready, guidance_scale=1.0)
    assert torch.equal(latents(ready, guidance_interval=(0.0, 1.0)), everywhere)
    assert torch.equal(latents(ready, guidance_interval=(0.0, 1e-6)), nowhere)      # no step has so low a level
    assert not torch.allclose(latents(ready, guidance_interval=(0.9, 1.0)), everywhere, atol=1e-4)
    assert not torch.allclose(latents(ready, guidance_interval=(0.9, 1.0)), nowhere, atol=1e-4)


def test_the_rescaled_share_of_guidance_reaches_the_sampler_and_is_nothing_without_guidance(ready):
    assert not torch.allclose(latents(ready, guidance_rescale=0.7), latents(ready), atol=1e-4)
    torch.testing.assert_close(latents(ready, guidance_rescale=0.7, guidance_scale=1.0), latents(ready, guidance_scale=1.0))


def test_videos_of_one_batch_with_other_given_frames_are_refused(ready):
    settings = settle(ready.system)
    picture = np.zeros((32, 32, 3), np.uint8)
    requests = [resolve(own, settings.size, TEXT_AND_FRAMES) for own in ((Text(PROMPT),), (Text(PROMPT), FirstFrame(picture)))]
    with pytest.raises(ValueError, match=r"different given frames, \[\(\), \(0,\)\]. Try batch_size=1"):
        sample_latents(ready, requests, settings, [0, 1])


def test_frames_are_numbered_where_the_network_knows_no_rate_and_timed_where_it_does(ready):
    settings = settle(ready.system, fps=4.0)
    assert frame_index(ready.system, settings).tolist() == [0.0, 2.0, 4.0, 6.0]      # in eighths of a second
    assert frame_index(replace(ready.system, index_fps=None), settings).tolist() == [0.0, 1.0, 2.0, 3.0]


def test_a_step_cache_is_refused_by_a_network_that_runs_its_blocks_itself(ready, monkeypatch):
    monkeypatch.setattr(type(ready.system.denoiser), "forward", lambda self, x, t, doors: x)
    with pytest.raises(ValueError, match=r"the network of tiny runs its blocks itself. Leave step_cache out"):
        settle(ready.system, step_cache=0.1)


@pytest.mark.parametrize("unit", [True, False])
def test_a_run_starts_from_noise_of_variance_one_or_of_its_first_levels_and_given_frames_hold_none(ready, unit):
    """The last of a thousand levels still has alpha = 0.068 and sigma = 0.998; a flow's level 0.5 has the variance 1 / 2."""
    shape = (4, 3, 2, 2)
    inputs = empty_inputs(settle(ready.system, num_frames=3).size, shape, [5])
    inputs.is_given[:, 0] = True
    inputs.given[:, :, 0] = 3.0
    noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    for path, level in ((VP(), 1.0), (RectifiedFlow(), 0.5)):
        system = replace(ready.system, process=replace(ready.system.process, path=path), unit_noise=unit)
        x = first_state(system, inputs, torch.tensor([0.0, level, level], dtype=torch.float64), noise)
        alpha, sigma = float(path.alpha(torch.tensor(level))), float(path.sigma(torch.tensor(level)))
        assert torch.equal(x[:, :, 0], torch.full_like(x[:, :, 0], 3.0))
        torch.testing.assert_close(x[:, :, 1:], (np.hypot(alpha, sigma) if unit else sigma) * noise[:, :, 1:])
        drafted = first_state(system, replace(inputs, draft=2 * torch.ones_like(noise)), torch.full((3,), level, dtype=torch.float64), noise)
        assert torch.equal(drafted[:, :, 0], x[:, :, 0])                             # what is given goes before the draft
        torch.testing.assert_close(drafted[:, :, 1:], 2 * alpha + sigma * noise[:, :, 1:])
