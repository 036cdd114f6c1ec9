"""From values to intervals and verdicts, against known numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from flipbook.compare.summary import summarise
from flipbook.compare.table import number
from flipbook.metrics.intervals import mean_interval, paired_shares, student


@pytest.mark.parametrize("dof", [1, 2, 3, 4, 7, 30, 199])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_students_quantiles_are_those_of_scipy(dof, level):
    assert student(dof, level) == pytest.approx(stats.t.ppf((1 + level) / 2, dof), rel=1e-9)


def test_the_interval_of_a_mean_is_that_of_scipy_and_needs_two_values():
    values = [0.31, 0.22, 0.27, 0.4]
    assert mean_interval(values) == pytest.approx(stats.t.interval(0.95, 3, np.mean(values), stats.sem(values)))
    assert mean_interval([2.0, 4.0]) == pytest.approx((3 - 12.706205, 3 + 12.706205), abs=1e-5)
    with pytest.raises(ValueError, match="Give two or more"):
        mean_interval([1.0])


def test_paired_shares_by_hand():
    """n = 20, 2 lost, 9 won: n* = 22, b* = 2.5, c* = 9.5, difference 7/22, error sqrt(12 - 49/22)/22."""
    low, high = paired_shares(2, 9, 20)
    reach = 1.959964 * math.sqrt(12 - 49 / 22) / 22
    assert (low, high) == pytest.approx((7 / 22 - reach, 7 / 22 + reach))
    low, high = paired_shares(0, 0, 20)
    assert low == -high
    assert high > 0.05
    with pytest.raises(ValueError, match="no shares of the same trials"):
        paired_shares(3, 3, 5)


def test_paired_shares_hold_the_truth_in_about_95_of_100_draws():
    chance, hits = np.random.default_rng(0), 0
    for _ in range(2000):
        lost, won, _ = chance.multinomial(40, (0.1, 0.25, 0.65))
        low, high = paired_shares(lost, won, 40)
        hits += low <= 0.15 <= high
    assert 0.93 <= hits / 2000 <= 0.98


def result(seconds=1.0, *, right=(), training=None):
    clips = [{"attributes": {"motion": value}, "right": value, "measured": {"identity": float(value)}} for value in right]
    return {"seconds": seconds, "training": training, "clips": clips}


def trained(loss, right=(), seconds=1.0):
    return result(seconds, right=right, training={"validation": loss, "parameters": 3.0})


def test_trained_arms_are_compared_repeat_by_repeat_so_that_what_they_share_falls_out():
    runs = {"a": [trained(1.0), trained(5.0), trained(9.0)], "b": [trained(0.9), trained(4.8), trained(8.9)]}
    cell = summarise(runs, ["validation"])["b"]["validation"]
    assert cell["low"] < 0 < cell["high"]                                  # repeats differ wildly,
    assert cell["against"]["value"] == pytest.approx(-0.4 / 3)             # arms steadily
    assert (cell["against"]["low"], cell["against"]["high"]) == pytest.approx(mean_interval([-0.1, -0.2, -0.1]))
    assert cell["verdict"] == "better" if cell["against"]["high"] < 0 else cell["verdict"] is None
    assert cell["unit"] == "repeat"
    assert cell["values"] == pytest.approx([0.9, 4.8, 8.9])


def test_clips_of_one_training_do_not_count_as_trainings():
    right = [(True, False, True, True), (True, True, True, True)]
    runs = {"a": [trained(1.0, r) for r in right], "b": [trained(1.0, r) for r in right]}
    assert summarise(runs, ["motion"])["a"]["motion"] == {
        "value": 0.875, "low": pytest.approx(mean_interval([0.75, 1.0])[0]), "high": pytest.approx(mean_interval([0.75, 1.0])[1]),
        "unit": "repeat", "values": [0.75, 1.0], "against": None, "verdict": None,
    }  # fmt: skip
    assert summarise({arm: made[:1] for arm, made in runs.items()}, ["motion"])["a"]["motion"]["unit"] == "clip"


def test_costs_are_ratios_and_one_repeat_alone_has_no_interval():
    runs = {"a": [result(1.0), result(10.0)], "b": [result(2.0), result(20.2)]}
    cell = summarise(runs, ["seconds"])["b"]["seconds"]
    assert cell["against"]["value"] == pytest.approx(math.sqrt(2 * 2.02))
    assert cell["verdict"] == "worse"
    assert summarise(runs, ["seconds"])["a"]["seconds"]["value"] == pytest.approx(math.sqrt(10))
    assert summarise(runs, ["seconds"])["a"]["seconds"]["low"] > 0
    alone = summarise({"a": [result(1.0)], "b": [result(3.0)]}, ["seconds"])["b"]["seconds"]
    assert alone["against"] == {"value": pytest.approx(3.0), "low": None, "high": None}
    assert alone["verdict"] is None


def test_a_repeat_that_failed_in_one_arm_is_left_out_of_the_pairs_and_of_that_arm_alone():
    failed = {"seconds": None, "training": {"failed": "no number"}, "clips": []}
    runs = {"a": [trained(1.0, (True,)), trained(2.0, (True,)), trained(4.0, (False,))], "b": [trained(1.5, (True,)), failed, trained(4.7, (True,))]}
    summary = summarise(runs, ["validation", "motion", "seconds"])
    assert summary["a"]["validation"]["value"] == pytest.approx(7 / 3)
    assert summary["b"]["validation"]["values"] == [1.5, None, 4.7]
    assert summary["b"]["validation"]["against"]["value"] == pytest.approx(0.6)
    assert summary["b"]["motion"]["against"]["value"] == 0.5
    assert summarise({"a": runs["a"], "b": [failed] * 3}, ["motion"])["b"]["motion"]["against"] is None


def test_what_was_not_asked_for_is_no_number():
    runs = {"a": [result(right=(True,))], "b": [result(right=(False,))]}
    cell = summarise(runs, ["size"])["b"]["size"]
    assert cell["value"] is None
    assert cell["against"] is None
    assert cell["values"] == [None]


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.12345, "0.123"), (-1.236, "−1.24"), (45.67, "45.7"), (1234.5, "1234"), (0.00012, "0.0001")])
def test_numbers_have_three_digits_that_count(value, text):
    assert number(value) == text
