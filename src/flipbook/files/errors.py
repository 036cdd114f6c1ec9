"""What can be wrong with a video file: every message says what was found, why it cannot work and what to try."""

from __future__ import annotations


class VideoError(ValueError):
    """A video cannot be read or written as asked."""


class MissingVideo(VideoError, FileNotFoundError):
    """Nothing stands at this path."""

    __str__ = Exception.__str__  # FileNotFoundError would print an empty errno


class EmptyVideo(VideoError):
    """The file has no bytes, or the folder no images."""


class TruncatedVideo(VideoError):
    """The file stops before its own structure says that it ends."""


class DamagedVideo(VideoError):
    """The structure is whole but what is inside cannot be decoded."""


class NotAVideo(VideoError):
    """The content is something else: text, a document, sound without pictures."""


class TooLarge(VideoError):
    """The decoded frames would not fit in memory."""
