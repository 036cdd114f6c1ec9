"""Reads a clip as a careful person would, without any model's help, and scores it against its plain caption."""

from flipbook.metrics.truth.reader import Reading, SeenObject, read_clip

__all__ = ["Reading", "SeenObject", "read_clip"]
