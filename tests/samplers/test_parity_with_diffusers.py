"""Whole trajectories equal diffusers' schedulers, with the same model, noise and levels, in float32.

The model is the exact denoiser of a Gaussian mixture, asked for whatever the scheduler expects to be predicted. Every
state on the way is compared, not only the last.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch

from analytic import well_apart
from flipbook import samplers
from flipbook.process import EDM, VP, Process, RectifiedFlow, initial_noise, level_times, noise_levels, shift_time
from flipbook.process.spacing import exponential, karras, leading, linspace, sgm_uniform, trailing, uniform

diffusers = pytest.importorskip("diffusers")

NAMES = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
SD = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
STEPS = 12


def start(seed: int = 0) -> torch.Tensor:
    return initial_noise((2, 4, 2, 2), [seed, seed + 1])


def ours(sample, path, predicts, times, x, **options):
    """All states after the steps of one of our samplers, along the same levels in each frame."""
    process, states = Process(path, predicts), []
    denoise = process.denoiser(well_apart(path).network(process))
    matrix = noise_levels(len(times) - 1, x.shape[2], spacing=times)
    sample(denoise, x, path, matrix, on_step=lambda i, x, x0: states.append(x), **options)
    return torch.stack(states)


def theirs(scheduler, path, predicts, x, time_of, *, is_ratio_space=False, **options):
    """All states of a scheduler. time_of(timestep, sigma or None) says where on the path the model is asked."""
    net, states, sigmas = well_apart(path).network(Process(path, predicts)), [], getattr(scheduler, "sigmas", None)
    sample = x * (sigmas[0] ** 2 + 1) ** 0.5 if is_ratio_space else x
    for i, timestep in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(sample, timestep) if hasattr(scheduler, "scale_model_input") else sample
        t = torch.as_tensor(time_of(timestep, None if sigmas is None else sigmas[i]), dtype=torch.float32)
        sample = scheduler.step(net(scaled, t.expand(len(x))), timestep, sample, **options).prev_sample
        states.append(sample / (sigmas[i + 1] ** 2 + 1) ** 0.5 if is_ratio_space else sample)
    return torch.stack(states)


def of_level(timestep, sigma):
    return level_times(torch.as_tensor(timestep), 1000)


def noise_from(seed, x):
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(x.shape, generator=generator)


def assert_same(a, b):
    assert a.shape == b.shape
    torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


SPACINGS = {
    "leading": partial(leading, offset=1),
    "linspace": linspace,
    "trailing": trailing,
}


@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_ddim(predicts, spacing, eta):
    scheduler = diffusers.DDIMScheduler(
        **SD, clip_sample=False, steps_offset=1, timestep_spacing=spacing, prediction_type=NAMES[predicts]
    )
    scheduler.set_timesteps(10)  # a divisor of 1000: otherwise DDIMScheduler steps to levels it does not visit
    x = start()
    reference = theirs(scheduler, VP(), predicts, x, of_level, eta=eta, generator=torch.Generator().manual_seed(3))
    times = SPACINGS[spacing](10)
    assert_same(ours(samplers.sample_ddim, VP(), predicts, times, x, eta=eta, noise=noise_from(3, x)), reference)


@pytest.mark.parametrize("predicts", ["v", "x0"])
def test_ddim_from_pure_noise_at_zero_terminal_signal(predicts):
    scheduler = diffusers.DDIMScheduler(
        **SD,
        clip_sample=False,
        timestep_spacing="trailing",
        prediction_type=NAMES[predicts],
        rescale_betas_zero_snr=True,
    )
    scheduler.set_timesteps(10)
    path, x = VP(zero_terminal=True), start()
    reference = theirs(scheduler, path, predicts, x, of_level)
    assert_same(ours(samplers.sample_ddim, path, predicts, trailing(10), x), reference)


@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize(("variance", "variance_type"), [("small", "fixed_small"), ("large", "fixed_large")])
def test_ddpm(predicts, spacing, variance, variance_type):
    scheduler = diffusers.DDPMScheduler(
        **SD, clip_sample=False, variance_type=variance_type, timestep_spacing=spacing, prediction_type=NAMES[predicts]
    )
    scheduler.set_timesteps(STEPS)
    x = start()
    reference = theirs(scheduler, VP(), predicts, x, of_level, generator=torch.Generator().manual_seed(3))
    times = torch.cat([level_times(scheduler.timesteps, 1000), torch.zeros(1)])
    mine = ours(samplers.sample_ddpm, VP(), predicts, times, x, variance=variance, noise=noise_from(3, x))
    if variance == "large" and spacing == "trailing":  # there the scheduler adds noise to its clean result
        mine, reference = mine[:-1], reference[:-1]
    assert_same(mine, reference)


@pytest.mark.parametrize(
    ("path", "betas"),
    [
        (
            VP("linear", beta_start=1e-4, beta_end=0.02),
            {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
        ),
        (VP("cosine"), {"beta_schedule": "squaredcos_cap_v2"}),
        (VP("cosine", num_levels=250), {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 250}),
    ],
)
def test_ddpm_on_the_other_tables(path, betas):
    scheduler = diffusers.DDPMScheduler(**betas, clip_sample=False, prediction_type="v_prediction")
    scheduler.set_timesteps(25)
    x = start()
    time_of = lambda timestep, sigma: level_times(timestep, path.num_levels)
    reference = theirs(scheduler, path, "v", x, time_of, generator=torch.Generator().manual_seed(3))
    times = leading(25, num_levels=path.num_levels)
    assert_same(ours(samplers.sample_ddpm, path, "v", times, x, noise=noise_from(3, x)), reference)


def on_vp(timestep, sigma):
    return VP().time_at(sigma)


RATIO_SAMPLERS = {
    "EulerDiscreteScheduler": samplers.sample_euler,
    "EulerAncestralDiscreteScheduler": samplers.sample_euler_ancestral,
    "HeunDiscreteScheduler": samplers.sample_heun,
}


@pytest.mark.parametrize("predicts", ["eps", "v"])
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("name", RATIO_SAMPLERS)
def test_samplers_of_k_diffusion(name, spacing, predicts):
    kind = getattr(diffusers, name)
    scheduler = kind(**SD, steps_offset=1, timestep_spacing=spacing, prediction_type=NAMES[predicts])
    scheduler.set_timesteps(STEPS)
    x, sample, times = start(), RATIO_SAMPLERS[name], SPACINGS[spacing](STEPS)
    randomness = {"generator": torch.Generator().manual_seed(3)} if "Ancestral" in name else {}
    reference = theirs(scheduler, VP(), predicts, x, on_vp, is_ratio_space=True, **randomness)
    if sample is samplers.sample_heun:
        reference = torch.cat([reference[1:-1:2], reference[-1:]])  # it returns from each of its two calls
    assert_same(ours(sample, VP(), predicts, times, x, noise=noise_from(3, x)), reference)


@pytest.mark.parametrize(
    ("option", "spacing"), [("use_karras_sigmas", karras), ("use_exponential_sigmas", exponential)]
)
@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "HeunDiscreteScheduler"])
def test_continuous_spacings(name, option, spacing):
    scheduler = getattr(diffusers, name)(**SD, **{option: True})
    scheduler.set_timesteps(STEPS)
    ratio_max, ratio_min = float(scheduler.sigmas[0]), float(scheduler.sigmas[-2])
    x, times = start(), spacing(STEPS, path=VP(), ratio_min=ratio_min, ratio_max=ratio_max)
    reference = theirs(scheduler, VP(), "eps", x, on_vp, is_ratio_space=True)
    if "Heun" in name:
        reference = torch.cat([reference[1:-1:2], reference[-1:]])
    assert_same(ours(RATIO_SAMPLERS[name], VP(), "eps", times, x), reference)


def test_edm_path_of_stable_video_diffusion():
    """Euler over Karras sigmas 700 to 0.002 with v-preconditioning: an EDM sigma is sigma / alpha of our path."""
    scheduler = diffusers.EulerDiscreteScheduler(
        use_karras_sigmas=True,
        sigma_min=0.002,
        sigma_max=700.0,
        timestep_type="continuous",
        prediction_type="v_prediction",
    )
    scheduler.set_timesteps(STEPS)
    x, times = start(), karras(STEPS, path=EDM(), ratio_max=700.0)
    reference = theirs(scheduler, EDM(), "v", x, lambda _, s: EDM().time_at(s), is_ratio_space=True)
    assert_same(ours(samplers.sample_euler, EDM(), "v", times, x), reference)
    assert_same(ours(samplers.sample_euler, EDM(), "edm", times, x), reference)


@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("algorithm", ["dpmsolver++", "sde-dpmsolver++"])
def test_dpm_solver_multistep(algorithm, spacing, predicts):
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **SD, algorithm_type=algorithm, timestep_spacing=spacing, prediction_type=NAMES[predicts]
    )
    scheduler.set_timesteps(STEPS)
    x, times = start(), torch.cat([level_times(scheduler.timesteps, 1000), torch.zeros(1)])
    sde = algorithm.startswith("sde")
    sample = samplers.sample_dpmpp_2m_sde if sde else samplers.sample_dpmpp_2m
    reference = theirs(scheduler, VP(), predicts, x, of_level, generator=torch.Generator().manual_seed(3))
    assert_same(ours(sample, VP(), predicts, times, x, noise=noise_from(3, x)), reference)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_unipc(spacing, predicts, order):
    scheduler = diffusers.UniPCMultistepScheduler(
        **SD, solver_order=order, timestep_spacing=spacing, prediction_type=NAMES[predicts]
    )
    scheduler.set_timesteps(STEPS)
    x, times = start(), torch.cat([level_times(scheduler.timesteps, 1000), torch.zeros(1)])
    reference = theirs(scheduler, VP(), predicts, x, of_level)
    assert_same(ours(samplers.sample_unipc, VP(), predicts, times, x, order=order), reference)


@pytest.mark.parametrize("order", [2, 3])
def test_unipc_on_shifted_rectified_flow(order):
    scheduler = diffusers.UniPCMultistepScheduler(
        solver_order=order, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    scheduler.set_timesteps(STEPS)
    path, x, times = RectifiedFlow(shift=3.0), start(), sgm_uniform(STEPS)
    times[0] = path.time_at((1 - 1e-6) / torch.tensor(1e-6, dtype=torch.float64))  # it stops short of pure noise
    reference = theirs(scheduler, path, "flow", x, lambda _, s: path.time_at(s / (1 - s)))
    assert_same(ours(samplers.sample_unipc, path, "flow", times, x, order=order), reference)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_match_euler_with_its_own_levels(shift):
    """FlowMatchEuler shifts sigma_min twice: with shift 3 its last level is s = 0.0089, not 0.003."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(STEPS)
    path, x = RectifiedFlow(shift), start()
    last = float(shift_time(torch.tensor(1e-3, dtype=torch.float64), shift))
    reference = theirs(scheduler, path, "flow", x, lambda _, s: path.time_at(s / (1 - s)))
    assert_same(ours(samplers.sample_euler, path, "flow", linspace(STEPS, last=last), x), reference)


def test_flow_match_euler_with_the_levels_of_video_pipelines():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=5.0)
    scheduler.set_timesteps(sigmas=uniform(STEPS)[:-1].tolist())
    path, x = RectifiedFlow(5.0), start()
    reference = theirs(scheduler, path, "flow", x, lambda _, s: path.time_at(s / (1 - s)))
    assert_same(ours(samplers.sample_euler, path, "flow", uniform(STEPS), x), reference)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_match_heun(shift):
    scheduler = diffusers.FlowMatchHeunDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(STEPS)
    path, x = RectifiedFlow(shift), start()
    last = float(shift_time(torch.tensor(1e-3, dtype=torch.float64), shift))
    reference = theirs(scheduler, path, "flow", x, lambda _, s: path.time_at(s / (1 - s)))
    reference = torch.cat([reference[1:-1:2], reference[-1:]])
    assert_same(ours(samplers.sample_heun, path, "flow", linspace(STEPS, last=last), x), reference)
