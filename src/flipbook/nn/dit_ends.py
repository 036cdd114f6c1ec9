"""What video transformers share around their blocks: weights at birth, the text read once, what may not enter, which frames see each other, the head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.dit_block import modulated
from flipbook.nn.doors import Doors
from flipbook.nn.patches import check_size, from_patches
from flipbook.nn.run import compile_each


class TextTransformer(nn.Module):
    """A network of blocks, some of which read a text: those have a `cross` (`TextAttention`), others have None there."""

    text: nn.Module | None

    def in_order(self) -> list[Any]:
        """The blocks as they run."""
        return list(self.blocks)                                            # type: ignore[arg-type]

    def compile_blocks(self) -> None:
        """Compile the blocks."""
        compile_each(self.in_order())

    def prepare(self, doors: Doors) -> Doors:
        """Compute what does not change over the sampler's steps: keys and values of the text in every block that reads it."""
        if doors.tokens is None or doors.keys_values is not None or self.text is None:
            return doors
        rows = self.text(doors.tokens)
        return doors.with_(keys_values=tuple(block.cross.keys_values(rows) for block in self.in_order() if block.cross is not None))


def check_heads(dim: int, num_heads: int) -> None:
    """Raises ValueError where a head has no even number of channels, or the width no four equal parts for places in space."""
    if dim % (2 * num_heads) or dim % 4:
        raise ValueError(f"dim={dim} and num_heads={num_heads}: a head needs an even number of channels. Try num_heads={max(1, dim // 64)}.")


def frame_numbers(frame_index: Tensor | None, x: Tensor) -> Tensor:
    """Where the frames of x (B, C, T, H, W) stand in time, (B, T): as told, or counted from 0."""
    if frame_index is not None:
        return frame_index
    return torch.arange(x.shape[2], dtype=torch.float32, device=x.device).expand(x.shape[0], -1)


def xavier_(net: nn.Module) -> None:
    """Draw the weights of every linear layer (Glorot, uniform), and set its bias to zero."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def text_rows(text_dim: int, dim: int) -> nn.Sequential:
    """The two layers that lead rows of a text encoder to the width of a transformer (arXiv:2310.00426)."""
    return nn.Sequential(nn.Linear(text_dim, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim))


def check_call(x: Tensor, patch: int, doors: Doors, cache: object, *, text: bool, closed: Sequence[str] = ()) -> None:
    """What every transformer that looks in both directions refuses.

    Raises ValueError for a latent (B, C, T, H, W) that patches do not cut evenly, without the `text` that it reads, for a cache, and for
    something in one of the doors that are `closed`.
    """
    check_size(x.shape[-2], x.shape[-1], patch)
    if text and doors.tokens is None and doors.keys_values is None:
        raise ValueError("this transformer was trained with text and has no state without it. Give the rows of the empty sentence.")
    if cache is not None:
        raise ValueError("this transformer attends in both directions and keeps no KV cache. Leave cache=None.")
    for name in closed:
        if getattr(doors, name) is not None:
            raise ValueError(f"this transformer has no {name} door. Leave {name}=None.")


def stills_apart(image_only: Tensor | None, frame_attends: Tensor | None) -> Tensor | None:
    """Which frames may see each other where images by themselves stand among them: bool (B, T, T), from image_only (B, T)."""
    if image_only is None:
        return frame_attends
    alone = torch.eye(image_only.shape[1], dtype=torch.bool, device=image_only.device)
    alike = ~(image_only[:, :, None] | image_only[:, None, :]) | alone
    return alike if frame_attends is None else alike & frame_attends


class Head(nn.Linear):
    """Tokens (B, T, S, D) to a clip (B, C, T, H, W): LN, shift and scale by the noise level, a linear layer, patches put side by side.

    own: shift and scale come from a layer of its own that starts at zero, else from a table beside the level's embedding.
    channels: of the clip; keep: how many of them are given back, the first ones (further ones may be a learned variance).
    """

    def __init__(self, dim: int, channels: int, patch: int, *, own: bool = False, keep: int | None = None, eps: float = 1e-6):
        super().__init__(dim, channels * patch**2)
        self.patch, self.channels, self.keep, self.eps = patch, channels, keep or channels, eps
        self.modulation = nn.Linear(dim, 2 * dim) if own else None
        self.table = None if own else nn.Parameter(torch.randn(2, dim) / dim**0.5)

    def start(self) -> None:
        """The weights of birth: the answer is zero."""
        for layer in (self, self.modulation):
            if layer is not None:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def rows(self, emb: Tensor) -> Tensor:
        """The level's embedding (B, 1 or T, D) to shift and scale, (B, 1 or T, 2, D)."""
        if self.modulation is not None:
            return self.modulation(F.silu(emb)).unflatten(-1, (2, -1))
        assert self.table is not None
        return self.table + emb[:, :, None]

    def clip(self, tokens: Tensor, emb: Tensor, height: int, width: int) -> Tensor:
        """height, width: of the clip, in latent cells."""
        shift, scale = self.rows(emb).unsqueeze(3).unbind(2)                # (B, 1 or T, 1, D) each
        out = self(modulated(tokens, shift, scale, self.eps))               # (B, T, S, p p C)
        if self.keep < self.channels:
            out = out.unflatten(-1, (self.patch**2, self.channels))[..., : self.keep].flatten(-2)
        return from_patches(out, self.patch, height // self.patch, width // self.patch)
