"""Micro-conditioning: what a few numbers about a clip (frame rate, motion, noise of a condition) add to its time embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.embed import sinusoid, zero_


@dataclass(frozen=True, kw_only=True)
class Scalars:
    """Named numbers: each a sinusoid of `frequencies`, side by side through a two-layer network (SDXL arXiv:2307.01952, SVD arXiv:2311.15127).

    One number called "fps" is the frame-rate embedding of the text-to-video systems. silent: the last layer starts at zero, for
    networks that learn it later.
    """

    names: tuple[str, ...] = ("fps",)
    frequencies: int = 256
    silent: bool = True
    kind: Literal["scalars"] = "scalars"

    @property
    def width(self) -> int:
        """Columns of the `vector` door that it reads."""
        return len(self.names)


@dataclass(frozen=True, kw_only=True)
class Projected:
    """A vector (a pooled text, an image embedding) through a two-layer network."""

    width: int = 768
    silent: bool = True
    kind: Literal["projected"] = "projected"


@dataclass(frozen=True, kw_only=True)
class Classes:
    """One integer that picks a row of a table (a class, a level of noise)."""

    num_classes: int = 1000
    silent: bool = True
    kind: Literal["classes"] = "classes"

    @property
    def width(self) -> int:
        """Columns of the `vector` door that it reads."""
        return 1


VectorPart = Scalars | Projected | Classes
_PARTS: dict[str, Any] = {"scalars": Scalars, "projected": Projected, "classes": Classes}


def vector_part(value: Any) -> VectorPart:
    """A part as it stands in a JSON config, or as it is."""
    if not isinstance(value, dict):
        return value
    values = dict(value)
    if values.get("kind") not in _PARTS:
        raise ValueError(f"kind {values.get('kind')!r} of a vector is unknown. Try one of {', '.join(_PARTS)}.")
    if "names" in values:
        values["names"] = tuple(values["names"])
    return _PARTS[values["kind"]](**values)


class VectorEmbedding(nn.Module):
    """(B, width) columns of the `vector` door to (B, time_dim)."""

    def __init__(self, part: VectorPart, time_dim: int):
        super().__init__()
        self.part = part
        if isinstance(part, Classes):
            self.table = nn.Embedding(part.num_classes, time_dim)
            if part.silent:
                nn.init.zeros_(self.table.weight)
            return
        c_in = part.width * part.frequencies if isinstance(part, Scalars) else part.width
        self.enter, self.leave = nn.Linear(c_in, time_dim), nn.Linear(time_dim, time_dim)
        if part.silent:
            zero_(self.leave)

    def forward(self, vector: Tensor) -> Tensor:
        if isinstance(self.part, Classes):
            return self.table(vector[:, 0].round().long())
        if isinstance(self.part, Scalars):
            vector = sinusoid(vector, self.part.frequencies).flatten(1)
        return self.leave(F.silu(self.enter(vector.to(self.enter.weight.dtype))))
