"""The doors of a network: every condition of the literature enters a denoiser by one of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Doors:
    """What a denoiser is told besides the noisy video and its noise levels.

    The fifth door, `frames`, is the pair (`t` of shape (B, T), `frame_is_given`) of the network's own signature.

    tokens:      (B, L, D) rows for cross-attention: text, image, audio, brain signal.
    token_mask:  (B, L) bool, True = may be attended.
    picture_tokens: (B, L', D') more rows for cross-attention, of pictures, for networks that read them apart from the text.
    vector:      (B, V) added to the time embedding: fps, motion strength, class.
    channels:    (B, C', T, H, W) concatenated to the input: depth, sketch, masked frames.
    residuals:   feature maps added inside the network, outermost first.
    estimate:    (B, C, T, H, W) what was last thought of the clean clip, for networks that go on from it; None: nothing yet.
    frame_attends: (B, T, T) bool, which frames may see which, for networks that are told so: a branch of guidance may part them.
    keys_values: per cross-attention layer, keys and values of `tokens`, then of `picture_tokens`, computed once by `net.prepare`.
    """

    tokens: Tensor | None = None
    token_mask: Tensor | None = None
    picture_tokens: Tensor | None = None
    vector: Tensor | None = None
    channels: Tensor | None = None
    residuals: Sequence[Tensor] = ()
    estimate: Tensor | None = None
    frame_attends: Tensor | None = None
    keys_values: Sequence[tuple[Tensor, Tensor]] | None = field(default=None, repr=False)

    def with_(self, **changes: object) -> Doors:
        """A copy with some doors changed; changing the tokens drops what was computed from them."""
        if {"tokens", "picture_tokens"} & changes.keys() and "keys_values" not in changes:
            changes["keys_values"] = None
        return replace(self, **changes)  # type: ignore[arg-type]

    def to_network(self) -> dict[str, Tensor]:
        """What the network's own signature is told of these doors, beside `frame_is_given` and `frame_index`."""
        return {} if self.frame_attends is None else {"frame_attends": self.frame_attends}

    def select(self, rows: Tensor | slice) -> Doors:
        """The doors of some samples of the batch."""

        def pick(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[rows]

        return Doors(
            tokens=pick(self.tokens),
            token_mask=pick(self.token_mask),
            picture_tokens=pick(self.picture_tokens),
            vector=pick(self.vector),
            channels=pick(self.channels),
            residuals=tuple(r[rows] for r in self.residuals),
            estimate=pick(self.estimate),
            frame_attends=pick(self.frame_attends),
            keys_values=None if self.keys_values is None else tuple((k[rows], v[rows]) for k, v in self.keys_values),
        )

    @staticmethod
    def joined(many: Sequence[Doors]) -> Doors | None:
        """One batch of all their samples, one after the other; None if they do not have the same doors in the same sizes."""
        first = many[0]

        def join(values: Sequence[Any]) -> Any:
            if isinstance(values[0], Tensor):
                return torch.cat(list(values))
            return None if values[0] is None else tuple(join(parts) for parts in zip(*values, strict=True))

        if any(other._sizes() != first._sizes() for other in many):
            return None
        return Doors(**{f.name: join([getattr(doors, f.name) for doors in many]) for f in fields(first)})

    def _sizes(self) -> Any:
        """What must be alike in samples of one batch."""

        def size(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value.shape[1:], value.dtype, value.device
            return None if value is None else tuple(size(part) for part in value)

        return tuple(size(getattr(self, f.name)) for f in fields(self))

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Doors:
        """The same doors on another device, floating parts in another dtype."""

        def move(x: Tensor | None) -> Tensor | None:
            if x is None:
                return None
            return x.to(device, dtype) if x.is_floating_point() else x.to(device)

        return replace(
            self,
            tokens=move(self.tokens),
            token_mask=move(self.token_mask),
            picture_tokens=move(self.picture_tokens),
            vector=move(self.vector),
            channels=move(self.channels),
            residuals=tuple(r.to(device, dtype) for r in self.residuals),
            estimate=move(self.estimate),
            frame_attends=move(self.frame_attends),
            keys_values=None
            if self.keys_values is None
            else tuple((k.to(device, dtype), v.to(device, dtype)) for k, v in self.keys_values),
        )
