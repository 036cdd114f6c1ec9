"""Contact sheets of a comparison: the same prompt and noise, one row of frames per arm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flipbook.files.sheet import contact_sheet, write_sheet
from flipbook.video import Video


def shown_prompts(results: Mapping[str, Any]) -> list[int]:
    """Which clips of the first repeat are shown side by side: so many as asked for, spread over all."""
    total = max(len(runs[0]["clips"]) for runs in results["runs"].values())
    count = min(results["comparison"]["shown"], total)
    return [total * i // count for i in range(count)]


def records_of(results: Mapping[str, Any], place: int) -> dict[str, Any]:
    """The records of one prompt of the first repeat, of all arms that have clips."""
    return {arm: runs[0]["clips"][place] for arm, runs in results["runs"].items() if runs[0]["clips"]}


def write_sheets(results: Mapping[str, Any], output: Path) -> list[Path]:
    """sheets/PROMPT.png for each prompt that is shown, its arms from top to bottom. Returns the paths."""
    paths = []
    for place in shown_prompts(results):
        records = records_of(results, place)
        videos = [Video.read(output / record["video"], audio=False) for record in records.values()]
        prompt = next(iter(records.values()))
        titles = [f"{arm}: {prompt['prompt']}" + ("   [right]" if record["right"] else "") for arm, record in records.items()]
        (output / "sheets").mkdir(exist_ok=True)
        paths.append(write_sheet(contact_sheet(videos, columns=8, titles=titles), output / "sheets" / f"{prompt['name']}.png"))
    return paths
