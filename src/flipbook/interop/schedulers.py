"""`scheduler_config.json` of diffusers as a process, a sampler and the levels it visits.

Other houses keep all three in one object with integer timesteps; here a scheduler is data: which path, what is predicted,
which of our samplers makes the same steps, and how its levels are spaced. A value that we cannot do is an error with its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from flipbook.hints import nearest
from flipbook.interop.config_read import checked
from flipbook.process.matrix import noise_levels
from flipbook.process.path import EDM, RectifiedFlow, shift_time
from flipbook.process.process import Prediction, Process
from flipbook.process.spacing import exponential, karras, leading, linspace, trailing
from flipbook.process.vp import VP, Schedule, level_times
from flipbook.samplers.common import Hook

Spacing = Literal["linspace", "leading", "trailing", "linspace+1", "leading+1", "flow", "uniform", "uniform-1", "karras", "exponential"]

PREDICTIONS: dict[str, Prediction] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0", "flow_prediction": "flow"}
BETAS: dict[str, Schedule] = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine"}


@dataclass(frozen=True, kw_only=True)
class SchedulerPlan:
    """What a scheduler config means.

    process:    path and prediction.                 sampler: name in `flipbook.samplers.SAMPLERS`, with its `options`.
    spacing:    which levels are visited; "+1" counts one step more and leaves out the last level, as multistep solvers do;
                "uniform-1" starts one level short of pure noise.
    offset:     added to the levels of "leading".    num_levels: N of a discrete schedule.
    ratio_min, ratio_max, rho: ends and exponent of "karras" and "exponential", in sigma / alpha. None: the ends of `base`.
    base:       the spacing that gives those ends; None: of all levels.
    last:       the t where sampling ends: 0, or 1 / N where the scheduler stops at its cleanest level and calls it done.
    x0_limit:   predictions of x0 are clamped to +- this and eps follows (arXiv:2006.11239's own code; the DDIM scheduler of diffusers
                keeps the old eps unless it is called with use_clipped_model_output).
    note:       where our steps are not those of the scheduler.
    """

    process: Process
    sampler: str
    options: dict[str, Any] = field(default_factory=dict)
    spacing: Spacing = "linspace"
    offset: int = 0
    num_levels: int = 1000
    ratio_min: float | None = None
    ratio_max: float | None = None
    rho: float = 7.0
    base: Spacing | None = None
    last: float = 0.0
    x0_limit: float | None = None
    note: str = ""

    def times(self, num_steps: int) -> Tensor:
        """(num_steps + 1,) float64 times, falling to 0. See `matrix` for schedulers that end before."""
        return self._times(num_steps, self.spacing)

    def matrix(self, num_steps: int, num_frames: int, *, given: Iterable[int] = ()) -> Tensor:
        """The noise-level matrix (num_steps + 1, num_frames) of the scheduler; generated frames end at `last`."""
        matrix = noise_levels(num_steps, num_frames, spacing=self.times(num_steps), given=given)
        matrix[-1] = (matrix[0] > 0) * torch.tensor(self.last, dtype=torch.float64).clamp(max=matrix[-2].max())
        return matrix

    @property
    def x0_hook(self) -> Hook | None:
        """The clamp on predictions, as samplers take it."""
        limit = self.x0_limit
        return None if limit is None else lambda x0, i: x0.clamp(-limit, limit)

    def _times(self, num_steps: int, spacing: Spacing) -> Tensor:
        n, path = self.num_levels, self.process.path
        if spacing == "linspace":
            return linspace(num_steps, last=1 / n)
        if spacing == "leading":
            return leading(num_steps, num_levels=n, offset=self.offset)
        if spacing == "trailing":
            return trailing(num_steps, num_levels=n)
        if spacing == "linspace+1":
            return _to_zero(level_times(torch.linspace(0, n - 1, num_steps + 1, dtype=torch.float64).round().flip(0)[:-1], n))
        if spacing == "leading+1":
            return _to_zero(level_times(torch.arange(num_steps, 0, -1) * (n // (num_steps + 1)) + self.offset, n))
        if spacing == "flow":                                               # the shifted 1 / N, shifted again by the path
            shift = path.shift if isinstance(path, RectifiedFlow) else 1.0
            return linspace(num_steps, last=float(shift_time(torch.tensor(1 / n, dtype=torch.float64), shift)))
        if spacing == "uniform":                                            # its first sigma is a millionth short of pure noise
            times = torch.linspace(1, 1 / n, num_steps + 1, dtype=torch.float64)[:-1]
            times[0] = path.time_at(torch.tensor((1 - 1e-6) / 1e-6, dtype=torch.float64))
            return _to_zero(times)
        if spacing == "uniform-1":
            return torch.linspace(1 - 1 / n, 0, num_steps + 1, dtype=torch.float64)
        ends = self._times(num_steps, self.base)[[0, -2]] if self.base else torch.tensor([1.0, 1 / n], dtype=torch.float64)
        high, low = (path.sigma(ends) / path.alpha(ends)).tolist()
        high, low = self.ratio_max or high, self.ratio_min or low
        if spacing == "karras":
            return karras(num_steps, path=path, ratio_min=low, ratio_max=high, rho=self.rho)
        return exponential(num_steps, path=path, ratio_min=low, ratio_max=high)


def scheduler_plan(config: Mapping[str, Any], origin: str = "scheduler_config.json") -> SchedulerPlan:
    """What a scheduler config means. Raises ValueError, naming `origin`, for a class, field or value that we cannot do."""
    name = str(config.get("_class_name"))
    if name not in READERS:
        raise ValueError(f"{origin}: scheduler {name!r} is not known to this version of flipbook. {nearest(name, READERS)}")
    return READERS[name](config, origin)


def _ddpm(config: Mapping[str, Any], origin: str) -> SchedulerPlan:
    read = {"variance_type": "fixed_small"} | CLIP | DISCRETE
    v = _read(config, origin, read, {"variance_type": tuple(VARIANCES)})
    variance = VARIANCES[v["variance_type"]]
    return SchedulerPlan(process=_discrete(v, origin), sampler="ddpm", options={"variance": variance}, **_levels(v), **_clip(v))


def _ddim(config: Mapping[str, Any], origin: str) -> SchedulerPlan:
    v = _read(config, origin, {"set_alpha_to_one": True} | CLIP | DISCRETE)
    last = 0.0 if v["set_alpha_to_one"] else 1 / v["num_train_timesteps"]
    return SchedulerPlan(process=_discrete(v, origin), sampler="ddim", last=last, **_levels(v), **_clip(v))


def _pndm(config: Mapping[str, Any], origin: str) -> SchedulerPlan:
    v = _read(config, origin, {"set_alpha_to_one": False} | DISCRETE, {"skip_prk_steps": (True, False)})
    last = 0.0 if v["set_alpha_to_one"] else 1 / v["num_train_timesteps"]
    note = "PNDM's linear multistep is not a sampler of ours: DDIM visits the same levels, one order lower"
    return SchedulerPlan(process=_discrete(v, origin), sampler="ddim", last=last, note=note, **_levels(v))


def _euler(config: Mapping[str, Any], origin: str) -> SchedulerPlan:
    v = _read(
        config,
        origin,
        {"sigma_min": None, "sigma_max": None, "timestep_type": "discrete", "final_sigmas_type": "zero"} | CURVES | DISCRETE_LINSPACE,
        {"interpolation_type": ("linear",), "timestep_type": ("discrete", "continuous"), "final_sigmas_type": ("zero", "sigma_min")},
    )
    levels = _curve(v, _levels(v), whole_table=False)
    last = 1 / v["num_train_timesteps"] if v["final_sigmas_type"] == "sigma_min" else 0.0
    if v["timestep_type"] == "continuous" and v["prediction_type"] == "v_prediction":
        missing = [key for key in ("sigma_min", "sigma_max") if v[key] is None]
        if missing or levels["spacing"] not in ("karras", "exponential") or last:
            raise ValueError(
                f"{origin}: timestep_type='continuous' is supported with use_karras_sigmas (or use_exponential_sigmas), sigma_min, "
                f"sigma_max and final_sigmas_type='zero', as in Stable Video Diffusion. Missing here: {missing or 'one of them'}."
            )
        return SchedulerPlan(process=Process(EDM(), "v"), sampler="euler", **levels)
    return SchedulerPlan(process=_discrete(v, origin), sampler="euler", last=last, **levels)


def _euler_ancestral(config: Mapping[str, Any], origin: str) -> SchedulerPlan:
    v = _read(config, origin, DISCRETE_LINSPACE)
    return SchedulerPlan(process=_discrete(v, origin), sampler="euler_ancestral", **_levels(v))


def _dpm_solver(config: Mapping[str, Any], origin: str) -> SchedulerPlan:
    v = _read(
        config,
        origin,
        {"algorithm_type": "dpmsolver++"} | FLOW | CURVES | DISCRETE_LINSPACE,
        {
            "algorithm_type": ("dpmsolver++", "sde-dpmsolver++"), "solver_order": (2,), "solver_type": ("midpoint",),
            "lower_order_final": (True,), "euler_at_final": (True, False), "use_lu_lambdas": (False, None), "final_sigmas_type": ("zero",),
            "variance_type": (None,), "lambda_min_clipped": (-float("inf"), None),
        },
    )  # fmt: skip
    return _multistep(v, origin, "dpmpp_2m_sde" if v["algorithm_type"] == "sde-dpmsolver++" else "dpmpp_2m", {}, "uniform-1")


def _unipc(config: Mapping[str, Any], origin: str) -> SchedulerPlan:
    v = _read(
        config,
        origin,
        {"solver_order": 2} | FLOW | CURVES | DISCRETE_LINSPACE,
        {
            "solver_order": (1, 2, 3), "solver_type": ("bh2",), "predict_x0": (True,), "lower_order_final": (True,),
            "disable_corrector": ([],), "solver_p": (None,), "final_sigmas_type": ("zero",), "shift_terminal": (None,),
            "sigma_min": (None,), "sigma_max": (None,),
        },
    )  # fmt: skip
    return _multistep(v, origin, "unipc", {"order": v["solver_order"]}, "uniform")


def _edm_euler(config: Mapping[str, Any], origin: str) -> SchedulerPlan:
    v = _read(
        config,
        origin,
        {
            "sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5, "sigma_schedule": "karras", "rho": 7.0,
            "num_train_timesteps": 1000, "prediction_type": "epsilon",
        },
        {"sigma_schedule": ("karras", "exponential"), "final_sigmas_type": ("zero",), "prediction_type": ("epsilon", "v_prediction")},
    )  # fmt: skip
    if v["prediction_type"] == "v_prediction" and v["sigma_data"] != 1.0:
        raise ValueError(f"{origin}: prediction_type='v_prediction' is supported with sigma_data=1.0, not {v['sigma_data']}.")
    process = Process(EDM(), "v") if v["prediction_type"] == "v_prediction" else Process(EDM(), "edm", sigma_data=v["sigma_data"])
    return SchedulerPlan(
        process=process, sampler="euler", spacing=v["sigma_schedule"], num_levels=v["num_train_timesteps"],
        ratio_min=v["sigma_min"], ratio_max=v["sigma_max"], rho=v["rho"],
    )  # fmt: skip


def _flow_euler(config: Mapping[str, Any], origin: str) -> SchedulerPlan:
    v = _read(
        config,
        origin,
        {"shift": 1.0, "num_train_timesteps": 1000},
        dict.fromkeys(("use_dynamic_shifting", "invert_sigmas", "stochastic_sampling", "shift_terminal", *CURVES), (False, None)),
    )
    process = Process(RectifiedFlow(shift=float(v["shift"])), "flow", clock="sigma")
    return SchedulerPlan(process=process, sampler="euler", spacing="flow", num_levels=v["num_train_timesteps"])


def _multistep(v: dict[str, Any], origin: str, sampler: str, options: dict[str, Any], flow: Spacing) -> SchedulerPlan:
    if v["use_flow_sigmas"] or v["prediction_type"] == "flow_prediction":
        if not v["use_flow_sigmas"] or v["prediction_type"] != "flow_prediction" or v["use_karras_sigmas"] or v["use_exponential_sigmas"]:
            raise ValueError(f"{origin}: use_flow_sigmas=True and prediction_type='flow_prediction' are supported together, and alone.")
        process = Process(RectifiedFlow(shift=float(v["flow_shift"])), "flow", clock="level")
        return SchedulerPlan(process=process, sampler=sampler, options=options, spacing=flow, num_levels=v["num_train_timesteps"])
    levels = _levels(v)
    if levels["spacing"] != "trailing":
        levels["spacing"] += "+1"
    return SchedulerPlan(process=_discrete(v, origin), sampler=sampler, options=options, **_curve(v, levels, whole_table=True))


VARIANCES = {
    "fixed_small": "small", "fixed_small_log": "small", "fixed_large": "large", "fixed_large_log": "large", "learned_range": "learned",
}  # fmt: skip
DISCRETE = {
    "num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "prediction_type": "epsilon",
    "timestep_spacing": "leading", "steps_offset": 0, "rescale_betas_zero_snr": False,
}  # fmt: skip
DISCRETE_LINSPACE = DISCRETE | {"timestep_spacing": "linspace"}
CURVES = {"use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": False}
CLIP = {"clip_sample": True, "clip_sample_range": 1.0}
FLOW = {"use_flow_sigmas": False, "flow_shift": 1.0}
FIXED = {
    "trained_betas": (None,), "thresholding": (False, None), "use_beta_sigmas": (False, None), "use_dynamic_shifting": (False, None),
    "beta_schedule": tuple(BETAS), "prediction_type": tuple(PREDICTIONS), "timestep_spacing": ("linspace", "leading", "trailing"),
}  # fmt: skip
READERS = {
    "DDPMScheduler": _ddpm,
    "DDIMScheduler": _ddim,
    "PNDMScheduler": _pndm,
    "EulerDiscreteScheduler": _euler,
    "EulerAncestralDiscreteScheduler": _euler_ancestral,
    "DPMSolverMultistepScheduler": _dpm_solver,
    "UniPCMultistepScheduler": _unipc,
    "EDMEulerScheduler": _edm_euler,
    "FlowMatchEulerDiscreteScheduler": _flow_euler,
}
"""Class name to what reads its config."""

FOREIGN = frozenset(
    {
        *CURVES, *CLIP, *FLOW, "variance_type", "set_alpha_to_one", "skip_prk_steps", "solver_order", "solver_type", "algorithm_type",
        "lower_order_final", "euler_at_final", "lambda_min_clipped", "predict_x0", "disable_corrector", "solver_p", "final_sigmas_type",
        "dynamic_thresholding_ratio", "sample_max_value", "interpolation_type", "timestep_type", "sigma_min", "sigma_max", "sigma_data",
        "sigma_schedule", "rho", "use_lu_lambdas", "shift", "base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len",
        "time_shift_type", "shift_terminal", "invert_sigmas", "stochastic_sampling", "num_train_timesteps", "beta_start", "beta_end",
        "steps_offset", "rescale_betas_zero_snr",
    }
)  # fmt: skip
"""Fields of other classes: configs keep them when a scheduler is made from another one's. A class that has the field reads it."""


def _read(
    config: Mapping[str, Any], origin: str, read: Mapping[str, Any], fixed: Mapping[str, Iterable[Any]] | None = None
) -> dict[str, Any]:
    allowed = FIXED | {key: tuple(values) for key, values in (fixed or {}).items()}
    return checked(config, origin, read=read, fixed=allowed, ignored=FOREIGN)


def _discrete(v: Mapping[str, Any], origin: str) -> Process:
    predicts = PREDICTIONS[v["prediction_type"]]
    if predicts == "flow":
        raise ValueError(f"{origin}: prediction_type='flow_prediction' needs a flow schedule. Only with use_flow_sigmas is it supported.")
    if predicts == "eps" and v["rescale_betas_zero_snr"]:
        raise ValueError(
            f"{origin}: prediction_type='epsilon' with rescale_betas_zero_snr=True: at pure noise eps says nothing about the video. "
            "Such networks predict v: try 'v_prediction' if the weights were trained so."
        )
    path = VP(
        schedule=BETAS[v["beta_schedule"]], num_levels=v["num_train_timesteps"], beta_start=v["beta_start"], beta_end=v["beta_end"],
        zero_terminal=bool(v["rescale_betas_zero_snr"]),
    )  # fmt: skip
    return Process(path, predicts)


def _levels(v: Mapping[str, Any]) -> dict[str, Any]:
    return {"spacing": v["timestep_spacing"], "offset": v["steps_offset"], "num_levels": v["num_train_timesteps"]}


def _clip(v: Mapping[str, Any]) -> dict[str, Any]:
    return {"x0_limit": v["clip_sample_range"] if v["clip_sample"] else None}


def _curve(v: Mapping[str, Any], levels: dict[str, Any], *, whole_table: bool) -> dict[str, Any]:
    """Levels along a curve of sigma / alpha instead; its ends are those of the whole table, or of the spaced levels."""
    for key, spacing in (("use_karras_sigmas", "karras"), ("use_exponential_sigmas", "exponential")):
        if v[key]:
            base = None if whole_table else levels["spacing"]
            return levels | {"spacing": spacing, "base": base, "ratio_min": v.get("sigma_min"), "ratio_max": v.get("sigma_max")}
    return levels


def _to_zero(times: Tensor) -> Tensor:
    return torch.cat([times, times.new_zeros(1)])
