"""Every metric gets strictly worse over five strengths of each damage that the catalogue says it sees."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from flipbook.data.world import draw
from flipbook.metrics.catalogue import FULL, METRICS
from flipbook.metrics.corrupt import CORRUPTIONS, LEVELS, corrupt
from flipbook.metrics.distance import estimator_of
from flipbook.metrics.extractors import extract, random_world_features, world_features
from flipbook.metrics.measure import measure
from flipbook.metrics.protocols import PROTOCOLS
from flipbook.shapes import pixels_to_tensor, tensor_to_pixels

SINGLE = [(name, kind) for name, m in METRICS.items() if m.is_tested and m.kind != "sets" for kind in sorted(m.sees)]
REWARDED = [(name, kind) for name, m in METRICS.items() if m.is_tested for kind in sorted(m.rewards)]
SETS = [(name, kind) for name, m in METRICS.items() if m.is_tested and m.kind == "sets" for kind in sorted(m.sees)]


@cache
def world(first=0, count=6):
    """Clips in which things move: (N, 3, 16, 64, 64)."""
    motions = ("moves right", "falls", "orbits", "bounces", "spins", "moves up")
    seeds = [seed for seed in range(first, first + 20 * count) if draw("shapes", seed, frames=[0]).scene["objects"][0]["motion"] in motions]
    return torch.stack([pixels_to_tensor(draw("shapes", seed).frames) for seed in seeds[:count]])


def bytes_of(x):
    return list(tensor_to_pixels(x))


@cache
def values(name, kind):
    """The metric at strengths 0 and the five levels."""
    x = world()
    reference = bytes_of(x) if METRICS[name].kind == "pairs" else None
    return [measure(name, bytes_of(corrupt(kind, x, s)), reference, draws=0).value for s in (0.0, *LEVELS)]


def worse(name, series):
    """Differences that are positive where the metric got worse; where neither direction is better, where it went on as it began."""
    steps = np.diff(series)
    better = METRICS[name].higher_is_better
    return steps * np.sign(steps[0]) if better is None else -steps if better else steps


@pytest.mark.parametrize(("name", "kind"), SINGLE)
def test_a_metric_gets_strictly_worse_over_five_strengths_of_what_it_sees(name, kind):
    pytest.importorskip("cv2")
    assert (worse(name, values(name, kind)) > 0).all(), values(name, kind)


@pytest.mark.parametrize(("name", "kind"), REWARDED)
def test_a_metric_takes_for_better_what_the_catalogue_says_it_rewards(name, kind):
    """The catalogue's warnings are facts too: a reader who knows them does not trust one number alone."""
    pytest.importorskip("cv2")
    series = values(name, kind)
    assert (series[-1] > series[0]) == METRICS[name].higher_is_better, series


@cache
def features(kind="blur", strength=0.0):
    """World features of 24 clips, each damaged in its own way."""
    damaged = (corrupt(kind, clip[None], strength, i)[0] for i, clip in enumerate(world(0, 24)))
    return extract(damaged, world_features(), PROTOCOLS["world-features"])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), SETS)
def test_the_distance_in_the_projects_own_features_rises_strictly_over_what_it_sees(name, kind):
    """From the clips to the same clips damaged, as FID was introduced. From other clips, the floor would lie on top: docs/metrics.md."""
    distance = estimator_of(PROTOCOLS[name])
    series = [distance(features(), features(kind, s)) for s in (0.0, *LEVELS)]
    assert (np.diff(series) > 0).all(), series


@pytest.mark.slow
def test_damage_in_time_costs_at_least_half_of_damage_in_space_that_is_as_visible():
    """Logits of an action classifier mostly see frames (arXiv:2404.12391); these features were trained to see both. As visible: the
    same mean squared error against the clip itself.
    """
    clips, strengths = world(0, 24), np.linspace(0.02, 1, 50)
    visible = lambda kind, s, x: float((corrupt(kind, x, s) - x).square().mean())
    wanted = visible("shuffle", 1.0, clips)
    noise = strengths[np.argmin([abs(visible("noise", s, clips[:4]) - wanted) for s in strengths])]
    distance = estimator_of(PROTOCOLS["world-features"])
    shuffled, noisy = (distance(features(), features(*damage)) for damage in (("shuffle", 1.0), ("noise", float(noise))))
    assert shuffled >= 0.5 * noisy, (shuffled, noisy, noise)


def test_a_network_that_was_never_trained_is_a_control_with_another_fingerprint():
    a, b = (random_world_features(seed) for seed in (0, 1))
    assert a.sha256 != b.sha256
    assert random_world_features(0).sha256 == a.sha256
    torch.testing.assert_close(a.encode(world()[:2]), a.encode(world()[:2]))


def test_what_needs_weights_that_are_not_here_is_marked_as_a_claim_that_nobody_tested():
    assert not METRICS["lpips"].is_tested
    assert not METRICS["fvd"].is_tested
    assert all(METRICS[name].is_tested for name in ("psnr", "motion", "world-features"))


def test_every_metric_that_the_project_defines_claims_the_five_kinds_or_says_less():
    assert METRICS["world-features"].sees >= FULL
    assert METRICS["psnr"].sees == FULL
    assert all(m.sees <= set(CORRUPTIONS) and not m.sees & m.rewards for m in METRICS.values())


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_strength_zero_changes_nothing_and_more_strength_changes_more(kind):
    x = world()[:3]
    assert torch.equal(corrupt(kind, x, 0.0), x)
    errors = [float((corrupt(kind, x, s) - x).square().mean()) for s in LEVELS]
    assert (np.diff([0.0, *errors]) > 0).all()
    assert corrupt(kind, x, 1.0).abs().max() <= 1


def test_shuffle_and_freeze_only_ever_show_frames_that_were_there():
    x = torch.arange(16.0).view(1, 1, 16, 1, 1)
    assert sorted(corrupt("shuffle", x, 1.0).flatten().tolist()) == list(range(16))
    assert (corrupt("shuffle", x, 1.0) != x).all()
    assert corrupt("freeze", x, 1.0).unique().tolist() == [0.0]
    assert corrupt("freeze", x, 0.5).flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 7, *[7] * 8]


def test_an_unknown_damage_or_strength_is_refused():
    with pytest.raises(ValueError, match="Try one of blur"):
        corrupt("rain", world(), 0.5)
    with pytest.raises(ValueError, match="strength=2"):
        corrupt("blur", world(), 2)
