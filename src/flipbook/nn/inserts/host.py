"""What an insert is told about the place it is built for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Host:
    """channels, attention heads, and group norms there; widths of the time embedding and of the tokens (None: no tokens)."""

    channels: int
    heads: int
    groups: int
    eps: float
    time_dim: int
    token_dim: int | None

    def heads_of(self, heads: int | None, head_dim: int | None) -> tuple[int, int]:
        """(heads, channels per head): both as asked for, the missing one from the channels, or all as the image network has it."""
        if heads is None and head_dim is None:
            heads = self.heads
        heads = heads or self.channels // (head_dim or 1)
        if not heads or (head_dim is None and self.channels % heads):
            raise ValueError(f"an insert at {self.channels} channels with heads={heads}, head_dim={head_dim} does not divide. Try heads=1.")
        return heads, head_dim or self.channels // heads
