"""What holds for every sampler on every path: where it lands, which frames it leaves alone, what the hooks see."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from analytic import Mixture, well_apart
from flipbook.process import (
    EDM,
    VP,
    Cosine,
    NoiseSource,
    Process,
    RectifiedFlow,
    autoregressive_levels,
    from_strength,
    initial_noise,
    noise_levels,
    pyramid_levels,
)
from flipbook.process.spacing import karras, trailing
from flipbook.samplers import SAMPLERS, puts_noise, sample_ddim, sample_dpmpp_2m_sde, sample_euler, sample_unipc
from flipbook.samplers import __all__ as public_names

SHAPE = (2, 4, 2, 2)
PATHS = [RectifiedFlow(), RectifiedFlow(3.0), EDM(), Cosine(), VP(), VP("cosine"), VP("linear", zero_terminal=True)]
every_sampler = pytest.mark.parametrize("name", SAMPLERS)
every_path = pytest.mark.parametrize("path", PATHS, ids=str)


def run(name, path, matrix, seeds, *, denoise=None, x=None, **options):
    """One sampler on the mixture, from the seeds' own noise."""
    noise = NoiseSource(SHAPE, seeds)
    start = noise()
    x = start if x is None else x
    denoise = well_apart(path).denoise if denoise is None else denoise
    return SAMPLERS[name](denoise, x, path, matrix, noise=noise, **options)


def modes_of(x0, mixture):
    return mixture.posterior(x0, torch.zeros(len(x0))).argmax(1)


@every_sampler
def test_samples_land_on_the_modes_in_their_shares_with_their_spread(name):
    """Shares 1/6, 2/6, 3/6; 384 samples bring the estimate within 0.07 (three standard errors)."""
    path, num = RectifiedFlow(), 384
    mixture = well_apart(path)
    x0 = run(name, path, noise_levels(48, 4, spacing=trailing), list(range(num)))
    modes = modes_of(x0, mixture)
    shares = torch.bincount(modes, minlength=3) / num
    torch.testing.assert_close(shares, mixture.shares, rtol=0, atol=0.07)
    residual = x0 - mixture.means[modes]
    assert abs(residual.mean()) < 0.02
    assert residual.std() == pytest.approx(mixture.std, rel=0.12)


@every_sampler
@every_path
def test_the_conditional_denoiser_leads_to_its_mode_from_pure_noise(name, path):
    """t = 1 is a legal first level, also where alpha = 0 there."""
    mixture = well_apart(path)
    x0 = run(name, path, noise_levels(16, 4), [0, 1, 2], denoise=mixture.conditional(1))
    assert x0.isfinite().all()
    assert (x0 - mixture.means[1]).abs().max() < 5 * mixture.std
    assert (x0 - mixture.means[1]).std() > 0.5 * mixture.std


@every_sampler
@every_path
def test_given_frames_keep_their_bits_and_decide_the_others(name, path):
    mixture = well_apart(path, std=0.1)
    seeds = list(range(8))
    for mode in range(3):
        clip = mixture.draw(len(seeds), seed=mode, mode=mode)
        x = initial_noise(SHAPE, seeds)
        x[:, :, [0, 3]] = clip[:, :, [0, 3]]
        x0 = run(name, path, noise_levels(12, 4, given=[0, 3]), seeds, x=x, denoise=mixture.denoise)
        assert torch.equal(x0[:, :, [0, 3]], clip[:, :, [0, 3]])
        assert (modes_of(x0, mixture) == mode).all()
        assert (x0 - mixture.means[mode]).abs().max() < 0.6


@every_sampler
@pytest.mark.parametrize(
    "matrix",
    [
        autoregressive_levels(6, 4),
        autoregressive_levels(6, 4, chunk=2, given=[0]),
        pyramid_levels(6, 4, delay=1.5),
        torch.tensor([[1, 1, 1, 0], [0.7, 1, 0.8, 0], [0.7, 0.6, 0.5, 0], [0.3, 0.6, 0.2, 0], [0, 0, 0, 0]]),
    ],
    ids=["autoregressive", "chunks", "pyramid", "pauses"],
)
def test_a_frame_changes_only_in_the_steps_in_which_its_level_does(name, matrix):
    path, states = VP("cosine", zero_terminal=True), []
    x = initial_noise(SHAPE, [5, 6])
    x[:, :, 0] = well_apart(path).means[2][:, 0]
    run(name, path, matrix, [5, 6], x=x, on_step=lambda i, x, x0: states.append(x))
    for i, (before, after) in enumerate(zip([x, *states], states, strict=False)):
        for frame in range(4):
            still = bool(matrix[i, frame] == matrix[i + 1, frame])
            assert torch.equal(before[:, :, frame], after[:, :, frame]) == still


@every_sampler
def test_a_staircase_of_one_chunk_is_plain_sampling(name):
    path = VP()
    plain = run(name, path, noise_levels(8, 4), [1])
    assert torch.equal(run(name, path, autoregressive_levels(8, 4, chunk=4), [1]), plain)
    assert torch.equal(run(name, path, pyramid_levels(8, 4, delay=0), [1]), plain)


@every_sampler
def test_frames_that_start_late_still_get_their_full_order(name):
    """Independent frames, one Gaussian: each frame of a staircase ends where it would end alone."""
    path = RectifiedFlow()
    gaussian = Mixture(path, torch.zeros(1, *SHAPE), 0.5)
    silent = lambda: torch.zeros(2, *SHAPE)
    x = initial_noise(SHAPE, [1, 2])
    plain, staircase = (
        SAMPLERS[name](gaussian.denoise, x, path, matrix, noise=silent)
        for matrix in (noise_levels(8, 4), pyramid_levels(8, 4, delay=3))
    )
    torch.testing.assert_close(plain, staircase, rtol=0, atol=1e-6)


@every_sampler
def test_a_pause_changes_nothing(name):
    """A frame whose level stands still for a while takes up its memory where it left it."""
    path = VP("cosine")
    mixture = Mixture(path, torch.zeros(1, *SHAPE), 0.5)
    silent = lambda: torch.zeros(2, *SHAPE)
    x = initial_noise(SHAPE, [1, 2])
    plain = noise_levels(8, 4)
    pauses = torch.stack(
        [plain[[0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8]][:, 0], plain[[0, 0, 1, 2, 3, 4, 5, 6, 6, 7, 8]][:, 1]]
    )
    pauses = torch.cat([pauses, pauses]).T
    a, b = (SAMPLERS[name](mixture.denoise, x, path, matrix, noise=silent) for matrix in (plain, pauses))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_third_order_starts_from_pure_noise_too(path):
    mixture = well_apart(path)
    x0 = run("unipc", path, noise_levels(20, 4), [0, 1], denoise=mixture.conditional(1), order=3)
    assert (x0 - mixture.means[1]).abs().max() < 5 * mixture.std


@every_sampler
def test_a_sample_does_not_depend_on_its_batch_or_its_place(name):
    path = RectifiedFlow()
    matrix = noise_levels(6, 4)
    together = run(name, path, matrix, [3, 4, 5])
    for place, seed in enumerate([3, 4, 5]):
        torch.testing.assert_close(run(name, path, matrix, [seed])[0], together[place], rtol=0, atol=1e-5)


@every_sampler
def test_a_perfect_denoiser_is_reached_in_one_step(name):
    clip = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    for path in PATHS:
        assert torch.equal(run(name, path, noise_levels(1, 4), [0, 1], denoise=lambda x, t: clip), clip)


@every_sampler
def test_no_steps_return_the_start(name):
    x = torch.ones(1, *SHAPE)
    assert torch.equal(run(name, EDM(), from_strength(noise_levels(8, 4), 0.0), [0], x=x), x)


@every_sampler
def test_the_denoiser_sees_the_row_of_the_matrix_for_every_sample(name):
    seen = []

    def denoise(x, t):
        seen.append(t)
        return x

    matrix = pyramid_levels(3, 4, delay=1, given=[0])
    run(name, EDM(), matrix, [0, 1], denoise=denoise)
    assert all(t.shape == (2, 4) and t.dtype == torch.float32 for t in seen)
    rows = torch.stack([t[1].double() for t in seen])
    for row in matrix[:-1]:
        assert (rows - row).abs().sum(1).min() < 1e-6


@every_sampler
def test_hooks_see_the_state_before_the_network_and_its_prediction_after(name):
    path, log = RectifiedFlow(), []
    mixture = well_apart(path)

    def state_hook(x, i):
        log.append(("state", i))
        return x

    def x0_hook(x0, i):
        log.append(("x0", i))
        return mixture.means[:1].expand_as(x0)

    x0 = run(name, path, noise_levels(3, 4), [7], state_hook=state_hook, x0_hook=x0_hook)
    torch.testing.assert_close(x0, mixture.means[:1])
    calls = [0, 1, 1, 2, 2] if name == "heun" else [0, 1, 2]
    assert log == [pair for i in calls for pair in (("state", i), ("x0", i))]


@every_sampler
def test_a_state_hook_can_pin_a_frame(name):
    """Replacement (arXiv 2204.03458): the pinned frame follows its own noised content, and decides the others."""
    path, seeds = VP("cosine"), [0, 1, 2, 3]
    mixture, matrix = well_apart(path, std=0.1), noise_levels(16, 4)
    clip, eps = mixture.draw(4, seed=2, mode=2), initial_noise(SHAPE, seeds)
    process = Process(path, "x0")

    def replace(x, i):
        known = process.add_noise(clip, eps, matrix[i].float().expand(4, -1))
        return torch.cat([known[:, :, :2], x[:, :, 2:]], dim=2)

    x0 = run(name, path, matrix, seeds, denoise=mixture.denoise, state_hook=replace)
    assert (modes_of(x0, mixture) == 2).all()


@every_sampler
@every_path
def test_sdedit_keeps_more_structure_at_less_strength(name, path):
    """Residual correlation with the source falls with strength, to nothing."""
    mixture = well_apart(path)
    source, seeds = mixture.draw(8, seed=0, mode=0), list(range(8))
    kept = []
    for strength in (0.1, 0.3, 0.95):
        matrix = from_strength(noise_levels(20, 4), strength)
        assert len(matrix) - 1 == int(20 * strength)
        x = Process(path, "x0").add_noise(source, initial_noise(SHAPE, seeds), matrix[0].float().expand(8, -1))
        x0 = run(name, path, matrix, seeds, x=x, denoise=mixture.conditional(0))
        pair = torch.stack([(clip - mixture.means[0]).flatten() for clip in (source, x0)])
        kept.append(torch.corrcoef(pair)[0, 1].item())
    assert kept[0] > kept[1] > kept[2] - 0.05
    assert kept[0] - kept[2] > 0.2


@pytest.mark.parametrize("path", [VP(), EDM(), RectifiedFlow()], ids=str)
def test_inversion_reads_a_matrix_upwards(path):
    """DDIM inversion and back: the error falls about as the step does."""
    mixture = well_apart(path)
    clip = mixture.draw(4, seed=0, mode=1)
    errors = []
    for num_steps in (20, 40, 80):
        matrix = noise_levels(num_steps, 4, spacing=partial(karras, path=path, ratio_min=0.05, ratio_max=10.0))[:-1]
        denoise = mixture.conditional(1)
        noisy = sample_euler(denoise, clip, path, matrix.flip(0))
        errors.append((sample_euler(denoise, noisy, path, matrix) - clip).square().mean().sqrt().item())
    assert errors[0] > 1.6 * errors[1] > 2.5 * errors[2]


def test_three_names_are_one_update():
    """Euler is DDIM without noise, on every path; Euler ancestral and DDPM are DDIM with eta = 1."""
    for path in PATHS:
        matrix = noise_levels(6, 4)
        assert torch.equal(run("euler", path, matrix, [1]), run("ddim", path, matrix, [1]))
        full = run("ddim", path, matrix, [1], eta=1.0)
        assert torch.equal(run("euler_ancestral", path, matrix, [1]), full)
        torch.testing.assert_close(run("ddpm", path, matrix, [1]), full, rtol=0, atol=2e-5)
        torch.testing.assert_close(
            run("dpmpp_2m_sde", path, matrix, [1], eta=0.0), run("dpmpp_2m", path, matrix, [1]), rtol=0, atol=0
        )


@pytest.mark.parametrize("name", ["ddpm", "euler_ancestral", "dpmpp_2m_sde"])
def test_a_stochastic_sampler_without_noise_says_what_to_try(name):
    with pytest.raises(ValueError, match="NoiseSource"):
        SAMPLERS[name](lambda x, t: x, torch.zeros(1, *SHAPE), EDM(), noise_levels(2, 4))


@pytest.mark.parametrize(
    ("sample", "options"),
    [(sample_ddim, {"eta": 1.5}), (sample_dpmpp_2m_sde, {"eta": -1.0}), (sample_unipc, {"order": 4})],
)
def test_options_out_of_range_are_refused(sample, options):
    with pytest.raises(ValueError, match="Try"):
        sample(lambda x, t: x, torch.zeros(1, *SHAPE), EDM(), noise_levels(2, 4), **options)


def test_a_matrix_that_does_not_fit_is_refused_by_name():
    x = torch.zeros(1, *SHAPE)
    with pytest.raises(ValueError, match="4 frames"):
        sample_euler(lambda x, t: x, x, EDM(), noise_levels(2, 3))
    with pytest.raises(ValueError, match="noise levels"):
        sample_euler(lambda x, t: x, x, EDM(), torch.tensor([[999.0], [0.0]]).expand(2, 4))


def test_half_precision_states_are_carried_in_float32():
    x = initial_noise(SHAPE, [0])
    denoise = well_apart(EDM()).denoise
    half = SAMPLERS["heun"](lambda x, t: denoise(x.float(), t).bfloat16(), x.bfloat16(), EDM(), noise_levels(4, 4))
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, SAMPLERS["heun"](denoise, x, EDM(), noise_levels(4, 4)), rtol=0, atol=0.1)


def test_gradients_flow_through_a_trajectory():
    """Score distillation and energy guidance need them; frames that stand still must not poison them."""
    for name in SAMPLERS:
        x = initial_noise(SHAPE, [0]).requires_grad_()
        run(name, EDM(), pyramid_levels(4, 4, delay=2, given=[0]), [0], x=x).sum().backward()
        assert x.grad.isfinite().all()


def test_public_names_are_the_registry():
    assert sorted(public_names) == sorted(["SAMPLERS", "puts_noise", *(f.__name__ for f in SAMPLERS.values())])


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in SAMPLERS), ("ddim", {"eta": 1.0}), ("euler_ancestral", {"eta": 0.0})])
def test_samplers_that_put_noise_between_their_steps_are_known(name, options):
    asked = []

    def noise():
        asked.append(1)
        return torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(len(asked)))

    path = RectifiedFlow()
    SAMPLERS[name](well_apart(path).denoise, noise(), path, noise_levels(4, SHAPE[1]), noise=noise, **options)
    assert puts_noise(name, options) == (len(asked) > 1)
