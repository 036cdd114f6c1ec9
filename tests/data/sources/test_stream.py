"""The stream: sample k depends on k alone; weights, workers and splits."""

from __future__ import annotations

import os
import signal
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest

from flipbook.data.batch import Batch, Sample, collate
from flipbook.data.seeds import derive_seed, permutation
from flipbook.data.sources import Framing, Stream, build_stream
from flipbook.data.sources.prefetch import DataWorkerError, batches

SMALL = Framing(num_frames=4, frame_stride=2, clip_frames=8, height=16, width=16)


@dataclass(frozen=True)
class Numbers:
    """Frames filled with the sample's number in its source; `deadly` kills the process that asks for it."""

    name: str
    num_clips: int | None = None
    deadly: int | None = None

    def sample(self, number: int, seed: int, index: int) -> Sample:
        if number == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        video = np.full((1, 2, 2, 3), number % 256, dtype=np.uint8)
        return Sample(
            video=video,
            caption=str(number),
            frame_index=np.zeros(1, np.float32),
            fps=8.0,
            index=index,
            source=self.name,
        )


def test_every_block_holds_each_source_in_exactly_its_share():
    stream = Stream([Numbers("a"), Numbers("b"), Numbers("c")], [3, 1, 1e-9], seed=0)
    for block in range(2):
        counts = Counter(stream.sample(1024 * block + k).source for k in range(1024))
        assert counts == {"a": 767, "b": 256, "c": 1}


def test_no_sample_of_a_source_is_skipped_or_repeated_whatever_its_weight():
    stream = Stream([Numbers("a"), Numbers("b")], [0.7, 0.3], seed=0)
    samples = [stream.sample(k) for k in range(3000)]
    for name in ("a", "b"):
        seen = [int(sample.caption) for sample in samples if sample.source == name]
        assert seen == list(range(len(seen)))


def test_a_finite_source_shows_all_its_clips_before_any_comes_again():
    stream = Stream([Numbers("endless"), Numbers("ten", num_clips=10)], [1, 1], seed=3)
    seen = [int(sample.caption) for sample in map(stream.sample, range(400)) if sample.source == "ten"]
    epochs = [seen[i : i + 10] for i in range(0, len(seen) - 9, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_a_sample_of_the_world_depends_on_seed_and_number_alone():
    first, again, other = (build_stream([{"world": "shapes"}], SMALL, seed) for seed in (0, 0, 1))
    [again.sample(k) for k in (9, 2)]
    for k in (0, 5):
        assert np.array_equal(first.sample(k).video, again.sample(k).video)
        assert first.sample(k).caption == again.sample(k).caption
        assert not np.array_equal(first.sample(k).video, other.sample(k).video)


def test_world_frames_are_those_of_the_clip_at_the_stride_and_know_their_time():
    from flipbook.data import world

    sample = build_stream([{"world": "shapes"}], SMALL, 0).sample(4)
    assert sample.frame_index.tolist() == [0, 2, 4, 6]
    assert sample.fps == 4.0
    stream_seed = derive_seed(0, "data", "train")
    seed = (derive_seed(stream_seed, "world/shapes", 4) >> 15) * 2
    whole = world.draw("shapes", seed, num_frames=8, height=16, width=16, held_out=False)
    assert np.array_equal(sample.video, np.asarray(whole.video)[::2])


def test_training_and_validation_clips_of_the_world_are_disjoint_by_the_parity_of_their_seeds(monkeypatch):
    from flipbook.data import world

    seen, draw = [], world.draw
    for split, parity in (("train", 0), ("val", 1)):
        stream = build_stream([{"world": "shapes"}], SMALL, 0, split)
        monkeypatch.setattr(world, "draw", lambda domain, seed, **rest: seen.append(seed) or draw(domain, seed, **rest))
        [stream.sample(k) for k in range(10)]
        monkeypatch.undo()
        assert {seed % 2 for seed in seen} == {parity}
        seen.clear()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"world": "shapez"}, "shapez"),
        ({"world": "shapes", "num_object": 1}, "num_object"),
        ({"wurld": "shapes"}, r"data\.0: .* is no source"),
        ({"world": "shapes", "folder": "x"}, r"data\.0: .* is no source"),
        ({"world": "shapes", "weight": 0}, r"data\.0: weight=0 is not a number above 0"),
        ({"world": "shapes", "weight": "much"}, r"data\.0: weight='much'"),
    ],
)
def test_an_entry_that_cannot_be_used_is_refused_by_name(entry, message):
    with pytest.raises(ValueError, match=message):
        build_stream([entry], SMALL, 0)


def test_seeds_of_different_parts_differ_and_stay_what_they_are():
    parts = [(0,), (1,), (-1,), (0, 0), ("a",), ("ab",), ("a", "b"), (1, 2), (2, 1), (0, "a"), (97,)]
    assert len({derive_seed(*p) for p in parts}) == len(parts)
    assert all(0 <= derive_seed(*p) < 2**62 for p in parts)
    assert derive_seed(0, "noise", 3, 7) == 2379272552125134868
    assert sorted(permutation(50, 1)) == list(range(50))


def test_collate_makes_a_batch_of_pixels_between_minus_one_and_one():
    batch = collate([Numbers("a").sample(255 * i, 0, i) for i in (0, 1)])
    assert isinstance(batch, Batch)
    assert batch.video.shape == (2, 3, 1, 2, 2)
    assert (batch.video.min(), batch.video.max()) == (-1.0, 1.0)
    assert (len(batch), batch.index, batch.source) == (2, [0, 1], ["a", "a"])


def test_samples_of_different_shape_do_not_make_a_batch():
    wide = Sample(
        video=np.zeros((1, 2, 4, 3), np.uint8),
        caption="",
        frame_index=np.zeros(1, np.float32),
        fps=8,
        index=1,
        source="b",
    )
    with pytest.raises(ValueError, match=r"a sample 0: \(1, 2, 2, 3\), b sample 1: \(1, 2, 4, 3\)"):
        collate([Numbers("a").sample(0, 0, 0), wide])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with fewer cores than workers
def test_batches_are_the_same_whatever_the_number_of_workers():
    stream, numbers = Stream([Numbers("a", num_clips=5)], [1], 0), [[i, i + 1] for i in range(12)]
    expected = [(b.captions, b.index) for b in batches(stream, numbers, num_workers=0)]
    for num_workers in (1, 3):
        assert [(b.captions, b.index) for b in batches(stream, numbers, num_workers)] == expected


@pytest.mark.slow
def test_a_worker_that_dies_gives_an_error_with_a_name():
    stream = Stream([Numbers("a", deadly=6)], [1], 0)
    with pytest.raises(DataWorkerError, match="data worker died"):
        list(batches(stream, [[i] for i in range(20)], num_workers=1))
