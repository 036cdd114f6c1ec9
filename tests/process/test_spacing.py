"""Which levels a sampler visits, against the published formulas and diffusers' schedulers."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from flipbook.process import EDM, VP, RectifiedFlow, level_times
from flipbook.process.spacing import exponential, karras, leading, linspace, sgm_uniform, trailing, uniform

SPACINGS = {
    "uniform": uniform,
    "linspace": linspace,
    "sgm_uniform": sgm_uniform,
    "leading": leading,
    "leading with offset": partial(leading, offset=1),
    "trailing": trailing,
    "karras": partial(karras, path=EDM()),
    "karras on a table": partial(karras, path=VP(), ratio_min=0.03, ratio_max=14.0),
    "exponential": partial(exponential, path=RectifiedFlow(3.0)),
}


@pytest.mark.parametrize("spacing", SPACINGS.values(), ids=SPACINGS)
@pytest.mark.parametrize("num_steps", [1, 2, 7, 50])
def test_times_fall_strictly_to_zero(spacing, num_steps):
    times = spacing(num_steps)
    assert times.shape == (num_steps + 1,)
    assert times.dtype == torch.float64
    assert times[0] <= 1
    assert (times.diff() < 0).all()
    assert times[-1] == 0


@pytest.mark.parametrize("kind", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("num_steps", [4, 10, 30, 999])
def test_discrete_spacings_are_those_of_diffusers(kind, num_steps):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.EulerDiscreteScheduler(timestep_spacing=kind, steps_offset=0)
    scheduler.set_timesteps(num_steps)
    expected = level_times(scheduler.timesteps, 1000)
    torch.testing.assert_close(SPACINGS[kind](num_steps)[:-1], expected, rtol=0, atol=1e-6)


def test_sgm_uniform_is_the_linspace_of_multistep_schedulers_before_rounding():
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DPMSolverMultistepScheduler()
    scheduler.set_timesteps(20)
    torch.testing.assert_close(sgm_uniform(20)[:-1], level_times(scheduler.timesteps, 1000), rtol=0, atol=0.51e-3)


def test_karras_is_equation_5():
    n, rho = 10, 7.0
    i = np.arange(n)
    sigmas = (80 ** (1 / rho) + i / (n - 1) * (0.002 ** (1 / rho) - 80 ** (1 / rho))) ** rho
    t = karras(n, path=EDM())[:-1]
    np.testing.assert_allclose((EDM().sigma(t) / EDM().alpha(t)).numpy(), sigmas, rtol=1e-9)


def test_exponential_is_karras_with_a_large_rho():
    a = exponential(10, path=EDM())
    torch.testing.assert_close(karras(10, path=EDM(), rho=1e5), a, rtol=0, atol=1e-4)


@pytest.mark.parametrize("spacing", SPACINGS.values(), ids=SPACINGS)
def test_no_steps_are_refused(spacing):
    with pytest.raises(ValueError, match="num_inference_steps=0"):
        spacing(0)


def test_more_steps_than_levels_are_refused():
    with pytest.raises(ValueError, match="1000 levels"):
        trailing(1001)
