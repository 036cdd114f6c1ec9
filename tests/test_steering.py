"""Energies and hooks: closed forms on linear denoisers and on Gaussians whose denoiser is exact."""

from __future__ import annotations

import pytest
import torch

from flipbook.guidance import guide, oscillating
from flipbook.process import Cosine, NoiseSource, RectifiedFlow, expand_t, initial_noise, noise_levels
from flipbook.samplers import sample_ddim, sample_ddpm
from flipbook.steering import (
    clip_at,
    dynamic_threshold,
    langevin,
    reconstruction_guidance,
    reconstruction_of_small,
    replacement,
    with_energy,
)

GIVEN = torch.tensor([[True, False]])                       # of two frames the first is known
RHO, KNOWN = 0.8, 1.5


def pair_denoiser(path):
    """E[x0 | x] of two frames of one number, x0 ~ N(0, [[1, rho], [rho, 1]])."""
    covariance = torch.tensor([[1.0, RHO], [RHO, 1.0]])

    def denoise(x, t):
        alpha, sigma = path.alpha(t[0, 0]), path.sigma(t[0, 0])
        gain = alpha * covariance @ torch.linalg.inv(alpha**2 * covariance + sigma**2 * torch.eye(2))
        return torch.einsum("ij,bcjhw->bcihw", gain, x)

    return denoise


def draws(num, seed):
    """Noise for many pairs at once, from one generator."""
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(num, 1, 2, 1, 1, generator=generator)


def wanted_frames(sampler, weight, first, *, steps=60, **options):
    """The second frame of pairs whose first one is given, (num,)."""
    path, num = Cosine(), len(first)
    noise = draws(num, 0)
    matrix = noise_levels(steps, 2)
    matrix[0] = 0.999
    given = first[:, None, None, None, None].expand(num, 1, 2, 1, 1)
    denoise = reconstruction_guidance(pair_denoiser(path), given, GIVEN, path, weight=weight)
    hook = replacement(given, GIVEN, path, matrix, draws(num, 1))
    return sampler(denoise, noise(), path, matrix, state_hook=hook, **options)[:, 0, 1, 0, 0]


def conditional_mean(sampler, weight, *, num=2000, **options):
    """Mean and std of the wanted frame when the first is given as KNOWN."""
    wanted = wanted_frames(sampler, weight, torch.full((num,), KNOWN), **options)
    return wanted.mean().item(), wanted.std().item()


def test_reconstruction_guidance_of_a_linear_denoiser_is_its_closed_form():
    """x0 = A x: the wanted frames move by w alpha A_ab^T (given - A_a x), the given ones keep their bits."""
    path, n = Cosine(), 2 * 3 * 3
    g = torch.Generator().manual_seed(0)
    a = torch.randn(2 * n, 2 * n, generator=g, dtype=torch.float64) / 6
    x, given = torch.randn(2, 1, 2, 2, 3, 3, generator=g, dtype=torch.float64)
    t = torch.tensor([0.3], dtype=torch.float64)
    flat = lambda z: z.transpose(1, 2).reshape(-1)           # frame by frame
    denoise = lambda z, t: (a @ flat(z)).reshape(1, 2, 2, 3, 3).transpose(1, 2)
    guided = flat(reconstruction_guidance(denoise, given, GIVEN, path, weight=1.7)(x, t))
    plain = a @ flat(x)
    moved = plain[n:] + 1.7 * path.alpha(t) * a[:n, n:].T @ (flat(given)[:n] - plain[:n])
    torch.testing.assert_close(guided[n:], moved, atol=1e-6, rtol=1e-6)
    assert torch.equal(guided[:n], plain[:n])


def test_guidance_brings_the_wanted_frame_nearer_to_the_truth_and_the_other_sign_farther():
    """Truth: mean rho * 1.5 = 1.2. The figures are those of a run of the same toy with 400 steps."""
    replaced, _ = conditional_mean(sample_ddim, 0.0)
    guided, _ = conditional_mean(sample_ddim, 2.0)
    wrong, _ = conditional_mean(sample_ddim, -2.0)
    assert wrong < replaced - 0.1 < guided - 0.3 < 1.2
    assert replaced == pytest.approx(0.53, abs=0.06)
    assert guided == pytest.approx(0.86, abs=0.06)


def test_frames_that_belong_together_do_so_more_with_guidance_and_less_with_the_other_sign():
    """Truth: frames correlate by rho. The given ones are drawn as the data are."""
    first = torch.randn(2000, generator=torch.Generator().manual_seed(5))
    replaced, guided, wrong = (torch.corrcoef(torch.stack([first, wanted_frames(sample_ddpm, w, first, noise=draws(2000, 2))]))[0, 1] for w in (0.0, 1.0, -1.0))
    assert wrong < replaced - 0.05 < guided - 0.1 < RHO


def test_too_much_guidance_overshoots_and_narrows():
    good, spread = conditional_mean(sample_ddpm, 2.0, noise=draws(2000, 2))
    much, narrow = conditional_mean(sample_ddpm, 5.0, noise=draws(2000, 2))
    assert good == pytest.approx(1.09, abs=0.06)
    assert much > 1.3
    assert narrow < spread


def test_weight_zero_is_the_denoiser_itself():
    denoise = lambda x, t: x
    assert with_energy(denoise, lambda x0: x0, Cosine(), weight=0) is denoise


def test_each_sample_is_pulled_by_its_own_energy_alone():
    path, denoise = Cosine(), lambda x, t: 0.5 * x
    x, t = initial_noise((1, 2, 4, 4), [0, 1]), torch.full((2,), 0.4)
    small = initial_noise((1, 2, 2, 2), [2, 3])
    both = with_energy(denoise, reconstruction_of_small(small), path, weight=3.0)(x, t)
    one = with_energy(denoise, reconstruction_of_small(small[1:]), path, weight=3.0)(x[1:], t[1:])
    torch.testing.assert_close(both[1:], one)
    assert not torch.equal(both, denoise(x, t))


def test_a_small_clip_is_met_by_guided_super_resolution():
    """With the exact denoiser of white noise, the averages of the sample lean to the small clip, by more with more weight."""
    path = Cosine()
    denoise = lambda x, t: expand_t(path.alpha(t), x) * x
    small = 0.5 * initial_noise((1, 2, 2, 2), [5])
    matrix, x = noise_levels(40, 2), initial_noise((1, 2, 4, 4), [6])
    errors = []
    for weight in (0.0, 2.0, 8.0):
        energy = reconstruction_of_small(small)
        errors.append(energy(sample_ddim(with_energy(denoise, energy, path, weight=weight), x, path, matrix)).item())
    assert errors[0] > 2 * errors[1] > 3 * errors[2]


def test_energies_work_inside_inference_mode():
    x, t = initial_noise((1, 2, 4, 4), [0]), torch.full((1,), 0.4)
    denoise = lambda x, t: x * x
    guided = with_energy(denoise, lambda x0: x0.flatten(1).sum(1), Cosine())
    with torch.inference_mode():
        inside = guided(x, t)
    torch.testing.assert_close(inside, guided(x, t))


def test_replaced_frames_stand_at_their_level_and_others_keep_their_bits():
    path, matrix = RectifiedFlow(), noise_levels(4, 2)
    given, x = torch.full((500, 1, 2, 4, 4), 3.0), initial_noise((1, 2, 4, 4), list(range(500)))
    hook = replacement(given, GIVEN, path, matrix, NoiseSource((1, 2, 4, 4), list(range(500))))
    first, again = hook(x, 1), hook(x, 1)
    assert torch.equal(first[:, :, 1], x[:, :, 1])
    assert not torch.equal(first[:, :, 0], again[:, :, 0])                  # a fresh draw each time
    assert first[:, :, 0].mean().item() == pytest.approx(0.25 * 3.0, abs=0.03)
    assert first[:, :, 0].std().item() == pytest.approx(0.75, abs=0.03)


def test_langevin_steps_keep_the_distribution_that_they_are_in():
    """x ~ N(0, 1) at every level of a variance-preserving path when data are standard normal; a wrong start is drawn to it."""
    path = Cosine()
    denoise = lambda x, t: expand_t(path.alpha(t), x) * x
    matrix, noise = noise_levels(2, 1), NoiseSource((1, 1, 40, 40), [1])
    hook = langevin(denoise, path, matrix, noise, step=0.05)
    x = 2.0 * initial_noise((1, 1, 40, 40), [0])
    for _ in range(400):
        x = hook(x, 1)
    assert x.std().item() == pytest.approx(1.0, abs=0.06)


def test_a_dynamic_threshold_leaves_small_predictions_and_rescales_large_ones_sample_by_sample():
    x0 = initial_noise((3, 2, 8, 8), [0, 1]).clamp(-1, 1)
    x0[1] = 4.0 * x0[1]
    out = dynamic_threshold(1.0)(x0, 0)
    assert torch.equal(out[0], x0[0])
    torch.testing.assert_close(out[1], x0[1] / 4.0)
    cut = dynamic_threshold(0.9)(x0, 0)
    assert cut.abs().max() <= 1.0
    share = (cut[1].abs() >= 1.0 - 1e-6).float().mean().item()
    assert share == pytest.approx(max(0.1, (x0[1].abs() == 4).float().mean().item()), abs=0.01)
    torch.testing.assert_close(dynamic_threshold(1.0, limit=2.0)(x0, 0)[1], x0[1] / 2.0)
    assert torch.equal(dynamic_threshold(1.0, limit=2.0)(x0, 0)[0], x0[0])
    faint = 0.3 * x0[:1]                                                    # far below what data has: no contrast is put there
    assert torch.equal(dynamic_threshold(0.9)(faint, 0), faint)


def test_values_are_cut_at_both_ends_and_between_them_stay():
    x0 = torch.tensor([-3.0, -0.5, 0.25, 3.0])
    assert clip_at(0.5)(x0, 0).tolist() == [-0.5, -0.5, 0.25, 0.5]
    assert clip_at(2.0)(x0, 0).tolist() == [-2.0, -0.5, 0.25, 2.0]


def test_oscillating_guidance_is_high_first_and_then_every_other_step():
    matrix = noise_levels(8, 3)
    weight = oscillating(matrix[:, 0], high=15.0, low=1.0, constant=3)
    read = [weight(row.float()[None])[0, 0].item() for row in matrix[:-1]]
    assert read == [15, 15, 15, 1, 15, 1, 15, 1]
    ran = []
    branches = {name: lambda x, t, name=name: ran.append(name) or x for name in ("uncond", "cond")}
    guide(branches, [("uncond", 1), ("cond", weight)])(torch.zeros(1, 1, 3, 1, 1), matrix[3].float()[None])
    assert ran == ["cond"]                                                  # a low step of weight 1 costs one call


def test_a_weight_below_one_pulls_back_to_the_branch_before():
    branches = {"unmasked": lambda x, t: torch.zeros_like(x), "masked": lambda x, t: torch.ones_like(x)}
    pulled = guide(branches, [("unmasked", 1), ("masked", 0.9)])(torch.zeros(1, 1, 1, 1, 1), torch.ones(1))
    assert pulled.item() == pytest.approx(0.9)
