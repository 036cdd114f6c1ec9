"""A small text encoder that is trained with its model: a list of words and a two-layer transformer over them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.attention import softmax_attention


@dataclass(frozen=True, kw_only=True)
class WordEncoderConfig:
    """`words` have rows of their own; any other word falls on one of `num_spare` rows, chosen by its CRC-32.

    taught: words among those others that training has shown since, in alphabetical order. They change no row, only what is said of a word.
    Raises ValueError for what is no such word.
    """

    words: tuple[str, ...]
    dim: int = 192
    depth: int = 2
    num_heads: int = 4
    max_words: int = 48
    num_spare: int = 256
    taught: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", tuple(self.words))
        if isinstance(self.taught, str):
            raise ValueError(f"taught={self.taught!r}: it is a list of words. Try [{self.taught!r}].")
        object.__setattr__(self, "taught", tuple(self.taught))
        for word in self.taught:
            if not isinstance(word, str) or split_words(word) != [word] or word in self.words:
                raise ValueError(f"taught={word!r}: only lower-case words that are not among `words` are taught later. Leave it out.")


def split_words(text: str) -> list[str]:
    """Lower-case words and numbers of a sentence in any script, punctuation dropped."""
    return re.findall(r"[^\W_]+(?:'[^\W\d_]+)?", text.lower())


class WordEncoder(nn.Module):
    """encode(sentences) -> rows (B, L, dim) and mask (B, L); an empty sentence is one start row, the null condition."""

    def __init__(self, config: WordEncoderConfig):
        super().__init__()
        self.config = c = config
        self.row_of = {word: 1 + i for i, word in enumerate(c.words)}      # row 0 is the start of every sentence
        self.embed = nn.Embedding(1 + len(c.words) + c.num_spare, c.dim)
        self.position = nn.Parameter(0.02 * torch.randn(c.max_words + 1, c.dim))
        self.blocks = nn.ModuleList(TextBlock(c.dim, c.num_heads) for _ in range(c.depth))
        self.norm = nn.LayerNorm(c.dim)
        nn.init.normal_(self.embed.weight, std=0.02)
        nn.init.zeros_(self.embed.weight[1 + len(c.words) :])               # a word never trained on says nothing

    def tokenise(self, text: str) -> list[int]:
        """Row numbers of a sentence, start row first, cut after `max_words` words."""
        spare = 1 + len(self.config.words)
        words = split_words(text)[: self.config.max_words]
        return [0] + [self.row_of.get(w, spare + zlib.crc32(w.encode()) % self.config.num_spare) for w in words]

    def unknown_words(self, text: str) -> list[str]:
        """The words of a sentence that training never saw, in order, each once."""
        known = {*self.row_of, *self.config.taught}
        return [w for w in dict.fromkeys(split_words(text)) if w not in known]

    def teach(self, words: Iterable[str]) -> None:
        """Note that training has shown these words; `encode` does so itself while the encoder learns."""
        if new := {*words} - {*self.row_of, *self.config.taught}:
            self.config = replace(self.config, taught=tuple(sorted({*self.config.taught, *new})))

    @property
    def max_words(self) -> int:
        """Words of a sentence that are read."""
        return self.config.max_words

    def unread_words(self, text: str) -> list[str]:
        """The words behind the last one that is read, in order."""
        return split_words(text)[self.max_words :]

    def encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Rows (B, L, dim) and mask (B, L), True = a word is there. L is the longest sentence, rounded up to a multiple of 16."""
        if self.training and torch.is_grad_enabled() and self.embed.weight.requires_grad:
            self.teach(word for text in texts for word in split_words(text)[: self.max_words])
        rows = [self.tokenise(text) for text in texts]
        length = min(-(-max(map(len, rows)) // 16) * 16, self.config.max_words + 1)
        device = self.position.device
        ids = torch.tensor([r + [0] * (length - len(r)) for r in rows], device=device)
        mask = torch.tensor([[True] * len(r) + [False] * (length - len(r)) for r in rows], device=device)
        x = self.embed(ids) + self.position[:length]
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x), mask


class TextBlock(nn.Module):
    """Self-attention and a small network, each residual, norm first."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.qkv, self.out = nn.LayerNorm(dim), nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.norm2, self.enter, self.leave = nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:                   # (B, L, D), (B, L)
        b, length, dim = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, length, 3, self.num_heads, dim // self.num_heads).unbind(2)
        x = x + self.out(softmax_attention(q, k, v, mask[:, None, None, :]).reshape(b, length, dim))
        return x + self.leave(F.gelu(self.enter(self.norm2(x))))
