"""Noise-level matrices: columns never rise, generated frames end at 0, given frames stay there."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from flipbook.process import autoregressive_levels, from_strength, noise_levels, pyramid_levels
from flipbook.process.spacing import trailing

GIVEN = [(), (0,), (0, 5), (1, 3), range(6)]


def assert_lawful(matrix, given):
    assert matrix.dtype == torch.float64
    assert (matrix.diff(dim=0) <= 0).all()
    assert (matrix[-1] == 0).all()
    assert (matrix.diff(dim=0) != 0).any(dim=1).all() or len(list(given)) == matrix.shape[1]  # no idle step
    for frame in range(matrix.shape[1]):
        assert (matrix[:, frame] == 0).all() if frame in given else matrix[0, frame] == 1


@pytest.mark.parametrize("given", GIVEN, ids=str)
def test_plain_sampling_moves_all_frames_together(given):
    matrix = noise_levels(5, 6, spacing=trailing, given=given)
    assert matrix.shape == (6, 6)
    assert_lawful(matrix, given)
    for frame in set(range(6)) - set(given):
        assert torch.equal(matrix[:, frame], trailing(5))


@pytest.mark.parametrize(("given", "delay", "chunk"), [*product(GIVEN, [0, 0.5, 1, 2.5, 5], [1, 2, 4])], ids=str)
def test_pyramids_are_lawful_for_any_delay_and_chunk(given, delay, chunk):
    matrix = pyramid_levels(5, 6, delay=delay, chunk=chunk, given=given)
    assert_lawful(matrix, given)
    wanted = [f for f in range(6) if f not in given]
    for frame in wanted:
        visited = matrix[:, frame].unique()  # every frame walks all the levels
        torch.testing.assert_close(visited.flip(0), torch.linspace(1, 0, 6, dtype=torch.float64))
    assert (matrix[:, wanted].diff(dim=1) >= 0).all()  # later frames are noisier


def test_the_pyramid_is_the_formula_of_diffusion_forcing():
    """K[m, f] = clip(S + floor(u f) - m, 0, S), arXiv 2407.01392."""
    s, u = 8, 2.5
    matrix = pyramid_levels(s, 4, delay=u)
    m, f = torch.meshgrid(torch.arange(matrix.shape[0]), torch.arange(4), indexing="ij")
    levels = (s + torch.floor(u * f) - m).clamp(0, s)
    torch.testing.assert_close(matrix, levels.double() / s)


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_the_staircase_finishes_a_chunk_before_the_next_one_starts(chunk):
    matrix = autoregressive_levels(4, 6, chunk=chunk)
    assert matrix.shape == (6 // chunk * 4 + 1, 6)
    for row in matrix[:, ::chunk]:
        moving = ((row > 0) & (row < 1)).sum()
        assert moving <= 1
    assert_lawful(matrix, ())


def test_delays_count_generated_frames_only():
    assert torch.equal(pyramid_levels(4, 5, delay=2, given=[0, 1])[:, 2:], pyramid_levels(4, 3, delay=2))


@pytest.mark.parametrize(("num_steps", "strength"), [*product([10, 50], [0, 0.2, 0.58, 0.6, 0.95, 1])])
def test_strength_is_the_share_of_steps_that_are_run(num_steps, strength):
    matrix = noise_levels(num_steps, 3)
    left = from_strength(matrix, strength)
    assert len(left) - 1 == round(100 * strength) * num_steps // 100
    assert torch.equal(left, matrix[len(matrix) - len(left) :])


@pytest.mark.parametrize(
    "build",
    [
        lambda: noise_levels(4, 4, given=[4]),
        lambda: noise_levels(4, 4, given=[-1]),
        lambda: noise_levels(4, 4, spacing=torch.linspace(0, 1, 5)),
        lambda: noise_levels(4, 4, spacing=torch.linspace(1, 0.1, 5)),
        lambda: noise_levels(4, 4, spacing=torch.linspace(1, 0, 9)),
        lambda: pyramid_levels(4, 4, delay=-1),
        lambda: pyramid_levels(4, 4, delay=5),
        lambda: pyramid_levels(4, 4, delay=1, chunk=0),
        lambda: from_strength(noise_levels(4, 4), 1.1),
    ],
)
def test_what_cannot_be_a_matrix_is_refused(build):
    with pytest.raises(ValueError, match=r"Try|outside|fall|need|starts"):
        build()
