"""The truth is true: each claim about a clip is checked against its pixels or against another claim."""

from __future__ import annotations

import numpy as np
import pytest

from flipbook.data.world import draw, from_scene, scene_from_caption
from flipbook.data.world.vocabulary import COLOURS, SHAPES


def one(caption, seed=0, size=64, **options):
    return from_scene(scene_from_caption(caption, seed), height=size, width=size, **options)


def warp(image, flow):
    """image (H, W, C) looked at through p + flow(p), bilinear; pixels outside repeat the border."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    x, y = np.clip(x + flow[..., 0], 0, width - 1.001), np.clip(y + flow[..., 1], 0, height - 1.001)
    x0, y0 = x.astype(int), y.astype(int)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    top = image[y0, x0] * (1 - fx) + image[y0, x0 + 1] * fx
    return top * (1 - fy) + (image[y0 + 1, x0] * (1 - fx) + image[y0 + 1, x0 + 1] * fx) * fy


def interior(mask):
    """Pixels whose whole 5 x 5 neighbourhood is inside."""
    inner = mask.copy()
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            inner &= np.roll(mask, (dy, dx), (0, 1))
    return inner


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_true_flow_brings_one_frame_onto_the_other_inside_the_objects(direction):
    """A shaded object makes a wrong rotation or scale visible; clouds drift behind it."""
    for seed, motion in enumerate(("moves left", "falls", "bounces", "orbits", "spins", "grows", "shrinks")):
        size = "" if motion in ("grows", "shrinks") else "large "
        scene = scene_from_caption(f"a {size}red square {motion} on a cloudy background", seed)
        scene["objects"][0]["texture"] = "shaded"
        clip = from_scene(scene, height=96, width=96)
        frames, mask = clip.frames.astype(float), clip.masks[0]
        for i in (2, 9):
            here, there = (i, i + 1) if direction == "forward" else (i + 1, i)
            flow = clip.optical_flow[i] if direction == "forward" else clip.backward_flow[i]
            back = warp(frames[there], flow)
            inside = interior(mask[here])
            assert inside.sum() > 50
            assert np.abs(back - frames[here])[inside].max() < 4.0, motion
            assert np.abs(flow[inside]).max() > 0.05


def test_true_flow_of_the_camera_explains_the_background():
    clip = next(c for c in (draw("shapes", s, height=96, width=96) for s in range(400))
                if c.scene["camera"]["move"].startswith("zooms") and c.scene["background"] == "cloudy")  # fmt: skip
    frames, ground = clip.frames.astype(float), interior(clip.depth[7] == 10.0)
    moved, still = np.abs(warp(frames[8], clip.optical_flow[7]) - frames[7]), np.abs(frames[8] - frames[7])
    ground[:8] = ground[-8:] = ground[:, :8] = ground[:, -8:] = False    # what a zoom brings into or out of view
    assert moved[ground].mean() < 0.4 * still[ground].mean()


def test_true_flow_of_clouds_is_their_drift():
    for seed in range(60):
        clip = draw("sky", seed, height=96, width=96)
        if clip.scene["amount"] == "thick" and clip.scene["speed_word"] == "quickly":
            break
    frames = clip.frames.astype(float)
    near = interior(clip.depth[7] == 4.0) & (np.abs(clip.optical_flow[7]).max(axis=-1) > 1.0)
    near[:8] = near[-8:] = near[:, :8] = near[:, -8:] = False
    assert near.sum() > 500
    moved, still = np.abs(warp(frames[8], clip.optical_flow[7]) - frames[7]), np.abs(frames[8] - frames[7])
    assert moved[near].mean() < 0.6 * still[near].mean()
    way = np.array({"left": (-1, 0), "right": (1, 0), "up": (0, -1)}[clip.scene["direction"]], np.float32)
    assert clip.optical_flow[7][near] @ way == pytest.approx(96 * clip.scene["speed"] / 15, rel=1e-4)


def test_forward_and_backward_flow_cancel_where_nothing_is_hidden():
    clip = one("a large red square orbits on a black background")
    forward, backward = clip.optical_flow[6], clip.backward_flow[6]
    there = warp(backward.astype(float), forward)
    inside = interior(clip.masks[0, 6])
    assert np.abs(forward + there)[inside].max() < 0.02


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_covers_pi_r_squared_pixels(shape):
    clip = one(f"a large red {shape} stays still on a black background", size=128)
    expected = np.pi * (clip.scene["objects"][0]["radius"] * 128) ** 2
    assert clip.masks[0, 0].sum() == pytest.approx(expected, rel=0.03)


def test_boxes_bound_masks_and_tracks_stay_in_them():
    for seed in range(20):
        clip = draw("shapes", seed)
        for mask, box, track in zip(clip.masks, clip.boxes, clip.tracks, strict=True):
            for frame in range(0, 16, 5):
                y, x = np.nonzero(mask[frame])
                assert box[frame] * 64 == pytest.approx([x.min(), y.min(), x.max() + 1, y.max() + 1], abs=1e-4)
                assert (box[frame, :2] * 64 - 6 <= track[frame]).all()
                assert (track[frame] <= box[frame, 2:] * 64 + 6).all()


def test_masks_show_the_colour_that_the_caption_names():
    for seed in range(20):
        clip = draw("shapes", seed, plain=True)
        for thing, mask in zip(clip.scene["objects"], clip.masks, strict=True):
            inside = interior(mask[0])
            if inside.sum() > 10:
                mean = clip.frames[0][inside].mean(axis=0)
                nearest = min(COLOURS, key=lambda name: np.abs(mean - COLOURS[name]).sum())
                assert nearest == thing["colour"]


def test_objects_stay_in_view_and_hide_each_other_only_a_little():
    hidden = []
    for seed in range(80):
        clip = draw("shapes", seed, frames=[0, 5, 10, 15])
        assert clip.visible.all()
        for index, thing in enumerate(clip.scene["objects"]):
            alone = from_scene({**clip.scene, "objects": [thing]}, frames=[0, 5, 10, 15]).masks[0]
            hidden.extend(1.0 - clip.masks[index].sum(axis=(1, 2)) / alone.sum(axis=(1, 2)))
    assert max(hidden) < 0.45
    assert 0.01 < np.mean(np.array(hidden) > 0.03) < 0.12


def test_nearer_objects_are_nearer_in_depth_and_hide_farther_ones():
    clip = next(c for c in (draw("shapes", s, num_objects=2) for s in range(200)) if crossing(c).any())
    nearer = int(np.argmin([thing["depth"] for thing in clip.scene["objects"]]))
    assert (clip.masks[nearer][crossing(clip)]).all()
    for thing, mask in zip(clip.scene["objects"], clip.masks, strict=True):
        assert clip.depth[mask] == pytest.approx(thing["depth"])
    assert (clip.depth[~clip.masks.any(axis=0)] == 10.0).mean() > 0.95


def crossing(clip):
    alone = [from_scene({**clip.scene, "objects": [thing]}).masks[0] for thing in clip.scene["objects"]]
    return alone[0] & alone[1]


@pytest.mark.parametrize(
    ("motion", "sign"),
    [
        ("moves right", (1, 0)), ("moves left", (-1, 0)), ("moves up", (0, -1)), ("moves down", (0, 1)),
        ("falls", (0, 1)),
    ],
)  # fmt: skip
def test_tracks_go_where_the_sentence_says(motion, sign):
    for seed in range(5):
        track = one(f"a small blue star {motion} on a gray background", seed).tracks[0]
        way = (track[-1] - track[0]) / 64
        assert 0.39 <= way @ np.array(sign) <= 0.66
        assert abs(way @ np.array(sign)[::-1]) < 1e-5


def test_a_bounce_clicks_when_it_touches_the_ground():
    clip = one("a small red circle bounces on a black background")
    frames = one("a small red circle bounces on a black background", num_frames=400).tracks[0, :, 1]
    lowest = np.argmax(frames[:200]) / 399 * len(clip.audio)
    loud = np.abs(clip.audio) > 0.32
    assert loud.any()
    assert abs(np.argmax(loud) - lowest) < 0.03 * 16_000
    assert clip.audio.shape == (32_000,)


def test_pitch_follows_height():
    clip = one("a small red circle moves up on a black background")
    turns = np.sign(clip.audio)
    rate = lambda part: np.count_nonzero(np.diff(part))
    assert rate(turns[-8000:]) > 1.2 * rate(turns[:8000])


def test_people_have_thirteen_joints_on_their_bodies():
    for seed in range(20):
        clip = draw("figures", seed)
        assert clip.keypoints.shape == (len(clip.scene["objects"]), 16, 13, 2)
        x, y = np.clip(clip.keypoints[0, 8].astype(int), 0, 63).T
        assert clip.masks.any(axis=0)[8, y, x].mean() > 0.7
    with pytest.raises(ValueError, match="shows no people"):
        _ = draw("shapes", 0).keypoints


def test_feet_stand_on_the_floor_unless_they_leap():
    for seed in range(30):
        clip = draw("figures", seed)
        thing = clip.scene["objects"][0]
        lowest = clip.keypoints[0, :, 11:, 1].max(axis=1) / 64
        if thing["action"] == "jumps":
            assert lowest.max() - lowest.min() > 0.08
        else:
            assert lowest.max() - lowest.min() < 1e-4


def test_the_camera_is_at_rest_unless_the_caption_says_otherwise():
    assert np.allclose(one("a red star spins on a striped background").camera, [0.0, 0.0, 1.0])
    panning = next(c for c in (draw("shapes", s) for s in range(400)) if c.scene["camera"]["move"] == "pans left")
    assert panning.caption.endswith("while the camera pans left")
    assert panning.camera[-1, 0] - panning.camera[0, 0] > 0.2          # the picture slides to the right


def test_one_brain_sees_like_scenes_alike():
    red, again, other = (one(c, s).brain for c, s in (
        ("a red star spins on a striped background", 0), ("a red star spins on a striped background", 1),
        ("a large blue circle falls on a teal background", 0)))  # fmt: skip
    alike = lambda a, b: np.corrcoef(a, b)[0, 1]
    assert alike(red, again) > 0.8 > 0.4 > alike(red, other)


def test_truths_can_be_computed_at_once():
    assert set(draw("figures", 1, truth=True).truth()) == {
        "depth", "masks", "boxes", "tracks", "visible", "optical_flow", "backward_flow", "edges", "camera", "keypoints",
        "audio", "brain",
    }  # fmt: skip
