"""Scheduler configs: the levels, paths and last steps are those of the scheduler, or the config is refused."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch

from analytic import well_apart
from flipbook.interop.schedulers import READERS, scheduler_plan
from flipbook.process import EDM, VP, Process, RectifiedFlow, initial_noise
from flipbook.samplers import SAMPLERS

diffusers = pytest.importorskip("diffusers")

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SVD = SD | {
    "prediction_type": "v_prediction", "timestep_type": "continuous", "use_karras_sigmas": True, "sigma_min": 0.002, "sigma_max": 700.0,
    "timestep_spacing": "leading", "steps_offset": 1, "interpolation_type": "linear",
}  # fmt: skip
LEVELS = [
    ("DDIMScheduler", SD | {"steps_offset": 1, "clip_sample": False, "set_alpha_to_one": False}),
    ("DDIMScheduler", {"timestep_spacing": "trailing"}),
    ("DDPMScheduler", {"timestep_spacing": "leading"}),
]
RATIOS = [
    ("EulerDiscreteScheduler", SD),
    ("EulerDiscreteScheduler", SD | {"timestep_spacing": "leading", "steps_offset": 1}),
    ("EulerDiscreteScheduler", SD | {"timestep_spacing": "trailing", "final_sigmas_type": "sigma_min"}),
    ("EulerDiscreteScheduler", SD | {"use_karras_sigmas": True}),
    ("EulerDiscreteScheduler", SD | {"use_karras_sigmas": True, "timestep_spacing": "leading", "steps_offset": 1}),
    ("EulerDiscreteScheduler", SVD),
    ("EulerAncestralDiscreteScheduler", SD | {"timestep_spacing": "leading"}),
    ("DPMSolverMultistepScheduler", SD),
    ("DPMSolverMultistepScheduler", SD | {"timestep_spacing": "leading", "steps_offset": 1}),
    ("DPMSolverMultistepScheduler", SD | {"timestep_spacing": "trailing", "use_karras_sigmas": True}),
    ("UniPCMultistepScheduler", SD | {"timestep_spacing": "trailing"}),
    ("UniPCMultistepScheduler", SD | {"use_karras_sigmas": True}),
    ("UniPCMultistepScheduler", SD | {"use_exponential_sigmas": True, "timestep_spacing": "leading"}),
    ("UniPCMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}),
    ("DPMSolverMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 5.0}),
    ("EDMEulerScheduler", {}),
    ("EDMEulerScheduler", {"sigma_schedule": "exponential", "sigma_data": 1.0, "prediction_type": "v_prediction"}),
    ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
]


def plan_of(name, changes, **more):
    """The plan read from what diffusers itself writes into scheduler_config.json."""
    scheduler = getattr(diffusers, name)(**changes)
    return scheduler, scheduler_plan(json.loads(scheduler.to_json_string()) | more)


@pytest.mark.parametrize(("name", "changes"), LEVELS, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("num_steps", [7, 25])
def test_discrete_schedulers_visit_the_same_levels(name, changes, num_steps):
    scheduler, plan = plan_of(name, changes)
    scheduler.set_timesteps(num_steps)
    levels = plan.times(num_steps)[:-1] * 1000 - 1
    torch.testing.assert_close(levels, scheduler.timesteps.double())
    assert isinstance(plan.process.path, VP)
    kept = plan.process.path.alpha((levels + 1) / 1000) ** 2
    torch.testing.assert_close(kept, scheduler.alphas_cumprod[levels.round().long()].double(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "changes"), RATIOS, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("num_steps", [6, 25])
def test_schedulers_of_sigmas_visit_the_same_ratios_of_noise_to_signal(name, changes, num_steps):
    scheduler, plan = plan_of(name, changes)
    scheduler.set_timesteps(num_steps)
    path, times = plan.process.path, plan.matrix(num_steps, 1)[:, 0]
    if isinstance(path, RectifiedFlow):
        torch.testing.assert_close(path.sigma(times), scheduler.sigmas.double(), atol=2e-6, rtol=1e-5)
    else:
        torch.testing.assert_close(path.sigma(times) / path.alpha(times), scheduler.sigmas.double(), atol=1e-5, rtol=2e-3)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("UniPCMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}),
        ("UniPCMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 5.0}),
        ("DPMSolverMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 5.0}),
        ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
@pytest.mark.parametrize("num_steps", [5, 6, 25, 50])
def test_networks_of_flow_schedulers_are_told_the_same_timestep(name, changes, num_steps):
    """Solvers with integer timesteps cut them: 999 at the start, not 1000."""
    scheduler, plan = plan_of(name, changes)
    scheduler.set_timesteps(num_steps)
    told = 1000 * plan.process.network_time(plan.times(num_steps)[:-1].float())
    torch.testing.assert_close(told, scheduler.timesteps.float(), atol=2e-3, rtol=0)


def test_paths_and_predictions():
    assert plan_of("EulerDiscreteScheduler", SVD)[1].process == Process(EDM(), "v")
    assert plan_of("EDMEulerScheduler", {})[1].process == Process(EDM(), "edm", sigma_data=0.5)
    zero = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
    assert plan_of("DDIMScheduler", SD | zero)[1].process == Process(VP(zero_terminal=True), "v")
    cosine = plan_of("DDPMScheduler", {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample", "variance_type": "fixed_large"})[1]
    assert (cosine.process.path.schedule, cosine.process.predicts, cosine.options) == ("cosine", "x0", {"variance": "large"})
    assert plan_of("DDPMScheduler", {"variance_type": "learned_range"})[1].options == {"variance": "learned"}
    assert {plan_of(name, {})[1].sampler for name in READERS} <= SAMPLERS.keys()


@pytest.mark.parametrize("changes", [{"set_alpha_to_one": False}, {"set_alpha_to_one": True}, {"clip_sample": True, "clip_sample_range": 0.4}])
def test_a_whole_ddim_trajectory_ends_where_the_scheduler_ends(changes):
    """Stable Diffusion's DDIM stops at its cleanest level and calls it done; clamps act on every prediction."""
    scheduler, plan = plan_of("DDIMScheduler", SD | {"steps_offset": 1, "clip_sample": False} | changes)
    scheduler.set_timesteps(10)
    net = well_apart(plan.process.path).network(plan.process)
    x = sample = initial_noise((2, 4, 2, 2), [0, 1])
    for timestep in scheduler.timesteps:
        t = torch.full((2,), (float(timestep) + 1) / 1000)
        sample = scheduler.step(net(sample, t), timestep, sample, use_clipped_model_output=True).prev_sample
    made = SAMPLERS[plan.sampler](plan.process.denoiser(net), x, plan.process.path, plan.matrix(10, 4), x0_hook=plan.x0_hook)
    torch.testing.assert_close(made, sample, atol=2e-5, rtol=1e-4)
    other = SAMPLERS[plan.sampler](plan.process.denoiser(net), x, plan.process.path, plan.matrix(10, 4))
    assert ((other - sample).abs().max() > 1e-2) == ("clip_sample_range" in changes)


def test_given_frames_stay_clean():
    plan = plan_of("DDIMScheduler", SD | {"set_alpha_to_one": False})[1]
    matrix = plan.matrix(4, 3, given=[1])
    assert matrix[:, 1].tolist() == [0.0] * 5
    assert matrix[-1].tolist() == [0.001, 0.0, 0.001]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("DDIMScheduler", {"beta_schedule": "sigmoid"}),
        ("DDIMScheduler", {"trained_betas": [0.1, 0.2]}),
        ("DDIMScheduler", {"thresholding": True}),
        ("DDIMScheduler", {"timestep_spacing": "logarithmic"}),
        ("DDPMScheduler", {"variance_type": "learned"}),
        ("EulerDiscreteScheduler", {"use_beta_sigmas": True}),
        ("EulerDiscreteScheduler", {"interpolation_type": "log_linear"}),
        ("EulerDiscreteScheduler", {"timestep_type": "continuous", "prediction_type": "v_prediction"}),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver"}),
        ("DPMSolverMultistepScheduler", {"solver_order": 3}),
        ("DPMSolverMultistepScheduler", {"prediction_type": "flow_prediction"}),
        ("UniPCMultistepScheduler", {"solver_type": "bh1"}),
        ("EDMEulerScheduler", {"prediction_type": "v_prediction", "sigma_data": 0.5}),
        ("FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True}),
        ("DDIMScheduler", {"rescale_betas_zero_snr": True}),
        ("DDIMScheduler", {"prediction": "epsilon"}),
    ],
)
def test_a_value_that_we_cannot_do_is_refused_by_name(name, wrong):
    with pytest.raises(ValueError, match=f"scheduler/x.json.*{next(iter(wrong))}"):
        scheduler_plan({"_class_name": name} | wrong, "scheduler/x.json")


def test_an_unknown_scheduler_names_the_nearest():
    with pytest.raises(ValueError, match=r"'DDIMScheduller' is not known.*Did you mean 'DDIMScheduler'"):
        scheduler_plan({"_class_name": "DDIMScheduller"})


def test_fields_left_over_from_another_class_change_nothing():
    """Public Stable Diffusion folders carry them: a config outlives the class it was written for."""
    plain = partial(scheduler_plan, origin="x")
    ours = {"_class_name": "EulerDiscreteScheduler"} | SD
    assert plain(ours | {"clip_sample": False, "skip_prk_steps": True, "set_alpha_to_one": False, "_diffusers_version": "0.6"}) == plain(ours)
