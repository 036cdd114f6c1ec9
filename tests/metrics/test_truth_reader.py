"""The reader against the world: what was painted is what is read, also after compression, noise and blur."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from flipbook.data.world import draw, from_scene, scene_from_caption
from flipbook.metrics.truth import read_clip, score
from flipbook.metrics.truth.regions import box_mean, label_regions


def add_noise(frames, seed=0):
    noise = np.random.default_rng(seed).normal(0, 4, frames.shape)
    return np.clip(np.rint(frames + noise), 0, 255).astype(np.uint8)


def blur(frames):
    return np.rint(box_mean(frames.astype(np.float32))).astype(np.uint8)


def compress(frames, crf=23):
    """Through H.264 and back, the way a video site would."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=8, options={"crf": str(crf)})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode())
    file.seek(0)
    with av.open(file) as back:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in back.decode(video=0)])


WEAR = {
    "clean": lambda frames: frames,
    "compressed": compress,
    "noisy": add_noise,
    "blurred": blur,
    "worn": lambda frames: compress(add_noise(blur(frames))),
}


def share_right(seeds, num_objects, wear):
    right = [
        value
        for seed in seeds
        for clip in [draw("shapes", seed, plain=True, num_objects=num_objects)]
        for value in score(wear(clip.frames), clip.caption).attributes.values()
    ]
    return np.mean(right)


def paint(caption, seed=0, **options):
    return from_scene(scene_from_caption(caption, seed), **options).frames


@pytest.mark.parametrize("wear", ["clean", "worn"])
@pytest.mark.parametrize("num_objects", [1, 2])
def test_what_was_painted_is_what_is_read(wear, num_objects):
    assert share_right(range(700, 720), num_objects, WEAR[wear]) >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("wear", WEAR)
@pytest.mark.parametrize("num_objects", [1, 2])
def test_99_of_100_attributes_are_read_right(wear, num_objects):
    assert share_right(range(5000, 5200), num_objects, WEAR[wear]) >= 0.99


def test_a_reading_says_what_is_there_and_where():
    reading = read_clip(paint("a small red star moves right on a teal background"))
    (thing,) = reading.objects
    assert (thing.colour, thing.shape, thing.size, thing.motion) == ("red", "star", "small", "moves right")
    assert reading.background == "teal"
    assert thing.frames == tuple(range(16))
    assert thing.steady
    assert thing.track[-1][0] - thing.track[0][0] > 0.35


@pytest.mark.parametrize(
    ("num_frames", "height", "width"), [(16, 128, 128), (16, 64, 96), (24, 96, 64), (9, 64, 64), (16, 200, 192)]
)
def test_other_sizes_and_lengths_are_read_too(num_frames, height, width):
    caption = "a green triangle bounces on a cloudy background"
    scene = scene_from_caption(caption, 3, (width / min(height, width), height / min(height, width)))
    clip = from_scene(scene, num_frames=num_frames, height=height, width=width)
    assert score(clip.frames, caption).all


def test_an_enlarged_clip_reads_exactly_like_the_small_one():
    frames = paint("a yellow star spins on a striped background")
    assert read_clip(frames.repeat(4, axis=1).repeat(4, axis=2)) == read_clip(frames)


@pytest.mark.parametrize("wear", [WEAR["clean"], lambda frames: blur(blur(blur(frames))), WEAR["worn"]])
@pytest.mark.parametrize(
    "caption",
    [
        "a blue square turns white on a gray background",                   # half-way its colour has no name
        "a blue circle turns yellow on a gray background",                  # half-way it is the background
        "a yellow star moves up on a teal background",                      # between the two lies green
        "a white triangle orbits on a black background",
    ],
)
def test_mixed_colours_do_not_make_objects_of_their_own(caption, wear):
    assert [len(read_clip(wear(paint(caption, seed))).objects) for seed in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("thing", ["blue star moves down on a brown", "yellow star moves up on a teal"])
def test_the_halo_of_a_very_blurred_object_is_no_object(thing):
    frames = paint(f"a {thing} background")
    for _ in range(8):
        frames = blur(frames)
    assert len(read_clip(frames).objects) == 1


def test_an_object_that_passes_behind_another_stays_the_same_object():
    """One lane, opposite ways: for some frames only one of the two is to be seen."""
    frames = np.full((16, 64, 64, 3), 128, np.uint8)
    for t in range(16):
        frames[t, 26:38, 4 + 3 * t : 16 + 3 * t] = (222, 32, 38)
        frames[t, 20:44, 25:40] = (38, 70, 232)
    objects = {thing.colour: thing for thing in read_clip(frames).objects}
    assert set(objects) == {"red", "blue"}
    assert objects["red"].motion == "moves right"
    assert objects["red"].frames[0] == 0
    assert objects["red"].frames[-1] == 15


@pytest.mark.parametrize("height", [16, 28])
def test_a_colour_that_comes_in_from_one_side_makes_one_object_that_turns(height):
    frames = np.full((16, 64, 64, 3), 128, np.uint8)
    for t in range(16):
        change = 40 - int(height * np.clip((t - 5) / 4, 0, 1))                 # for three frames both colours are seen
        frames[t, 40 - height : 40, 20:40] = (38, 70, 232)
        frames[t, change:40, 20:40] = (222, 32, 38)
    (thing,) = read_clip(frames).objects
    assert (thing.colour, thing.motion, thing.steady) == ("blue", "turns red", True)


def test_something_that_comes_while_another_goes_is_another_object():
    """As above, but beside it, and both whole for three frames."""
    frames = np.full((16, 64, 64, 3), 128, np.uint8)
    frames[:9, 24:40, 12:28] = (38, 70, 232)
    frames[6:, 24:40, 34:50] = (222, 32, 38)
    assert [thing.colour for thing in read_clip(frames).objects] == ["red", "blue"]


def test_a_reading_does_not_change_with_the_object_that_holds_the_frames():
    frames = paint("a blue square orbits on a gray background")
    holder = type("Holder", (), {"frames": frames})()
    assert read_clip(holder) == read_clip(frames)


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (np.zeros((16, 64, 64, 3), np.float32), "float32"),
        (np.zeros((64, 64, 3), np.uint8), r"\(64, 64, 3\)"),
        (np.zeros((16, 16, 16, 3), np.uint8), "too small"),
    ],
)
def test_what_is_no_clip_is_refused_by_name(clip, words):
    with pytest.raises(ValueError, match=words):
        read_clip(clip)


def test_regions_are_numbered_by_frame_and_label():
    labels = np.array([[[1, 1, 0, 2], [0, 1, 0, 2], [3, 0, 0, 2]], [[1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]]])
    regions = label_regions(labels)
    assert np.array_equal(regions > 0, labels > 0)
    assert len(np.unique(regions[regions > 0])) == 4                       # the U of the second frame is one region
    assert len({*regions[0, :2, :2][labels[0, :2, :2] > 0]}) == 1


def test_regions_agree_with_a_flood_fill_on_random_labels():
    labels = np.random.default_rng(0).integers(0, 3, (3, 20, 20))
    regions = label_regions(labels)
    flooded = np.zeros_like(labels)
    for number, start in enumerate(np.argwhere(labels), 1):
        stack = [tuple(start)]
        while stack:
            t, y, x = place = stack.pop()
            if flooded[place]:
                continue
            flooded[place] = number
            beside = [(t, y + 1, x), (t, y - 1, x), (t, y, x + 1), (t, y, x - 1)]
            stack += [p for p in beside if 0 <= p[1] < 20 and 0 <= p[2] < 20 and labels[p] == labels[place]]
    pairs = set(zip(regions.ravel().tolist(), flooded.ravel().tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
