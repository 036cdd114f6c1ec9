"""Noise belongs to a sample, training times to a generator."""

from __future__ import annotations

import pytest
import torch

from flipbook.process import (
    EDM,
    NoiseSource,
    RectifiedFlow,
    initial_noise,
    log_normal_times,
    logit_normal_times,
    uniform_times,
)

SHAPE = (2, 3, 4, 4)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_noise_depends_on_the_seed_and_not_on_the_batch():
    batch = initial_noise(SHAPE, [7, 8, 7])
    assert batch.shape == (3, *SHAPE)
    assert batch.dtype == torch.float32
    assert torch.equal(batch[1], initial_noise(SHAPE, [8])[0])
    assert torch.equal(batch[0], batch[2])
    assert not torch.equal(batch[0], batch[1])


def test_a_source_starts_with_the_initial_noise_and_goes_on_fresh_per_sample():
    source, alone = NoiseSource(SHAPE, [7, 8]), NoiseSource(SHAPE, [8])
    draws = [source() for _ in range(3)]
    assert torch.equal(draws[0], initial_noise(SHAPE, [7, 8]))
    assert not torch.equal(draws[0], draws[1])
    for draw in draws:
        assert torch.equal(draw[1], alone()[0])


DRAWS = {
    "uniform": uniform_times,
    "logit-normal": logit_normal_times,
    "log-normal": lambda shape, g, **options: log_normal_times(shape, g, EDM(), **options),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("shape", [(5,), (4, 3)])
def test_times_are_a_function_of_their_generator(draw, stratified, shape):
    t = draw(shape, generator(), stratified=stratified)
    assert t.shape == shape
    assert t.dtype == torch.float32
    assert ((t >= 0) & (t <= 1)).all()
    assert torch.equal(t, draw(shape, generator(), stratified=stratified))
    assert not torch.equal(t, draw(shape, generator(1), stratified=stratified))


def test_stratified_times_visit_every_slice_once_in_no_fixed_order():
    t = uniform_times((64, 3), generator(), stratified=True)
    slices = (t * 64).floor().long()
    for frame in range(3):
        assert torch.equal(slices[:, frame].sort().values, torch.arange(64))
    assert not torch.equal(slices[:, 0], slices[:, 1])


def test_logit_normal_times_have_their_mean_and_deviation():
    logits = torch.logit(logit_normal_times((20000,), generator(), mean=0.4, std=1.3).double())
    assert logits.mean() == pytest.approx(0.4, abs=0.03)
    assert logits.std() == pytest.approx(1.3, abs=0.03)


@pytest.mark.parametrize("path", [EDM(), RectifiedFlow(3.0)], ids=str)
def test_log_normal_times_are_log_normal_in_the_ratio_of_any_path(path):
    t = log_normal_times((20000,), generator(), path, mean=0.7, std=1.6).double()
    log_ratio = torch.log(path.sigma(t) / path.alpha(t))
    assert log_ratio.mean() == pytest.approx(0.7, abs=0.04)
    assert log_ratio.std() == pytest.approx(1.6, abs=0.04)


def test_shared_noise_is_the_same_in_all_frames_and_fresh_at_every_draw():
    source = NoiseSource((2, 5, 3, 3), [4, 5], shared=True)
    first, second = source(), source()
    assert first.shape == (2, 2, 5, 3, 3)
    assert all(torch.equal(first[:, :, i], first[:, :, 0]) for i in range(5))
    assert not torch.equal(first[:, :, 0], second[:, :, 0])
    assert not torch.equal(first[0], first[1])
