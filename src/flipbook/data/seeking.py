"""Random windows of a file, sooner: two ways to decode less for the same frames, bit for bit.

Frames before a window that no other frame needs are left out, and a window that lies ahead of the one before is reached by
going on from there, unless a key frame lies nearer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flipbook.files.container import Container, Unlisted


class SeekingContainer(Container):
    """A `Container` that stays where its last window ended."""

    def __init__(self, path: Path) -> None:
        self._frames: Iterator[Any] | None = None  # decoding, paused after frame `_at`
        self._at = -1
        super().__init__(path)

    def choose_decoder(self) -> Any:
        """The stream's decoder, told of each packet whether its frame is wanted."""
        return SkippingDecoder(super().choose_decoder())

    def seek_frames(self, first: int, last: int) -> Iterator[tuple[int, Any]]:
        """See `Container.seek_frames`."""
        frames, self._frames = self._frames, None  # an error, or a reader that stops early, leaves no place to go on from
        if self.keys is None:
            yield from super().seek_frames(first, last)
            return
        start = int(self.stamps[first])
        key = max((key for key in self.keys if key[0] <= start), default=None)
        if frames is None or self._at >= first or (key is not None and key[0] > self.stamps[self._at]):
            self.rewind(key[1] if key else None)
            frames = self.decode(rewind=False)
        self.decoder.start = start
        expected = first
        for frame in frames:
            if frame.pts is None or (frame.pts >= start and frame.pts != self.stamps[expected]):
                raise Unlisted
            if frame.pts < start:
                continue
            if expected == last:
                self._frames, self._at = frames, last
            yield expected, frame
            if expected == last:
                return
            expected += 1
        raise Unlisted


class SkippingDecoder:
    """start: presentation stamp before which frames that no other one needs may be left out; None: all are wanted."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.start: int | None = None

    def decode(self, packet: Any) -> Any:
        early = self.start is not None and packet.pts is not None and packet.pts < self.start
        self.context.skip_frame = "NONREF" if early else "DEFAULT"
        return self.context.decode(packet)

    def flush_buffers(self) -> None:
        self.start = None
        self.context.flush_buffers()
