"""The commands of docs/walkthrough.md, on real footage, as they stand there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "walkthrough.md"


def recipe_of_the_page() -> str:
    (recipe,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return recipe


@pytest.mark.slow
def test_the_walk_through_runs_as_it_stands(tmp_path, shared_clips, shared_train_clips):
    shared = {"FLIPBOOK_SHARED": str(shared_clips.parent)}
    recipe = recipe_of_the_page()
    few = recipe.replace("steps: 200", "steps: 4").replace("every: 100", "every: 4")
    assert few != recipe
    (tmp_path / "walkthrough.yaml").write_text(few.replace("$FLIPBOOK_SHARED", shared["FLIPBOOK_SHARED"]))
    (tmp_path / "made").mkdir()
    commands = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("flipbook ")]
    assert len(commands) > 8
    for line in commands:
        words = shlex.split(line.replace("$FLIPBOOK_SHARED", shared["FLIPBOOK_SHARED"]))
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=tmp_path, env={**os.environ, **shared}, capture_output=True, text=True, timeout=1800
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    ledger = [json.loads(row) for row in (tmp_path / "curated" / "ledger.jsonl").read_text().splitlines()]
    sources = {Path(row["path"]).name for row in ledger}
    assert sources == {path.name for path in shared_clips.glob("*.mp4")}                     # every file is accounted for
    assert all(row.get("keep", True) or row["drop_reason"] for row in ledger)
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / run / "log.jsonl").read_text().splitlines() if '"loss"' in line and '"lr"' in line]
        for run in ("run", "again")
    ]
    assert losses[0]
    assert losses[0] == losses[1]                                                            # from the cache, the same run
    assert json.loads((tmp_path / "distance.json").read_text())
