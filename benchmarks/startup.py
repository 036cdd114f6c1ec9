"""How long the command line takes, in units of `python -c "import torch"` measured in the same minute, the two interleaved.

    python benchmarks/startup.py [rounds]

Prints the median ratio of `flipbook --help` (bound: 1/3) and of a whole `flipbook generate` from start to file (bound: 6).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FLIPBOOK = [sys.executable, "-c", "from flipbook.cli import main; main()"]
PROMPT = "a red circle moves right on a black background"


def seconds(command: list[str], folder: str) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main(rounds: int) -> None:
    commands = {
        "import torch": [sys.executable, "-c", "import torch"],
        "flipbook --help": [*FLIPBOOK, "--help"],
        "flipbook generate": [*FLIPBOOK, "generate", PROMPT, "--output", "clip.mp4"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        for command in commands.values():
            seconds(command, folder)                        # warm the disk cache
        for _ in range(rounds):
            for name, command in commands.items():
                for file in Path(folder).glob("clip*"):
                    file.unlink()
                times[name].append(seconds(command, folder))
    base = statistics.median(times["import torch"])
    for name, values in times.items():
        print(f"{name:18} {statistics.median(values):6.2f} s   {statistics.median(values) / base:5.2f} x import torch")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
