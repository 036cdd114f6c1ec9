"""Start `train_toy.py` as a program, in one process or as `torchrun` would in several."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def run_toy(arguments: list[Any], environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(HERE.parent / "src"), str(HERE)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **(environment or {})}
    return subprocess.Popen([sys.executable, str(HERE / "train_toy.py"), *map(str, arguments)], env=environment)


def run_together(folder: Path, processes: int, **changes: Any) -> None:
    """Train the toy in that many processes over gloo, and see each end well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    there = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    ranks = [{**there, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
    running = [run_toy([folder, json.dumps(changes)], rank) for rank in ranks]
    assert [process.wait(timeout=120) for process in running] == [0] * processes
