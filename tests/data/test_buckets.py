"""Buckets: one shape per batch, every clip once, exact resume, the promised histogram."""

from __future__ import annotations

import warnings
from collections import Counter

import pytest
import torch
from replicas import clip, picture

from flipbook.data import world
from flipbook.data.buckets import Bucket, Buckets, NoBucket
from flipbook.data.framing import Framing
from flipbook.data.sources.bucketed import build_bucketed
from flipbook.data.sources.prefetch import batches
from flipbook.objectives.base import OBJECTIVES
from flipbook.train import train
from train_toy import Toy, draw, toy_recipe, weights

BUCKETS = Buckets.model_validate({
    "levels": [{"side": 32, "num_frames": 4}, {"side": 32, "num_frames": 1}, {"side": 16, "num_frames": 4}],
    "aspects": [0.5, 1, 2],
})  # fmt: skip
FRAMING = Framing(num_frames=4, clip_frames=4, height=32, width=32)


@pytest.fixture
def mixed(tmp_path):
    """Seven clips wide, three small, five pictures."""
    for name, count, size in (("wide", 7, (6, 24, 48)), ("small", 3, (4, 16, 16))):
        for i in range(count):
            (clip(tmp_path / f"{name}{i}.mkv", *size).with_suffix(".txt")).write_text(f"{name} {i}")
    for i in range(5):
        (picture(tmp_path / "pictures" / f"p{i}.png", i, 32, 32).with_suffix(".txt")).write_text(f"picture {i}")
    return tmp_path


def stream_of(folder, **more):
    entries = [{"folder": str(folder), "layout": "videos"}, {"folder": str(folder / "pictures"), "weight": 0.5}]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build_bucketed(entries, FRAMING, BUCKETS, batch_size=4, seed=0, **more)


def test_a_clip_goes_to_the_most_pixels_then_the_most_frames_then_the_nearest_aspect():
    assert BUCKETS.choose(9, 100, 210, 1, "x") == Bucket(4, 24, 48)
    assert BUCKETS.choose(3, 100, 100, 1, "x") == Bucket(1, 32, 32)
    assert BUCKETS.choose(9, 16, 16, 1, "x") == Bucket(4, 16, 16)
    assert BUCKETS.choose(4, 100, 100, 2, "x") == Bucket(1, 32, 32)  # four frames span seven at stride 2


@pytest.mark.parametrize(("frames", "height", "width", "rule"), [(9, 12, 12, "too small"), (2, 16, 16, "too short")])
def test_a_clip_that_fits_nowhere_is_told_why(frames, height, width, rule):
    found = BUCKETS.choose(frames, height, width, 1, "x")
    assert isinstance(found, NoBucket)
    assert found.rule == rule


def test_no_clip_is_enlarged_by_more_than_a_tenth():
    for height in range(8, 80, 3):
        for width in range(8, 80, 3):
            found = BUCKETS.choose(4, height, width, 1, "x")
            assert isinstance(found, NoBucket) or max(found.height / height, found.width / width) <= 1.1


def test_keep_thins_a_level_by_its_share_and_sends_the_others_down():
    levels = [{"side": 32, "num_frames": 4, "keep": 0.3}, {"side": 16, "num_frames": 4}]
    thin = Buckets.model_validate({"levels": levels, "aspects": [1]})
    counts = Counter(thin.choose(4, 64, 64, 1, f"clip {i}") for i in range(3000))
    assert counts.keys() == {Bucket(4, 32, 32), Bucket(4, 16, 16)}
    assert abs(counts[Bucket(4, 32, 32)] - 900) < 3 * (3000 * 0.3 * 0.7) ** 0.5
    assert thin.choose(4, 64, 64, 1, "clip 5") == thin.choose(4, 64, 64, 1, "clip 5")


def test_every_batch_has_one_shape_and_about_the_same_pixels(mixed):
    stream = stream_of(mixed)
    budget = 4 * 4 * 32 * 32
    for update in range(40):
        shapes = {stream.sample(k).video.shape for k in stream.numbers(update)}
        assert len(shapes) == 1
        (t, h, w, _), count = shapes.pop(), len(stream.numbers(update))
        assert budget - t * h * w < count * t * h * w <= budget


def test_no_clip_is_lost_and_none_comes_again_before_all_of_its_bucket_have_come(mixed):
    stream = stream_of(mixed)
    seen = [stream.sample(k) for update in range(200) for k in stream.numbers(update)]
    assert len({s.caption for s in seen}) == 15
    wide = [s.caption for s in seen if s.caption.startswith("wide")]
    assert all(len(set(wide[i : i + 7])) == 7 for i in range(0, len(wide) - 6, 7))
    assert all(s.is_image == s.caption.startswith("picture") == (len(s.video) == 1) for s in seen)


def test_sources_keep_their_weights_over_all_buckets(mixed):
    stream = stream_of(mixed)
    counts = Counter(stream.streams[stream.update(u)[0]].sources[0].name for u in range(1024) for _ in stream.numbers(u))
    assert counts["folder/pictures"] / counts.total() == pytest.approx(0.5 / 1.5, abs=0.02)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_the_order_does_not_depend_on_the_number_of_workers(mixed):
    stream = stream_of(mixed)
    numbers = [list(stream.numbers(update)) for update in range(6)]
    expected = [(b.captions, b.video) for b in batches(stream, numbers, num_workers=0)]
    for num_workers in (1, 3):
        for (captions, video), b in zip(expected, batches(stream, numbers, num_workers), strict=True):
            assert captions == b.captions
            assert torch.equal(video, b.video)


def recipe(folder, output, **changes):
    return toy_recipe(
        output, data=[{"folder": str(folder)}], num_frames=4, clip_frames=4, height=32, width=32,
        buckets=BUCKETS.model_dump(), **changes,
    )  # fmt: skip


@pytest.fixture
def _toys(monkeypatch):
    monkeypatch.setattr(world, "draw", draw)
    monkeypatch.setitem(OBJECTIVES, "toy", lambda system, options: Toy(options))


@pytest.mark.usefixtures("_toys")
@pytest.mark.filterwarnings("ignore:.*validation looks at training clips", "ignore:.*left out")
def test_a_bucketed_run_that_was_cut_in_mid_epoch_goes_on_bit_for_bit(mixed, tmp_path):
    train(recipe(mixed, tmp_path / "whole"))
    train(recipe(mixed, tmp_path / "cut", time_limit_minutes=1e-9, checkpoint={"every": 1}))
    train(recipe(mixed, tmp_path / "cut"), resume=True)
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


@pytest.mark.usefixtures("_toys")
@pytest.mark.filterwarnings("ignore:.*validation looks at training clips", "ignore:.*left out")
def test_batches_that_micro_batches_cannot_share_are_refused_with_what_helps(mixed, tmp_path):
    with pytest.raises(ValueError, match=r"Set buckets.batch_multiple=4"):
        train(recipe(mixed, tmp_path, micro_batch=1))
    shared = BUCKETS.model_copy(update={"batch_multiple": 4})
    assert all(shared.batch_size(b, 4, 4 * 32 * 32) % 4 == 0 for b in shared.all())


def test_the_world_goes_to_the_bucket_of_the_run_s_shape_or_is_refused():
    stream = build_bucketed([{"world": "shapes"}], FRAMING, BUCKETS, batch_size=4, seed=0)
    assert stream.sample(0).video.shape == (4, 32, 32, 3)
    with pytest.raises(ValueError, match=r"the world is drawn at the run's 3 x 32 x 32, which is no bucket"):
        build_bucketed([{"world": "shapes"}], Framing(num_frames=3, clip_frames=3, height=32, width=32), BUCKETS, 4, 0)
