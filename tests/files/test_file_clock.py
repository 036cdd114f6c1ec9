"""Rates, times and windows as arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from flipbook.files.errors import VideoError
from flipbook.files.select import Clock, clock_of, frames_on_screen, nice_rate, select


@pytest.mark.parametrize(
    ("rate", "nice"),
    [
        (8.0, Fraction(8)),
        (12.5, Fraction(25, 2)),
        (29.97002997, Fraction(30000, 1001)),
        (23.976023976, Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)),
        (0.5, Fraction(1, 2)),
    ],
)
def test_a_rate_given_as_a_float_is_the_fraction_it_means(rate, nice):
    assert nice_rate(rate) == nice


@pytest.mark.parametrize("rate", [8, 12.5, 24, 30000 / 1001, 48])
@pytest.mark.parametrize("tick", [1e-5, 0.001, 0.01])
def test_rounding_to_the_grid_of_a_file_is_not_a_variable_rate(rate, tick):
    times = np.round(np.arange(50) / rate / tick) * tick
    clock = clock_of(times, None, tick, (Fraction(rate).limit_denominator(1001),))
    assert clock.constant
    assert clock.fps == pytest.approx(rate)
    assert clock.times == pytest.approx(np.arange(50) / rate)


def test_one_long_frame_makes_a_rate_variable_and_its_mean_counts_the_last_frame_too():
    clock = clock_of(np.array([5.0, 5.1, 5.2, 5.5]), 0.1, 0.001, (10,))
    assert not clock.constant
    assert clock.times.tolist() == pytest.approx([0, 0.1, 0.2, 0.5])
    assert (clock.end, clock.fps) == pytest.approx((0.6, 4 / 0.6))


def test_a_hint_that_the_frames_contradict_is_not_believed():
    assert clock_of(np.arange(20) / 10, None, 1e-4, (25, None, 0)).fps == 10


def test_the_frame_on_screen_is_the_last_one_that_has_appeared():
    times = np.array([0.0, 0.1, 0.5])
    assert frames_on_screen(times, 0.6, 10).tolist() == [0, 1, 1, 1, 1, 2]
    assert frames_on_screen(times, 0.6, 10, start=0.35).tolist() == [1, 1]


def test_same_rate_in_and_out_is_the_identity_for_any_rate():
    for rate in np.random.default_rng(0).uniform(1, 120, 50):
        times = np.arange(200) / rate
        assert frames_on_screen(times, 200 / rate, rate).tolist() == list(range(200))
        assert frames_on_screen(times, 200 / rate, rate, start=times[7]).tolist() == list(range(7, 200))


def test_absurd_lengths_are_refused_before_they_fill_the_memory():
    with pytest.raises(VideoError, match="window"):
        frames_on_screen(np.zeros(1), 1e12, 30)


def test_a_window_in_frames_counts_frames_of_the_result():
    clock = Clock(np.arange(60) / 30, 2.0, 30.0, True)
    assert select(clock, fps=10, start_frame=5, num_frames=2).indices.tolist() == [15, 18]
    assert select(clock, start=0.5, num_frames=3).indices.tolist() == [15, 16, 17]
    assert select(clock, start=0.5, end=0.6).indices.tolist() == [15, 16, 17]


def test_a_window_knows_the_seconds_it_covers():
    clock = Clock(np.array([0.0, 0.1, 0.5, 0.6]), 1.0, 4.0, False)
    chosen = select(clock, start_frame=1, num_frames=2)
    assert (chosen.start, chosen.end) == pytest.approx((0.1, 0.6))
    assert chosen.times.tolist() == pytest.approx([0, 0.4])
    assert chosen.fps == pytest.approx(2 / 0.5)
