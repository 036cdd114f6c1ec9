"""The public encoders that Wan reads, through transformers (extra `hub`): umT5 for text, rows of CLIP's image tower for pictures."""

from __future__ import annotations

import html
from typing import Any

import torch
from torch import Tensor, nn

from flipbook.encoders.hub import T5TextEncoder
from flipbook.shapes import tensor_to_pixels


class UMT5TextEncoder(T5TextEncoder):
    """umT5's encoder: sentences of many languages to 512 rows each, zeros behind their end."""

    def __init__(self, model: Any, tokenizer: Any, *, max_tokens: int = 512):
        super().__init__(model, tokenizer, max_tokens=max_tokens)

    def encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Rows (B, max_tokens, D), 0 where a sentence has ended, and mask (B, max_tokens), True = a token is there.

        Entities of HTML are spelled out and white space is single blanks, as in the prompts that Wan was trained on.
        """
        return super().encode([" ".join(html.unescape(html.unescape(text)).split()) for text in texts])


class ClipImageRows(nn.Module):
    """CLIP's image tower (arXiv:2103.00020) up to the layer before its last: one row per patch and one for the whole, 257 in Wan.

    processor: what transformers has for the tower's pictures: it resizes, cuts the centre and normalises.
    """

    def __init__(self, model: Any, processor: Any):
        super().__init__()
        self.model, self.processor = model, processor

    def encode(self, images: Tensor) -> Tensor:
        """Rows (B, L, D) of images (B, 3, H, W) in [-1, 1]."""
        pictures = list(tensor_to_pixels(images[:, :, None])[:, 0])         # uint8 (H, W, 3) each, as CLIP's own recipe has them
        prepared = self.processor(images=pictures, return_tensors="pt")["pixel_values"]
        parameter = next(self.model.parameters())
        with torch.no_grad():
            return self.model(pixel_values=prepared.to(parameter), output_hidden_states=True).hidden_states[-2]
