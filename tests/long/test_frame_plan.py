"""Frame plans: every frame once, nothing unknown observed."""

from __future__ import annotations

import pytest

from flipbook.long.plan import Pass, autoregressive, between_keys, checked, keys, num_interpolated, num_predicted, whole


@pytest.mark.parametrize("window", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("num_frames", [8, 9, 13, 29])
def test_chunks_make_every_frame_once_and_know_only_what_is_done(num_frames, window):
    for overlap in range(window):
        passes = list(checked(autoregressive(num_frames, window, overlap), num_frames))
        assert all(len(step.frames) == window for step in passes if step.observed or overlap)
        assert all(len(step.observed) >= overlap for step in passes[1:])


def test_twenty_nine_frames_in_chunks_of_eight_that_share_one():
    """Show-1: 29 = 7 * 4 + 1, so every chunk but the first knows exactly one frame."""
    passes = list(autoregressive(29, 8, 1))
    assert [step.observed for step in passes] == [(), (7,), (14,), (21,)]
    assert [step.places for step in passes[1:]] == [(0,)] * 3
    assert passes[-1].generated[-1] == 28


def test_eight_keys_become_twenty_nine_frames_and_stay_where_they_were():
    passes = list(checked(between_keys(29, 4), 29, keys(29, 4)))
    assert keys(29, 4) == (0, 4, 8, 12, 16, 20, 24, 28)
    assert len(passes) == 7
    assert passes[2] == Pass((8, 12), (9, 10, 11))
    assert passes[2].places == (0, 4)
    with pytest.raises(ValueError, match="num_frames=29 or 33"):
        list(between_keys(30, 4))


def test_lengths_of_prediction_and_interpolation():
    """LVDM: N = T + n (T - K) after n predictions, then (N - 1)(T' - 1) + 1."""
    assert num_predicted(4, 3, 1) == 13
    assert len({f for step in autoregressive(13, 4, 1) for f in step.generated}) == 13
    assert len(list(autoregressive(13, 4, 1))) == 4
    assert num_interpolated(13, 5) == 49
    assert max(step.frames[-1] for step in between_keys(49, 4)) == 48


def test_plans_that_break_their_contract_are_named():
    with pytest.raises(ValueError, match=r"observes frames \[3\] before"):
        list(checked([Pass((), (0, 1)), Pass((3,), (2,))], 4))
    with pytest.raises(ValueError, match=r"frames \[1\] twice"):
        list(checked([Pass((), (0, 1)), Pass((), (1, 2))], 3))
    with pytest.raises(ValueError, match=r"without frames \[2\]"):
        list(checked([Pass((), (0, 1))], 3))
    with pytest.raises(ValueError, match="0 to 1"):
        list(checked([Pass((), (0, 1, 2))], 2))
    with pytest.raises(ValueError, match="overlap < window"):
        list(autoregressive(8, 4, 4))


def test_a_whole_clip_around_known_frames():
    (step,) = checked(whole(5, (0, 4)), 5, (0, 4))
    assert step.generated == (1, 2, 3)
    assert step.places == (0, 4)
