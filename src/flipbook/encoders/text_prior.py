"""Text prior: from a sentence to the embedding of a picture that it could be the caption of.

A small diffusion model over single vectors that predicts the clean vector (DALL-E 2, arXiv:2204.06125, section 2.2). A decoder that was
taught on embeddings of frames, without captions, then follows sentences (Make-A-Video, arXiv:2209.14792).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.encoders.words import TextBlock, WordEncoder, WordEncoderConfig
from flipbook.nn.embed import sinusoid
from flipbook.process.matrix import noise_levels
from flipbook.process.path import Cosine
from flipbook.samplers.ddim import sample_ddim


@dataclass(frozen=True, kw_only=True)
class TextPriorConfig:
    """words: reads the sentence.   dim: of the picture's embedding.   steps: of its sampler."""

    words: WordEncoderConfig
    dim: int = 192
    depth: int = 2
    num_heads: int = 4
    steps: int = 16

    def __post_init__(self) -> None:
        if isinstance(self.words, dict):
            object.__setattr__(self, "words", WordEncoderConfig(**self.words))


class TextPrior(nn.Module):
    """encode(sentences) -> rows (B, 1, dim) and mask (B, 1), in the place of a text encoder. The same sentence gives the same embedding."""

    def __init__(self, config: TextPriorConfig):
        super().__init__()
        self._config = c = config
        self.words = WordEncoder(c.words)
        width = c.words.dim
        self.enter, self.time, self.leave = nn.Linear(c.dim, width), nn.Linear(width, width), nn.Linear(width, c.dim)
        self.blocks = nn.ModuleList(TextBlock(width, c.num_heads) for _ in range(c.depth))
        self.norm = nn.LayerNorm(width)

    @property
    def config(self) -> TextPriorConfig:
        """With the words that its encoder has been taught."""
        return replace(self._config, words=self.words.config)

    def forward(self, x: Tensor, t: Tensor, texts: list[str]) -> Tensor:
        """The clean embedding (B, dim) behind a noisy one at levels t (B,): a token behind the words reads all of them."""
        rows, mask = self.words.encode(texts)
        token = self.enter(x) + self.time(sinusoid(1000 * t, rows.shape[-1]))
        h = torch.cat([rows, token[:, None]], dim=1)
        mask = F.pad(mask, (0, 1), value=True)
        for block in self.blocks:
            h = block(h, mask)
        return self.leave(self.norm(h[:, -1]))

    def loss(self, embedding: Tensor, texts: list[str], t: Tensor, eps: Tensor) -> Tensor:
        """(B,) squared error of the clean embedding (B, dim), predicted at t (B,) with noise eps."""
        path = Cosine()
        x = path.alpha(t)[:, None] * embedding + path.sigma(t)[:, None] * eps
        return (self(x, t, texts) - embedding).square().mean(1)

    @torch.no_grad()
    def encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Sampled embeddings (B, 1, dim), all from one noise; none is dropped: mask of ones."""
        dim, device = self._config.dim, self.leave.weight.device
        noise = torch.randn(dim, generator=torch.Generator().manual_seed(0)).to(device)
        x = noise.expand(len(texts), -1)[:, :, None, None, None]
        denoise = lambda x, t: self(x[:, :, 0, 0, 0], t[:, 0], texts)[:, :, None, None, None]
        rows = sample_ddim(denoise, x, Cosine(), noise_levels(self._config.steps, 1))[:, :, 0, 0, 0]
        return rows[:, None], torch.ones(len(texts), 1, dtype=torch.bool, device=device)

    def unknown_words(self, text: str) -> list[str]:
        """The words of a sentence that training never saw."""
        return self.words.unknown_words(text)
