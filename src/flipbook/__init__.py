"""flipbook: make, animate, train and measure video by diffusion.

    import flipbook

    model = flipbook.load("thumb")
    video = model.generate("a red circle moves right on a black background")
    video.write("circle.mp4")

The public names are few and flat, and imported when they are first used: `import flipbook` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from flipbook.conditions import FirstFrame, Frames, LastFrame, Text
    from flipbook.interop.folder import from_pretrained, save_pretrained
    from flipbook.model import Model, load
    from flipbook.systems.base import System
    from flipbook.video import Audio, Video

_HOME = {
    "Audio": "flipbook.video",
    "FirstFrame": "flipbook.conditions",
    "Frames": "flipbook.conditions",
    "LastFrame": "flipbook.conditions",
    "Model": "flipbook.model",
    "System": "flipbook.systems.base",
    "Text": "flipbook.conditions",
    "Video": "flipbook.video",
    "from_pretrained": "flipbook.interop.folder",
    "load": "flipbook.model",
    "save_pretrained": "flipbook.interop.folder",
}

__all__ = [
    "Audio",
    "FirstFrame",
    "Frames",
    "LastFrame",
    "Model",
    "System",
    "Text",
    "Video",
    "__version__",
    "from_pretrained",
    "load",
    "save_pretrained",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'flipbook' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
