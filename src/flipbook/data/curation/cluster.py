"""Passes over clips on Ray Data: on this machine, or on a cluster by address. Same rows, same output."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from flipbook.data.curation.ledger import Row, dumps
from flipbook.data.curation.pipeline import Spread, run_stages
from flipbook.data.curation.stage import EachClip, make_stage


def on_ray(address: str) -> Spread:
    """A place for passes to run. address: "local" for this machine, else a cluster's ("auto", "HOST:PORT").

    Files must be found under the same paths on every machine. Raises ImportError without the extra `data`.
    """
    try:
        ray, data = importlib.import_module("ray"), importlib.import_module("ray.data")
    except ImportError as error:
        raise ImportError("--ray needs Ray Data. Try pip install 'flipbook[data]'") from error

    def spread(stages: Sequence[EachClip], rows: Sequence[Row]) -> Iterator[tuple[int, list[Row]]]:
        import json

        if not rows:
            return
        if not ray.is_initialized():
            ray.init(address=None if address == "local" else address, log_to_driver=False, include_dashboard=False)
            data.DataContext.get_current().enable_progress_bars = False
        work = worker_of([(stage.name, stage.model_dump(mode="json")) for stage in stages])
        items = [{"number": i, "row": dumps(row)} for i, row in enumerate(rows)]
        for found in data.from_items(items).map(work).iter_rows():
            yield found["number"], json.loads(found["rows"])

    return spread


def worker_of(options: list[tuple[str, dict[str, Any]]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What a worker does with one item, {"number", "row"} to {"number", "rows"}; rows travel as text, so that columns of any kind survive tables."""

    def work(item: dict[str, Any]) -> dict[str, Any]:
        import json

        stages = [make_stage(name, settings) for name, settings in options]
        rows = run_stages([stage for stage in stages if isinstance(stage, EachClip)], json.loads(item["row"]))
        return {"number": item["number"], "rows": dumps(rows)}

    return work
