"""The scorer must say no: one wrong word, a frozen clip, noise, a blob, a thing too many or too few."""

from __future__ import annotations

import numpy as np
import pytest

from flipbook.data.world import from_scene, scene_from_caption
from flipbook.metrics.truth import score

CAPTION = "a large yellow triangle moves left on a brown background"


def paint(caption, seed=0):
    return from_scene(scene_from_caption(caption, seed)).frames


def wrong(frames, caption):
    return [name for name, right in score(frames, caption).attributes.items() if not right]


def test_a_right_clip_is_all_right():
    assert wrong(paint(CAPTION), CAPTION) == []
    assert score(paint(CAPTION), CAPTION).all


@pytest.mark.parametrize(
    ("attribute", "word", "other"),
    [
        ("colour", "yellow", "orange"),
        ("shape", "triangle", "star"),
        ("size", "large", "small"),
        ("motion", "moves left", "moves right"),
        ("motion", "moves left", "stays still"),
        ("background", "brown", "black"),
    ],
)
def test_one_wrong_word_fails_on_exactly_that_attribute(attribute, word, other):
    assert wrong(paint(CAPTION), CAPTION.replace(word, other)) == [attribute]


@pytest.mark.parametrize(
    "motion", ["moves up", "bounces", "falls", "orbits", "spins", "grows", "shrinks", "turns blue"]
)
def test_a_frozen_clip_has_the_wrong_motion(motion):
    caption = f"a red square {motion} on a gray background"
    frames = paint(caption)
    assert wrong(frames, caption) == []
    assert wrong(np.repeat(frames[:1], 16, 0), caption) == ["motion"]


def test_a_clip_played_backwards_has_the_wrong_motion():
    for motion in ("moves down", "falls", "grows", "turns green"):
        caption = f"a purple star {motion} on a black background"
        assert "motion" in wrong(paint(caption)[::-1], caption)


def test_falling_is_not_moving_down():
    fall, slide = (f"a white circle {motion} on a teal background" for motion in ("falls", "moves down"))
    assert wrong(paint(fall), slide) == ["motion"]
    assert wrong(paint(slide), fall) == ["motion"]


def test_noise_shows_nothing():
    noise = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), np.uint8)
    assert {"colour", "shape", "motion", "background"} <= set(wrong(noise, CAPTION))


def test_an_empty_wall_has_only_its_background_right():
    wall = np.full((16, 64, 64, 3), (104, 66, 40), np.uint8)
    assert wrong(wall, CAPTION) == ["objects", "colour", "shape", "size", "motion"]


def blob(outline, softness):
    """A red thing on grey, `outline`(angle) pixels wide with an edge `softness` pixels wide."""
    y, x = np.mgrid[:64, :64] - 31.5
    share = np.clip(0.5 - (np.hypot(x, y) - outline(np.arctan2(y, x))) / softness, 0, 1)[..., None]
    frame = np.rint(128 + share * (np.array((222, 32, 38)) - 128)).astype(np.uint8)
    return np.repeat(frame[None], 16, 0)


@pytest.mark.parametrize("shape", ["circle", "square", "triangle", "star"])
@pytest.mark.parametrize(
    "shapeless",
    [
        blob(lambda a: 11 + 3 * np.sin(2 * a) + 1.5 * np.cos(3 * a), 2),    # a bean
        blob(lambda a: 12 + 4 * np.sin(a) * np.cos(2 * a), 3),              # a stain
        blob(lambda a: 12 + 0 * a, 18),                                     # a glow
    ],
    ids=["bean", "stain", "glow"],
)
def test_a_blob_has_no_shape(shape, shapeless):
    assert "shape" in wrong(shapeless, f"a red {shape} stays still on a gray background")


def test_a_round_thing_with_a_clear_edge_is_a_circle():
    assert wrong(blob(lambda a: 12 + 0 * a, 2), "a red circle stays still on a gray background") == []


def test_a_missing_and_an_extra_object_are_noticed():
    one = "a red star stays still on a black background"
    two = "a red star stays still and a green circle moves up on a black background"
    assert {"objects", "colour", "shape", "motion", "order"} == set(wrong(paint(one), two))
    assert wrong(paint(two), one) == ["objects"]


def test_an_object_that_comes_and_goes_is_not_steady():
    frames = paint(CAPTION).copy()
    frames[[3, 7, 11, 12]] = (104, 66, 40)
    assert "objects" in wrong(frames, CAPTION)


def test_an_object_that_vanishes_half_way_is_not_steady():
    frames = paint(CAPTION).copy()
    frames[9:] = (104, 66, 40)
    assert "objects" in wrong(frames, CAPTION)


def test_exchanged_shapes_or_motions_are_out_of_order():
    asked = "a red circle moves up and a small blue star stays still on a gray background"
    assert wrong(paint(asked), asked) == []
    other_shapes = "a red star moves up and a small blue circle stays still on a gray background"
    other_motions = "a red circle stays still and a small blue star moves up on a gray background"
    assert wrong(paint(other_shapes), asked) == ["shape", "order"]
    assert wrong(paint(other_motions), asked) == ["motion", "order"]


def test_the_order_of_the_sentence_does_not_matter_to_the_picture():
    asked = "a red circle moves up and a blue star stays still on a gray background"
    told = "a blue star stays still and a red circle moves up on a gray background"
    assert wrong(paint(told), asked) == []


def test_a_sentence_outside_the_grammar_is_refused():
    with pytest.raises(ValueError, match="plain caption"):
        score(paint(CAPTION), "two cats on a sofa")
