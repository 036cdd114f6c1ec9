"""Kernel distances and the inception score: estimators, bias, agreement with torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest

from flipbook.metrics.frechet import frechet_from_features
from flipbook.metrics.inception_score import inception_score
from flipbook.metrics.intervals import bootstrap
from flipbook.metrics.kernel import JEDI, KVD, Polynomial, polynomial_mmd


def pairs(number, count=60, dim=16, gap=0.0):
    rng = np.random.default_rng(number)
    return rng.standard_normal((count, dim)), rng.standard_normal((count, dim)) + gap


def test_the_unbiased_estimate_of_equal_sets_is_zero_on_average_and_the_biased_one_is_not():
    for unbiased in (True, False):
        values = np.array([polynomial_mmd(*pairs(i), Polynomial(unbiased=unbiased)) for i in range(120)])
        error = values.std() / np.sqrt(len(values))
        assert (abs(values.mean()) < 2 * error) == unbiased
        if not unbiased:
            assert values.mean() > 20 * error


def test_the_unbiased_estimate_does_not_move_with_the_number_of_clips_while_frechet_does():
    small, large = ([pairs(i, n, gap=0.3) for i in range(40)] for n in (30, 300))
    kernel = [np.mean([polynomial_mmd(*p) for p in sets]) for sets in (small, large)]
    frechet = [np.mean([frechet_from_features(*p) for p in sets]) for sets in (small, large)]
    assert kernel[0] == pytest.approx(kernel[1], rel=0.15)
    assert frechet[0] > 2 * frechet[1]


def test_a_kernel_of_degree_one_is_the_distance_of_means():
    """(x . y) / D without the diagonal estimates |m1 - m2|^2 / D; with it, the same plus the variance over N."""
    x, y = pairs(0, gap=0.5)
    biased = polynomial_mmd(x, y, Polynomial(degree=1, offset=0.0, unbiased=False))
    assert biased == pytest.approx(np.square(x.mean(0) - y.mean(0)).sum() / 16, rel=1e-10)


def test_large_sets_are_summed_in_pieces_to_the_same_number(monkeypatch):
    x, y = pairs(0, gap=0.2)
    whole = polynomial_mmd(x, y)
    monkeypatch.setattr("flipbook.metrics.kernel._ROWS", 7)
    assert polynomial_mmd(x, y) == pytest.approx(whole, rel=1e-10)


def test_kvd_agrees_with_torchmetrics_on_the_same_features():
    torch = pytest.importorskip("torch")
    kid = pytest.importorskip("torchmetrics.image.kid")
    x, y = pairs(3, gap=0.2)
    theirs = kid.poly_mmd(torch.as_tensor(x), torch.as_tensor(y), degree=3, gamma=None, coef=1.0)
    assert polynomial_mmd(x, y, KVD) == pytest.approx(float(theirs), abs=1e-4)


def test_kvd_is_the_cubic_kernel_without_the_diagonal():
    """k(x, y) = (x . y / D + 1)^3 written out, for where torchmetrics (which wants torchvision for it) is not at hand."""
    x, y = pairs(3, gap=0.2)
    k = lambda a, b: (a @ b.T / 16 + 1) ** 3
    within = lambda z: (k(z, z).sum() - np.trace(k(z, z))) / (60 * 59)
    assert polynomial_mmd(x, y, KVD) == pytest.approx(within(x) + within(y) - 2 * k(x, y).mean(), rel=1e-10)


def test_jedi_is_a_degree_two_kernel_without_offset_and_with_the_diagonal_times_a_hundred():
    x, y = pairs(4, gap=0.2)
    k = lambda a, b: np.square(a @ b.T / 16).mean()
    assert polynomial_mmd(x, y, JEDI) == pytest.approx(100 * (k(x, x) + k(y, y) - 2 * k(x, y)), rel=1e-10)


def test_frechet_agrees_with_torchmetrics_on_the_same_features():
    torch = pytest.importorskip("torch")
    fid = pytest.importorskip("torchmetrics.image.fid")
    x, y = pairs(5, gap=0.3)
    gaussian = lambda z: (torch.as_tensor(z.mean(0)), torch.as_tensor(np.cov(z, rowvar=False)))
    theirs = fid._compute_fid(*gaussian(x), *gaussian(y))
    assert frechet_from_features(x, y) == pytest.approx(float(theirs), abs=1e-4)


def test_the_inception_score_is_one_for_equal_answers_and_the_number_of_classes_for_certain_even_ones():
    assert inception_score(np.ones((20, 5)), 2)[0] == pytest.approx(1.0)
    certain = 50 * np.eye(5)[np.arange(20) % 5]
    assert inception_score(certain, 2)[0] == pytest.approx(5.0, rel=1e-6)
    with pytest.raises(ValueError, match="splits=10 of 3 clips"):
        inception_score(np.ones((3, 5)))


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save", "ignore:std")
def test_the_inception_score_agrees_with_torchmetrics_on_the_same_logits():
    torch = pytest.importorskip("torch")
    module = pytest.importorskip("torchmetrics.image.inception")
    logits = np.random.default_rng(6).standard_normal((40, 7)) * 3

    class Given(torch.nn.Module):                                           # torchmetrics shuffles before it splits: one split
        num_features = 7

        def forward(self, x):
            return torch.as_tensor(logits)

    score = module.InceptionScore(feature=Given(), splits=1)
    score.update(torch.zeros(40, 3, 8, 8, dtype=torch.uint8))
    assert inception_score(logits, 1)[0] == pytest.approx(float(score.compute()[0]), abs=1e-4)


@pytest.mark.parametrize("statistic", [frechet_from_features, polynomial_mmd])
def test_nineteen_of_twenty_intervals_hold_the_mean_of_the_estimator(statistic):
    """The plain percentile interval would lie above it: rows drawn twice make sets look further apart."""
    sets = [pairs(100 + i, 40, 4, gap=0.5) for i in range(60)]
    mean = np.mean([statistic(*pairs(1000 + i, 40, 4, gap=0.5)) for i in range(300)])
    inside = [low <= mean <= high for low, high in (bootstrap(statistic, s, draws=60) for s in sets)]
    assert 0.8 <= np.mean(inside) <= 1.0


def test_an_interval_is_a_function_of_its_seed_and_shrinks_with_the_number_of_clips():
    few, many = pairs(7, 30, gap=0.5), pairs(7, 480, gap=0.5)
    low, high = bootstrap(polynomial_mmd, few, draws=40)
    assert (low, high) == bootstrap(polynomial_mmd, few, draws=40) != bootstrap(polynomial_mmd, few, draws=40, seed=1)
    narrow = bootstrap(polynomial_mmd, many, draws=40)
    assert narrow[1] - narrow[0] < 0.6 * (high - low)


def test_an_interval_lies_around_its_value_though_redrawn_sets_lie_further_apart():
    """With many dimensions rows drawn twice move a Frechet distance by more than its spread; the plain percentiles leave the value out."""
    sets = pairs(8, 30, 20, gap=0.5)
    low, high = bootstrap(frechet_from_features, sets, draws=40)
    assert low < frechet_from_features(*sets) < high


def test_an_interval_of_a_difference_of_means_has_the_width_of_the_normal_law():
    """Both sides are redrawn, each by itself: sets that are equal row by row still leave the difference open."""
    rows = np.random.default_rng(9).standard_normal((200, 1))
    low, high = bootstrap(lambda x, y: float(x.mean() - y.mean()), (rows, rows), draws=400)
    assert high - low == pytest.approx(2 * 1.96 * rows.std() * np.sqrt(2 / 200), rel=0.15)
