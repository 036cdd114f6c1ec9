"""Plans of many clips: none is lost, whatever is wrong with some of them."""

from __future__ import annotations

import os
import time
from collections import Counter

import pytest
from broken import broken_in_every_way
from replicas import clip, table

from flipbook.data.framing import Framing
from flipbook.data.options import FolderOptions
from flipbook.data.plan import make_plan, summary

FRAMING = Framing(num_frames=8, clip_frames=8, height=16, width=32)


@pytest.mark.slow
def test_of_a_thousand_clips_with_a_twentieth_broken_in_every_way_each_is_accounted_for(tmp_path):
    kinds = broken_in_every_way(tmp_path / "kinds")
    bad = {name: rule for name, rule in kinds.items() if rule}
    whole = clip(tmp_path / "whole.mkv")
    raw = tmp_path / "raw"
    raw.mkdir()
    wanted: Counter[str] = Counter()
    for i in range(1000):
        name, rule = list(bad.items())[i // 20 % len(bad)] if i % 20 == 0 else ("", "")
        source = tmp_path / "kinds" / name if name else whole
        os.link(source, raw / f"{i:04d}{source.suffix}")
        wanted[rule] += 1
    assert wanted[""] == 950
    made = make_plan([FolderOptions(folder=raw)], FRAMING, None, look="open")
    assert Counter(fate.rule for fate in made.fates) == wanted
    assert len({fate.name for fate in made.fates}) == 1000
    assert made.error is None


@pytest.mark.slow
def test_a_table_of_a_hundred_thousand_rows_is_planned_in_well_under_a_minute(tmp_path):
    """By the seconds that the process computes, so that a busy machine is no failure."""
    (tmp_path / "a.mp4").write_bytes(b"never opened")
    facts = {"fps": 8, "height": 64, "width": 64}
    rows = [{"file_name": "a.mp4" if i % 20 else f"gone-{i}.mp4", "text": f"clip {i}", "frames": 4 + i % 8, **facts} for i in range(100_000)]
    table(tmp_path / "metadata.csv", rows)
    began = time.process_time()
    told = summary(make_plan([FolderOptions(folder=tmp_path / "metadata.csv")], FRAMING, None, look="auto"))
    seconds = time.process_time() - began
    assert told["clips"] == 100_000 == told["train"] + told["dropped"]
    assert told["rules"]["missing"] == 5000
    assert seconds < 40
