"""DDPM with a variance that the network predicts: the scheduler's own trajectory, both ends of the range, and guidance."""

from __future__ import annotations

import pytest
import torch

from analytic import well_apart
from flipbook import samplers
from flipbook.guidance import guide
from flipbook.process import VP, Process, initial_noise, level_times, noise_levels

diffusers = pytest.importorskip("diffusers")

NAMES = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}


def noise_from(seed, x):
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(x.shape, generator=generator)


def network(process, share=None):
    """The exact network of a Gaussian mixture, and behind its channels where its variance stands: by what it sees, or everywhere alike."""
    exact = well_apart(process.path).network(process)

    def net(x, t):
        says = torch.sin(3 * x) if share is None else torch.full_like(x, 2 * share - 1)
        return torch.cat([exact(x, t), says], dim=1)

    return net


def start():
    return initial_noise((2, 4, 2, 2), [0, 1])


def run(denoise, path, times, x, **options):
    states = []
    matrix = noise_levels(len(times) - 1, x.shape[2], spacing=times)
    samplers.sample_ddpm(denoise, x, path, matrix, noise=noise_from(3, x), on_step=lambda i, x, x0: states.append(x), **options)
    return torch.stack(states)


@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize(("path", "betas"), [(VP("linear", beta_start=1e-4, beta_end=0.02), "linear"), (VP("cosine"), "squaredcos_cap_v2")])
def test_every_state_of_a_trajectory_is_that_of_the_scheduler(predicts, spacing, path, betas):
    if predicts == "eps" and betas != "linear" and spacing != "leading":
        pytest.skip("the last level of the cosine table is so near to pure noise that eps says nothing of x0 in float32")
    scheduler = diffusers.DDPMScheduler(
        beta_schedule=betas, clip_sample=False, variance_type="learned_range", timestep_spacing=spacing, prediction_type=NAMES[predicts]
    )
    scheduler.set_timesteps(20)
    net, sample, generator, reference = network(Process(path, predicts)), start(), torch.Generator().manual_seed(3), []
    for timestep in scheduler.timesteps:
        answer = net(sample, level_times(timestep, 1000).float().expand(len(sample)))
        sample = scheduler.step(answer, timestep, sample, generator=generator).prev_sample
        reference.append(sample)
    times = torch.cat([level_times(scheduler.timesteps, 1000), torch.zeros(1)])
    mine = run(Process(path, predicts).denoiser(net), path, times, start(), variance="learned")
    counted = 19 if spacing == "trailing" else 20                           # there the scheduler adds noise to its clean result
    torch.testing.assert_close(mine[:counted], torch.stack(reference)[:counted], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("share", "end"), [(0.0, "small"), (1.0, "large")])
def test_the_ends_of_the_range_are_the_two_fixed_variances(share, end):
    process, times = Process(VP(), "eps"), torch.linspace(1, 0, 11)
    fixed = run(process.denoiser(network(process)), VP(), times, start(), variance=end)
    learned = run(process.denoiser(network(process, share)), VP(), times, start(), variance="learned")
    torch.testing.assert_close(learned, fixed, atol=1e-4, rtol=1e-4)
    other = run(process.denoiser(network(process, 1 - share)), VP(), times, start(), variance="learned")
    assert (other - fixed).abs().max() > 0.05


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_guidance_leaves_the_variance_of_the_last_branch_as_it_is(scale):
    process, times = Process(VP(), "eps"), torch.linspace(1, 0, 6)
    branches = {"null": process.denoiser(network(process, 0.9)), "text": process.denoiser(network(process, 0.25))}
    mine = run(guide(branches, [("null", 1.0), ("text", scale)]), VP(), times, start(), variance="learned")
    alone = run(process.denoiser(network(process, 0.25)), VP(), times, start(), variance="learned")     # both branches mean the same x0
    torch.testing.assert_close(mine, alone, atol=1e-4, rtol=1e-4)


def test_a_network_is_asked_once_a_step_for_both():
    process, calls = Process(VP(), "eps"), []
    net = network(process)
    counted = process.denoiser(lambda x, t: calls.append(1) or net(x, t))
    run(guide({"one": counted}, [("one", 1.0)]), VP(), torch.linspace(1, 0, 8), start(), variance="learned")
    assert len(calls) == 7


def test_frames_that_are_given_keep_their_bits():
    process, x = Process(VP(), "eps"), start()
    matrix = noise_levels(5, x.shape[2], given=[1])
    made = samplers.sample_ddpm(process.denoiser(network(process)), x, VP(), matrix, variance="learned", noise=noise_from(3, x))
    assert torch.equal(made[:, :, 1], x[:, :, 1])
    assert made.isfinite().all()


def test_a_denoiser_that_says_nothing_of_its_variance_is_refused():
    process, x = Process(VP(), "eps"), start()
    exact = well_apart(VP())
    with pytest.raises(ValueError, match="says nothing of its variance"):
        run(exact.denoise, VP(), torch.linspace(1, 0, 4), x, variance="learned")
    with pytest.raises(ValueError, match="with a learned variance it would be 4"):
        run(process.denoiser(exact.network(process)), VP(), torch.linspace(1, 0, 4), x, variance="learned")
