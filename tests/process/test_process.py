"""The algebra of predictions: each one means the same clean sample."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest
import torch

from flipbook.process import EDM, VP, Cosine, Prediction, Process, RectifiedFlow, expand_t

PATHS = [RectifiedFlow(), RectifiedFlow(5.0), EDM(), Cosine(2.0), VP(), VP("cosine", zero_terminal=True)]
KINDS = get_args(Prediction)


def data(t):
    g = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(len(t), 2, 3, 2, 2, generator=g, dtype=t.dtype) for _ in range(2))
    return 0.5 * x0, eps


@pytest.mark.parametrize(("path", "predicts"), [*product(PATHS, KINDS)], ids=str)
def test_a_target_leads_back_to_its_sample(path, predicts):
    process = Process(path, predicts, sigma_data=0.5)
    g = torch.Generator().manual_seed(1)
    for t in (torch.rand(4, generator=g) * 0.9, torch.rand(4, 3, generator=g) * 0.9):
        x0, eps = data(t)
        x = process.add_noise(x0, eps, t)
        prediction = process.target(x0, eps, t)
        torch.testing.assert_close(process.to_x0(prediction, x, t), x0, rtol=0, atol=1e-5)
        torch.testing.assert_close(process.to_eps(x0, x, t), eps, rtol=0, atol=1e-5 / path.sigma(t).min().item())


@pytest.mark.parametrize(("path", "predicts"), [*product(PATHS, KINDS)], ids=str)
def test_both_ends_are_finite(path, predicts):
    """A clean frame comes back bit for bit, and at pure noise every prediction but eps still means a sample."""
    process = Process(path, predicts, sigma_data=0.5)
    t = torch.tensor([[0.0, 0.5, 1.0]])
    x0, eps = data(t)
    x, target = process.add_noise(x0, eps, t), process.target(x0, eps, t)
    assert torch.equal(x[:, :, 0], x0[:, :, 0])
    assert target.isfinite().all()
    assert process.to_eps(x0, x, t)[:, :, 0].abs().max() == 0
    if predicts == "eps" and (path.alpha(t) == 0).any():
        with pytest.raises(ValueError, match="alpha = 0"):
            process.to_x0(target, x, t)
    else:
        torch.testing.assert_close(process.to_x0(target, x, t), x0, rtol=0, atol=2e-5)


@pytest.mark.parametrize("std", [0.5, 1.0])
def test_edm_is_the_preconditioning_of_its_paper(std):
    """arXiv 2206.00364, table 1, in EDM's own state y = x0 + sigma n; our x is y times alpha."""
    process, ratio = Process(EDM(), "edm", sigma_data=std), torch.tensor([0.01, 0.5, 80.0], dtype=torch.float64)
    t = EDM().time_at(ratio)
    x0, eps = data(t)
    x, sigma = process.add_noise(x0, eps, t), expand_t(ratio, x0)
    y, scale = x0 + sigma * eps, torch.sqrt(sigma**2 + std**2)
    raw = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(process.network_input(x, t), y / scale)
    torch.testing.assert_close(process.to_x0(raw, x, t), std**2 / scale**2 * y + sigma * std / scale * raw)


def test_edm_with_data_of_unit_std_is_v_with_its_sign_turned():
    t = torch.rand(4, dtype=torch.float64)
    x0, eps = data(t)
    edm, v = Process(EDM(), "edm"), Process(EDM(), "v")
    torch.testing.assert_close(edm.target(x0, eps, t), -v.target(x0, eps, t))
    torch.testing.assert_close(edm.network_input(x0, t), x0)


def test_the_edm_target_and_input_have_unit_variance():
    process, t = Process(EDM(), "edm", sigma_data=0.5), torch.linspace(0, 1, 5)
    g = torch.Generator().manual_seed(0)
    x0, eps = 0.5 * torch.randn(5, 1, 1, 100, 100, generator=g), torch.randn(5, 1, 1, 100, 100, generator=g)
    for y in (process.target(x0, eps, t), process.network_input(process.add_noise(x0, eps, t), t)):
        torch.testing.assert_close(y.flatten(1).std(1), torch.ones(5), rtol=0, atol=0.03)


def test_per_sample_and_per_frame_times_agree():
    process, t = Process(VP(), "v"), torch.rand(4)
    x0, eps = data(t)
    frames = t[:, None].expand(4, 3)
    assert torch.equal(process.add_noise(x0, eps, t), process.add_noise(x0, eps, frames))
    assert torch.equal(process.target(x0, eps, t), process.target(x0, eps, frames))


def test_a_denoiser_hands_the_scaled_state_and_the_doors_to_the_network():
    process, t = Process(EDM(), "edm", sigma_data=0.5), torch.full((4,), 0.5)
    x, _ = data(t)
    seen = []

    def net(x, t, doors, *, frame_index):
        seen.append((x, t, doors, frame_index))
        return torch.zeros_like(x)

    x0 = process.denoiser(net, "doors", frame_index=3)(x, t)
    assert torch.equal(seen[0][0], process.network_input(x, t))
    assert seen[0][2:] == ("doors", 3)
    assert torch.equal(x0, process.to_x0(torch.zeros_like(x), x, t))


@pytest.mark.parametrize("shape", [(3,), (4, 2), (), (4, 1, 3, 1, 1)])
def test_times_that_fit_neither_samples_nor_frames_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(4,\) or \(4, 3\)"):
        expand_t(torch.zeros(shape), torch.zeros(4, 2, 3, 2, 2))


def test_a_process_that_cannot_be_says_what_to_try():
    with pytest.raises(ValueError, match="Try one of eps"):
        Process(EDM(), "epsilon")
    with pytest.raises(ValueError, match="sigma_data"):
        Process(EDM(), "edm", sigma_data=0.0)


def test_the_clock_says_what_a_network_is_told_and_changes_nothing_else():
    t, path = torch.tensor([0.0, 0.25, 0.5, 0.9, 1.0]), RectifiedFlow(3.0)
    told = {clock: Process(path, "flow", clock=clock).network_time(t) for clock in ("t", "sigma", "level")}
    assert torch.equal(told["t"], t)
    torch.testing.assert_close(told["sigma"], torch.tensor([0.0, 0.5, 0.75, 2.7 / 2.8, 1.0]))
    torch.testing.assert_close(told["level"], torch.tensor([0.0, 0.5, 0.75, 0.964, 0.999]))
    x = torch.ones(5, 1, 1, 1, 1)
    denoise = [Process(path, "flow", clock=clock).denoiser(lambda x, t: x)(x, t) for clock in ("t", "sigma")]
    assert torch.equal(*denoise)
    with pytest.raises(ValueError, match="clock='wall'"):
        Process(path, "flow", clock="wall")
