"""The one loop of everything that is made piece by piece, each from those before it: codes of a clip, or its frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

Piece = TypeVar("Piece")
Said = TypeVar("Said")
Memory = TypeVar("Memory")


def roll(
    step: Callable[[int, Any, Memory], tuple[Said, Memory]],
    choose: Callable[[int, Said], Piece],
    before: Any,
    memory: Memory,
    count: int,
) -> Iterator[tuple[Said, Piece]]:
    """What is said of pieces 0 to count - 1, and each piece as it was chosen.

    step:   (n, the piece before, what is remembered of all before that) -> what is said of piece n, and what to remember then.
    choose: (n, what was said of it) -> piece n, which the next step is shown: a draw, the prediction itself, or in training the truth.
    before, memory: what the first step is shown.
    """
    for n in range(count):
        said, memory = step(n, before, memory)
        before = choose(n, said)
        yield said, before
