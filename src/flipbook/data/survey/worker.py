"""The other side of `survey.pool`: looks at files, one JSON line each, in a process that may be killed at any moment."""

from __future__ import annotations

import json
import os
import select
from dataclasses import asdict

from flipbook.data.clips import Media
from flipbook.data.survey.facts import Broken, look

IDLE = 60.0  # seconds without a question after which a helper leaves


def main() -> None:
    """Answer questions on standard input until there are no more, or nobody asks for a while."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a decoder prints must not look like an answer
    print("here", file=answers, flush=True)
    rest = b""
    while select.select([0], [], [], IDLE)[0] and (chunk := os.read(0, 1 << 16)):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            question = json.loads(line)
            found = look(Media(*question["media"]), question["check"], **question["also"])
            name = "broken" if isinstance(found, Broken) else "facts"
            print(json.dumps({name: asdict(found)}), file=answers, flush=True)


if __name__ == "__main__":
    main()
