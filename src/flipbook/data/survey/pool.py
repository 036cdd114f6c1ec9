"""Look at many files in helper processes with a time limit: one that hangs or crashes its decoder costs one helper."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path
from typing import Any

import flipbook
from flipbook.data.clips import Media
from flipbook.data.survey.facts import Broken, Check, Facts

TIME_LIMIT = 30.0  # seconds that one file may take
STARTING = 120.0  # seconds that a helper may take to come up, on a machine that is busy with other things
COMMAND = (sys.executable, "-m", "flipbook.data.survey.worker")


class Helper:
    """One helper process, started when it is first needed, killed when it overstays, started again for the next file."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def look(self, media: Media, check: Check, also: dict[str, Any], time_limit: float) -> Facts | Broken:
        question = json.dumps({"media": astuple(media), "check": check, "also": also}).encode() + b"\n"
        for _ in range(2):  # an idle helper may leave in the moment in which it is asked
            process = self._running()
            try:
                assert process.stdin is not None
                process.stdin.write(question)
                process.stdin.flush()
                line = self._line(time_limit)
            except TimeoutError:
                self.close()
                return Broken("hangs", f"{media}: looking at it took more than {time_limit:g} s, and was ended.")
            except (EOFError, OSError):
                status = process.wait()
                self.close()
                if status:
                    name = signal.Signals(-status).name if status < 0 else f"status {status}"
                    return Broken("crashes", f"{media}: the decoder's process died of it ({name}).")
                continue
            answer = json.loads(line)
            return Broken(**answer["broken"]) if "broken" in answer else Facts(**_tupled(answer["facts"]))
        return Broken("crashes", f"{media}: no process stayed to look at it.")

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):  # bytes that nobody will read
                        pipe.close()
        self._process, self._rest = None, b""

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            home = str(Path(flipbook.__file__).parents[1])
            paths = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
            environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
            self._process = subprocess.Popen(
                COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
                start_new_session=True,  # Ctrl-C is for the process that asked
            )  # fmt: skip
            try:
                self._line(STARTING)  # says that it is there
            except (EOFError, TimeoutError) as error:
                self.close()
                raise RuntimeError(f"a helper process did not come up: {' '.join(COMMAND)}") from error
        return self._process

    def _line(self, time_limit: float) -> bytes:
        """The next line of the process. Raises TimeoutError, EOFError."""
        assert self._process is not None
        assert self._process.stdout is not None
        number, deadline = self._process.stdout.fileno(), time.monotonic() + time_limit
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([number], [], [], left)[0]:
                raise TimeoutError
            chunk = os.read(number, 1 << 16)
            if not chunk:
                raise EOFError
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line


_HELPERS: list[Helper] = []


def look_at_all(
    medias: Sequence[Media],
    check: Check = "open",
    *,
    thumbnail: bool = False,
    time_limit: float = TIME_LIMIT,
    num_helpers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Facts | Broken]:
    """Facts of each media, or what is wrong with it, in order. Never fails for a file, and never waits for ever.

    check: how closely to look.   thumbnail: fill this field of the facts.   time_limit: seconds per file.
    on_progress: called with (files done, all files).
    """
    also = {"thumbnail": thumbnail}
    size = max(1, min(num_helpers or min(8, os.cpu_count() or 1), len(medias)))
    while len(_HELPERS) < size:
        _HELPERS.append(Helper())
    free: queue.SimpleQueue[Helper] = queue.SimpleQueue()
    for helper in _HELPERS[:size]:
        free.put(helper)

    def one(media: Media) -> Facts | Broken:
        helper = free.get()
        try:
            return helper.look(media, check, also, time_limit)
        finally:
            free.put(helper)

    found = []
    with ThreadPoolExecutor(size) as threads:
        for facts in threads.map(one, medias):
            found.append(facts)
            if on_progress:
                on_progress(len(found), len(medias))
    return found


@atexit.register
def close_helpers() -> None:
    """End all helper processes; the next survey starts new ones."""
    while _HELPERS:
        _HELPERS.pop().close()


def _tupled(facts: dict[str, Any]) -> dict[str, Any]:
    return {**facts, "times": tuple(facts["times"]) if facts["times"] is not None else None}

