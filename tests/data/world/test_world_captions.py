"""Sentences and scenes say the same thing."""

from __future__ import annotations

import numpy as np
import pytest

from flipbook.data.world import COLOURS, MOTIONS, SHAPES, SIZES, compose_caption, is_held_out, parse_caption
from flipbook.data.world.shapes_scene import draw_scene, scene_from_caption
from flipbook.data.world.vocabulary import UNNAMED_SIZE

SQUARE = (1.0, 1.0)


def scenes(count, **options):
    options = {"held_out": None, "num_objects": None, "plain": False} | options
    return [draw_scene(seed, SQUARE, **options) for seed in range(count)]


def test_reading_a_composed_caption_gives_the_scene_back():
    for scene in scenes(500, plain=True):
        request = parse_caption(scene["caption"])
        assert request is not None, scene["caption"]
        assert request["background"] == scene["background"]
        told = [{key: thing[key] for key in request["objects"][0]} for thing in scene["objects"]]
        assert told == request["objects"]


@pytest.mark.parametrize(
    "caption",
    [
        "a red ball moves right on a black background",
        "a small red square grows on a black background",      # a size that changes has no name
        "a red circle spins on a teal background",             # nobody would see it
        "a red star turns red on a teal background",
        "a red star moves right",
        "hurricane clouds seen from a satellite",
        "",
    ],
)  # fmt: skip
def test_what_is_outside_the_grammar_is_not_guessed(caption):
    assert parse_caption(caption) is None
    with pytest.raises(ValueError, match="outside the plain grammar"):
        scene_from_caption(caption, 0)


def test_small_slips_of_the_pen_are_forgiven():
    careless = parse_caption("A orange circle  moves right and a large blue star turns WHITE on a grey background.")
    assert careless is not None
    assert compose_caption(careless) == (
        "an orange circle moves right and a large blue star turns white on a gray background"
    )


def test_a_scene_laid_out_for_a_sentence_says_that_sentence():
    captions = {scene["caption"] for scene in scenes(120, plain=True)}
    for seed, caption in enumerate(sorted(captions)):
        assert scene_from_caption(caption, seed)["caption"] == caption


def test_a_spin_can_be_followed_and_told_from_rest():
    """At 16 frames a star turns by little more than a quarter of its fifth of a turn a frame; faster it could as well turn back."""
    turns = [abs(scene["objects"][0]["turns"]) for scene in scenes(200, motions=("spins",))]
    assert 0.4 < min(turns) < 0.5
    assert 0.75 < max(turns) < 0.3 * 15 / 5


def test_training_never_sees_a_held_out_combination_and_the_probe_always_does():
    kept = lambda thing: is_held_out(thing["colour"], thing["shape"], thing["motion"])
    assert not any(kept(thing) for scene in scenes(400, held_out=False) for thing in scene["objects"])
    assert all(kept(scene["objects"][0]) for scene in scenes(200, held_out=True))


def test_the_first_object_has_one_of_the_motions_that_were_asked_for():
    firsts = {scene["objects"][0]["motion"] for scene in scenes(60, motions=("spins", "bounces"))}
    assert firsts == {"spins", "bounces"}
    assert len({thing["motion"] for scene in scenes(60, num_objects=2, motions=("spins",)) for thing in scene["objects"][1:]}) > 5


@pytest.mark.parametrize("motions", [(), ("hops",)])
def test_motions_that_the_world_does_not_know_are_refused(motions):
    with pytest.raises(ValueError, match=r"motions=.*at least one of"):
        scenes(1, motions=motions)


def test_about_one_in_eleven_combinations_is_held_out_of_every_colour_shape_and_motion():
    table = np.array([[[is_held_out(c, s, m) for m in MOTIONS] for s in SHAPES] for c in COLOURS])
    assert table.mean() == pytest.approx(1 / 11, abs=0.01)
    for axes in ((1, 2), (0, 2), (0, 1)):
        share = table.mean(axis=axes)
        assert share.min() > 0.0
        assert share.max() < 0.25


def test_numbers_and_sizes_come_in_the_stated_shares():
    drawn = scenes(1500)
    counts = np.array([len(scene["objects"]) for scene in drawn])
    assert [np.mean(counts == n) for n in (1, 2, 3)] == pytest.approx([0.45, 0.45, 0.10], abs=0.04)
    free = [t for scene in drawn for t in scene["objects"] if t["motion"] not in ("grows", "shrinks")]
    assert np.mean([thing["size"] is None for thing in free]) == pytest.approx(0.5, abs=0.06)
    assert np.mean([scene["caption"] != compose_caption(scene) for scene in drawn]) == pytest.approx(0.15, abs=0.03)
    assert np.mean([bool(scene["camera"]["move"]) for scene in drawn]) == pytest.approx(0.06, abs=0.02)


def test_a_size_word_is_the_truth_and_a_changing_size_has_none():
    for thing in (thing for scene in scenes(400) for thing in scene["objects"]):
        if thing["motion"] in ("grows", "shrinks"):
            assert thing["size"] is None
        else:
            low, high = SIZES[thing["size"]] if thing["size"] else UNNAMED_SIZE
            assert low <= thing["radius"] <= high


def test_objects_of_one_clip_differ_in_colour_even_after_turning():
    for scene in scenes(300):
        colours = [thing["colour"] for thing in scene["objects"]] + [t["turns_to"] for t in scene["objects"]]
        named = [colour for colour in colours if colour]
        assert len(set(named)) == len(named)


def test_plain_clips_have_no_camera_and_no_texture():
    for scene in scenes(200, plain=True):
        assert not scene["camera"]["move"]
        assert all(thing["texture"] == "plain" for thing in scene["objects"])
