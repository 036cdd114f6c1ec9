"""Passes on Ray Data give the rows and the clips that one process gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("cv2", reason="curation needs the extra `data`")
pytest.importorskip("ray", reason="--ray needs the extra `data`")

from flipbook.data.curation.cluster import on_ray, worker_of
from flipbook.data.curation.ledger import dumps
from flipbook.data.curation.pipeline import curate
from flipbook.data.curation.recipe import parse_recipe
from flipbook.data.world import draw
from flipbook.video import Video

STAGES = ["probe", {"cut": {"min_frames": 5}}, "motion", "still", "hash", "slideshow", "dedup", "split", "pack"]


def test_what_workers_send_back_as_text_and_in_any_order_is_the_same_ledger(tmp_path):
    """All of the way over Ray but Ray itself."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for seed in (1, 2):
        Video(draw("shapes", seed).frames, 8.0).write(raw / f"{seed}.mp4")
    (raw / "broken.mp4").write_bytes(b"no video")

    def elsewhere(stages, rows):
        work = worker_of([(stage.name, stage.model_dump(mode="json")) for stage in stages])
        for i in reversed(range(len(rows))):
            found = work({"number": i, "row": dumps(rows[i])})
            yield found["number"], json.loads(found["rows"])

    recipe = parse_recipe({"stages": STAGES[:-1]}, "test")
    assert curate([raw], tmp_path / "there", recipe, spread=elsewhere) == curate([raw], tmp_path / "here", recipe)
    assert (tmp_path / "there" / "ledger.jsonl").read_bytes() == (tmp_path / "here" / "ledger.jsonl").read_bytes()


@pytest.fixture
def one_worker():
    """Ray on this machine with one core. Ray gives up if its agent has not started within its own fifteen seconds."""
    import ray

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=200_000_000)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning:ray.*", "ignore::DeprecationWarning:ray.*")
def test_ray_gives_the_same_ledger_and_the_same_clips_as_one_process(one_worker, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for seed in (1, 2):
        Video(draw("takes", seed).frames, 8.0).write(raw / f"{seed}.mp4")
    (raw / "broken.mp4").write_bytes(b"no video")
    recipe = parse_recipe({"stages": STAGES}, "test")
    alone = curate([raw], tmp_path / "alone", recipe)
    assert curate([raw], tmp_path / "ray", recipe, spread=on_ray("local")) == alone
    files = {path.relative_to(tmp_path / "alone") for path in (tmp_path / "alone").rglob("*") if path.is_file()}
    assert len([path for path in files if path.suffix == ".mp4"]) >= 4
    for path in files - {Path("journal.jsonl")}:               # results come in any order
        assert (tmp_path / "ray" / path).read_bytes() == (tmp_path / "alone" / path).read_bytes()
