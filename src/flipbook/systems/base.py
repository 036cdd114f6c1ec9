"""A system: the parts of one published method, put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from flipbook.process.process import Process

Denoiser = Any          # an nn.Module with the network contract: (x, t, doors, *, frame_is_given, frame_index, ...) and prepare(doors)
Autoencoder = Any       # an nn.Module with encode, decode and stride
TextEncoder = Any       # an nn.Module with encode and unknown_words


@dataclass
class System:
    """denoiser + autoencoder + text encoder + process, with the card that says where they come from.

    autoencoder: encode (B, 3, T, H, W) -> (B, C, T, H/s, W/s) and decode back; `autoencoder.stride` is s.
    text_encoder: encode(list of sentences) -> rows (B, L, D) and mask (B, L).
    process: the noise path and what the denoiser predicts.
    defaults: what `generate` uses when it is not told otherwise (num_frames, fps, height, width, sampler, steps, guidance).
    """

    name: str
    denoiser: Denoiser
    autoencoder: Autoencoder
    text_encoder: TextEncoder
    process: Process
    defaults: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The networks by name, as they are saved and trained."""
        return {"denoiser": self.denoiser, "autoencoder": self.autoencoder, "text_encoder": self.text_encoder}

    def eval(self) -> System:
        """Switch every part to inference and return the system."""
        for part in self.parts.values():
            part.eval().requires_grad_(False)
        return self
