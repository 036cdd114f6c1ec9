"""Stage `caption_check`: captions that are empty, boilerplate, cut off, or about something else."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from flipbook.data.curation.ledger import Row, is_kept
from flipbook.data.curation.stage import AllClips

_BOILERPLATE = re.compile(
    r"royalty[- ]free|stock (?:footage|video|clip)|\bsubscribe\b|\bclick\b.*\blink\b|https?://|www\.|\buntitled\b|"
    r"final export|all rights reserved|watch (?:now|more)|\b(?:img|dsc|mvi|vid|gopr|mov)[_-]?\d+|\.(?:mov|mp4|avi|mkv)\b|"
    r"^[\W\d_]*$",
    re.IGNORECASE,
)
_DANGLING = frozenset({
    "a", "an", "the", "on", "in", "at", "of", "over", "with", "and", "or", "to", "from", "by", "then", "while", "where",
    "into", "onto", "is", "are", "its", "his", "her", "their", "above", "below", "behind", "for", "as", "that", "which",
})
KNOWN_PREFIX = 3       # captions that have a longer word must be so many before a last word counts as cut off


class CaptionCheck(AllClips):
    """Find captions that are empty, boilerplate, cut off or about something else; `caption_fault` names the fault.

    agreement: where `world_truth` has compared clip and caption, the mean of how much of each clip the caption tells and
    of how much of the caption some clip shows must reach this; clips of one source share a caption and are judged together.
    clause: give each clip the part of the caption that it shows.
    """

    name: ClassVar[str] = "caption_check"
    needs: ClassVar[tuple[str, ...]] = ("caption",)
    adds: ClassVar[tuple[str, ...]] = ("caption_fault", "caption_broken", "caption_agreement")

    agreement: float = Field(0.6, ge=0, le=1)
    clause: bool = False

    def run(self, rows: list[Row], output: Path) -> list[Row]:
        here = [row for row in rows if is_kept(row)]
        words = Words(row["caption"] or "" for row in here)
        together: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in here:
            together[row["path"], row["caption"]].append(row)
        columns = {
            row["clip_id"]: self._judge(row, caption, agreement_of(members), words)
            for (_, caption), members in together.items() for row in members
        }  # fmt: skip
        return [{**row, **columns.get(row["clip_id"], {})} if is_kept(row) else row for row in rows]

    def _judge(self, row: Row, caption: str, agreement: float | None, words: Words) -> Row:
        fault = fault_of(caption, words)
        parts, scores = split_clauses(caption), row.get("clause_scores")
        if fault is None and scores and None in scores and len(parts) == len(scores):
            fault = "truncated"                                # the world's sentences are whole, or they were cut
        if fault is None and agreement is not None and agreement < self.agreement:
            fault = "disagrees"
        columns: Row = {"caption_fault": fault, "caption_broken": fault is not None, "caption_agreement": agreement}
        if self.clause and fault is None and scores and len(parts) > 1:
            columns |= {"caption": parts[int(np.argmax(scores))], "caption_by": "clause of the file's"}
        return columns


class Words:
    """How often each word stands in a corpus of captions, and which words are longer."""

    def __init__(self, captions: Iterable[str]) -> None:
        self.counts = Counter(word for caption in set(captions) for word in _words(caption)[:-1])
        self._sorted = sorted(self.counts)

    def is_cut(self, word: str) -> bool:
        """Whether a last word is no word of the corpus but the beginning of common ones."""
        if self.counts[word] or not word:
            return False
        return sum(n for longer, n in self.counts.items() if longer.startswith(word)) >= KNOWN_PREFIX


def fault_of(caption: str, words: Words) -> str | None:
    """ "empty", "boilerplate" or "truncated" by the text alone, else None."""
    said = _words(caption)
    if not said:
        return "empty"
    if _BOILERPLATE.search(caption):
        return "boilerplate"
    if caption.rstrip().endswith((".", "!", "?")):
        return None                                            # whoever sets a full stop has finished
    last = said[-1]
    if last in _DANGLING or caption.rstrip().endswith((",", "-", ";", ":")) or words.is_cut(last):
        return "truncated"
    return None


def agreement_of(clips: Sequence[Mapping[str, Any]]) -> float | None:
    """Agreement of clips with the clauses of the caption they share, [0, 1]; None where nothing was compared."""
    table = [row["clause_scores"] for row in clips if row.get("clause_scores")]
    if not table or len({len(scores) for scores in table}) != 1:
        return None
    scores = np.array([[0.0 if s is None else s for s in line] for line in table])         # (clips, clauses)
    return float(0.5 * (scores.max(1).mean() + scores.max(0).mean()))


def split_clauses(caption: str) -> list[str]:
    """The parts of a caption that tell one shot each."""
    from flipbook.data.curation.worldtruth import JOIN

    return (caption or "").split(JOIN)


def _words(caption: str) -> list[str]:
    return re.findall(r"[a-zA-Z']+", caption.lower())
