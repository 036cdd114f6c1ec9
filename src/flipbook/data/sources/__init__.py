"""Where training clips come from: the world, folders of files, weighted mixes of both."""

from flipbook.data.framing import Framing
from flipbook.data.sources.stream import Source, Stream, build_stream

__all__ = ["Framing", "Source", "Stream", "build_stream"]
