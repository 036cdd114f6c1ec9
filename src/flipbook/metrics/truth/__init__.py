"""Reads a clip as a careful person would, without any model's help, and scores it against its plain caption."""

from flipbook.metrics.truth.reader import Reading, SeenObject, read_clip
from flipbook.metrics.truth.score import ATTRIBUTES, Score, score, score_reading

__all__ = ["ATTRIBUTES", "Reading", "Score", "SeenObject", "read_clip", "score", "score_reading"]
