import numpy as np
import pytest

from flipbook.data import world
from flipbook.data.labels import KINDS, MOVES, SPINS, label_maps


def test_labels_name_the_shape_that_is_seen_at_each_place():
    clip = world.draw("shapes", 5, num_objects=2)
    kinds = label_maps(clip)["kinds"]
    for thing, mask in zip(clip.scene["objects"], clip.masks, strict=True):
        assert (kinds[mask[:, 2::4, 2::4]] == KINDS.index(thing["shape"])).all()
    assert not kinds[~clip.masks.any(0)[:, 2::4, 2::4]].any()


@pytest.mark.parametrize(("motion", "told"), [("moves right", "right"), ("moves left", "left"), ("moves up", "up"),
                                              ("moves down", "down"), ("stays still", "at rest"), ("spins", "at rest")])
@pytest.mark.parametrize("frames", [None, [0, 5, 10, 15]])
def test_labels_name_the_direction_at_any_choice_of_frames(motion, told, frames):
    scene = world.scene_from_caption(f"a red square {motion} on a black background", 3)
    maps = label_maps(world.from_scene(scene, frames=frames))
    assert set(np.unique(maps["moves"])) == {0, MOVES.index(told)}
    assert np.array_equal(maps["moves"] > 0, maps["kinds"] > 0)


def test_an_orbit_goes_through_all_directions():
    scene = world.scene_from_caption("a blue circle orbits on a gray background", 3)
    assert set(np.unique(label_maps(world.from_scene(scene))["moves"])) == {0, *range(2, 10)}


def test_figures_have_a_label_skies_none_and_stills_no_direction():
    assert set(np.unique(label_maps(world.draw("figures", 1))["kinds"])) == {0, KINDS.index("figure")}
    assert not any(one.any() for one in label_maps(world.draw("sky", 1)).values())
    assert set(label_maps(world.draw("shapes", 1, frames=[3]))) == {"kinds", "turns"}


@pytest.mark.parametrize(("shape", "order"), [("square", 4), ("triangle", 3), ("star", 5)])
def test_a_spin_goes_through_all_eighths_of_an_equal_turn_in_its_direction(shape, order):
    scene = world.scene_from_caption(f"a red {shape} spins on a black background", 3)
    maps = label_maps(world.from_scene(scene, num_frames=120))
    turns = maps["turns"].max((1, 2)).astype(int)
    steps = np.diff(turns) % 8
    forward = scene["objects"][0]["turns"] > 0
    assert set(steps) == ({0, 1} if forward else {0, 7})
    assert abs(int(np.count_nonzero(steps)) - abs(scene["objects"][0]["turns"]) * order * 8) <= 1
    assert set(np.unique(maps["spins"])) == {0, SPINS.index("clockwise" if forward else "anticlockwise")}


def test_what_does_not_spin_keeps_its_turn_and_a_circle_has_none():
    still = label_maps(world.from_scene(world.scene_from_caption("a red star moves left on a black background", 3)))
    assert len(np.unique(still["turns"])) == 2
    assert set(np.unique(still["spins"])) == {0, SPINS.index("keeps its turn")}
    round_one = label_maps(world.from_scene(world.scene_from_caption("a red circle moves left on a black background", 3)))
    assert not round_one["turns"].any()
    assert not round_one["spins"].any()
