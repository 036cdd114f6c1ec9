"""Does training ever wait for its data? The share of the time that a few updates of each recipe spend on waiting for clips.

    python benchmarks/loading.py [RECIPE ...] [--updates 8] [--batch 8] [--set key=value ...]

Without recipes: those of the shipped models. Two runs each. In one there is no worker, so that its share is what drawing and
decoding cost beside the updates: up to 50 % one worker on a core of its own hides all of it. The other has the recipe's workers;
its share is what training waits for on this machine. The first updates, in which files are opened, are not counted. Networks that a recipe
wants from earlier stages are taken from the shipped models. Updates are eager; compiled ones are faster and wait more.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

from flipbook.train import train
from flipbook.training.recipe import parse_recipe, read_tree

HOME = Path(__file__).resolve().parent.parent / "recipes"
NOT_COUNTED = 2        # first updates


def shipped(value: Any, name: str) -> Any:
    """`runs/...` in a recipe becomes the shipped model of the recipe's name, thumb or bench."""
    if isinstance(value, dict):
        return {key: shipped(inner, name) for key, inner in value.items()}
    return name if isinstance(value, str) and value.startswith("runs/") else value


def waiting(path: Path, changes: list[str], updates: int, batch: int, workers: int | None) -> float:
    """Mean share of an update's time before its clips are there."""
    tree = read_tree(path, changes, "recipe")
    name = path.stem.partition("-")[0]
    tree |= {key: shipped(tree[key], name) for key in ("init", "image", "parts") if key in tree}
    with tempfile.TemporaryDirectory() as folder:
        tree |= {
            "output": str(Path(folder) / "run"), "batch_size": batch, "steps": updates + NOT_COUNTED, "compile": False, "validation": {"every": 0},
            "samples": {"every": 0}, "checkpoint": {"minutes": 0}, "log": {"every": 1, "tensorboard": False},
        }  # fmt: skip
        if workers is not None:
            tree["num_workers"] = workers
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train(parse_recipe(tree))
        lines = map(json.loads, (Path(folder) / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines())
        shares = [line["data_share"] for line in lines if line.get("step", 0) > NOT_COUNTED and "data_share" in line]
    return sum(shares) / len(shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", type=Path, default=sorted([*HOME.glob("thumb-[0-9]*.yaml"), *HOME.glob("bench-[0-9]*.yaml")]))
    parser.add_argument("--updates", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--set", nargs="*", default=[], dest="changes", help="overrides of every recipe, as for `flipbook train`")
    given = parser.parse_args()
    print("| recipe | share of data in the work | waited for with its workers |\n|---|---:|---:|")
    for path in given.recipes:
        alone, beside = (waiting(path, given.changes, given.updates, given.batch, workers) for workers in (0, None))
        print(f"| {path.stem} | {100 * alone:.1f} % | {100 * beside:.1f} % |", flush=True)


if __name__ == "__main__":
    main()
