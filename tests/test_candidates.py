"""Best of several candidates, by the model's own denoising error."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flipbook.candidates import LEVELS, best, candidate_seeds, denoising_error
from flipbook.generate import generate
from flipbook.process.path import RectifiedFlow
from flipbook.systems import thumb

SETTINGS = {"num_frames": 3, "height": 16, "width": 16, "num_inference_steps": 2}


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    system = thumb.build(thumb.TINY)
    with torch.no_grad():                                     # networks are born answering 0, whatever they are told
        for p in system.denoiser.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return system.eval()


def towards(mean: torch.Tensor):
    """The exact denoiser of data N(mean, 1) on a rectified flow: x0 = m + a (x - a m) / (a^2 + s^2)."""

    def denoise(x, t):
        s = t[:, None, :, None, None]
        a = 1 - s
        return mean + a * (x - a * mean) / (a**2 + s**2)

    return denoise


def test_the_error_of_an_exact_denoiser_grows_as_the_squared_distance_from_what_it_was_told():
    mean, path = torch.zeros(4, 1, 1, 1, 1), RectifiedFlow()
    direction = torch.ones(4, 2, 3, 8, 8)
    away = torch.tensor([0.0, 1.0, 2.0, 4.0])[:, None, None, None, None] * direction
    errors = denoising_error(towards(mean), away, path, torch.zeros(4, 3, dtype=torch.bool), [7] * 4)
    # x0 - z = (a s eps - s^2 z) / (a^2 + s^2), so the error is quadratic in the distance d, with mean noise near 0
    weight = np.mean([(t**2 / ((1 - t) ** 2 + t**2) / t) ** 2 for t in LEVELS])
    assert errors.argmin() == 0
    assert float(errors[3] - errors[2]) == pytest.approx(weight * (16 - 4), rel=0.1)


def test_given_frames_stay_clean_and_do_not_count():
    seen = []

    def denoise(x, t):
        seen.append((x, t))
        return x * 0

    z = torch.full((1, 1, 3, 2, 2), 5.0)
    given = torch.tensor([[True, False, False]])
    error = denoising_error(denoise, z, RectifiedFlow(), given, [0])
    assert all(torch.equal(x[:, :, 0], z[:, :, 0]) and float(t[0, 0]) == 0.0 for x, t in seen)
    assert float(error) == pytest.approx(np.mean([25.0 / t**2 for t in LEVELS]), rel=1e-5)


def test_the_smallest_error_of_each_request_is_kept():
    assert best(torch.tensor([3.0, 1.0, 2.0, 0.5, 0.5, 9.0]), 3) == [1, 3]


def test_one_candidate_is_the_video_without_candidates(tiny):
    plain = generate(tiny, "a red circle moves right on a black background", seed=3, **SETTINGS)[0]
    one = generate(tiny, "a red circle moves right on a black background", seed=3, best_of=1, **SETTINGS)[0]
    assert np.array_equal(plain.frames, one.frames)
    assert candidate_seeds(3, 1) == [3]


def test_the_video_kept_is_one_of_the_candidates_and_has_the_smallest_error(tiny, monkeypatch):
    text, seeds = "a red circle moves right on a black background", candidate_seeds(3, 3)
    each = generate(tiny, [text] * 3, seed=seeds, batch_size=3, **SETTINGS)
    import flipbook.sampling as module

    errors = []
    monkeypatch.setattr(module, "denoising_error", lambda *a: errors.append(denoising_error(*a)) or errors[-1])
    kept = generate(tiny, text, seed=3, best_of=3, **SETTINGS)[0]
    assert np.array_equal(kept.frames, each[int(errors[0].argmin())].frames)
    assert kept.recipe["settings"]["best_of"] == 3
    assert kept.recipe["seed"] == 3


def test_requests_do_not_change_each_others_choice(tiny):
    texts = ["a red circle moves right on a black background", "a blue square falls on a gray background"]
    together = generate(tiny, texts, seed=5, best_of=2, batch_size=2, dtype="float32", **SETTINGS)
    alone = [generate(tiny, text, seed=5 + i, best_of=2, dtype="float32", **SETTINGS)[0] for i, text in enumerate(texts)]
    for a, b in zip(together, alone, strict=True):
        assert np.abs(a.frames.astype(int) - b.frames.astype(int)).max() <= 1


def test_no_candidate_is_refused(tiny):
    with pytest.raises(ValueError, match="best_of=0: at least one candidate"):
        generate(tiny, "a red circle", best_of=0, **SETTINGS)


def test_no_candidate_is_judged_by_the_noise_that_it_began_with(tiny, monkeypatch):
    """The noise of a candidate's own beginning leads back to it, and it would always win."""
    import flipbook.sampling as module

    judged = []
    monkeypatch.setattr(module, "denoising_error", lambda *a: judged.append(a[-1]) or denoising_error(*a))
    generate(tiny, ["a red circle", "a blue square"], seed=[3, 9], best_of=3, batch_size=2, **SETTINGS)
    (seeds,) = judged
    assert len(set(seeds[:3])) == len(set(seeds[3:])) == 1
    assert not set(seeds) & {*candidate_seeds(3, 3), *candidate_seeds(9, 3)}
