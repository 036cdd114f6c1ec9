"""CLIP as the eye of CLIPSIM and of frame consistency: a model folder or hub id that the user brings, through transformers."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from flipbook.metrics.extractors import network_hash
from flipbook.shapes import tensor_to_pixels

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ClipEye:
    """A whole CLIP with its tokenizer, and the hash of its weights."""

    model: Any
    tokenizer: Any
    sha256: str

    @torch.inference_mode()
    def see(self, clip: Tensor, batch_size: int = 32) -> Tensor:
        """Frame embeddings (T, D) of a clip (3, T, H, W) in [-1, 1], not normalised."""
        pixels = prepare(tensor_to_pixels(clip), self.model.config.vision_config.image_size)
        parts = [_embedding(self.model.get_image_features(pixel_values=part)) for part in pixels.split(batch_size)]
        return torch.cat(parts)

    @torch.inference_mode()
    def read(self, text: str) -> tuple[Tensor, bool]:
        """Text embedding (D,), and whether the prompt was cut: CLIP reads 77 tokens and no more."""
        length = self.model.config.text_config.max_position_embeddings
        cut = len(self.tokenizer(text)["input_ids"]) > length
        tokens = self.tokenizer([text], padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        return _embedding(self.model.get_text_features(**tokens))[0], cut


def load_clip(source: str | Path) -> ClipEye:
    """Read a CLIP model with its tokenizer from a folder or hub id, safetensors only.

    Raises ValueError if there is none, ImportError without transformers.
    """
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise ImportError("CLIP needs transformers. Try pip install 'flipbook[hub]'") from error
    try:
        model = transformers.CLIPModel.from_pretrained(str(source), use_safetensors=True).eval().requires_grad_(False)
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(source))
    except OSError as error:
        raise ValueError(f"{source}: no CLIP model in safetensors files with its tokenizer was found there. ({error})") from error
    return ClipEye(model, tokenizer, network_hash(model))


def prepare(frames: np.ndarray, size: int) -> Tensor:
    """uint8 frames (T, H, W, 3) as CLIP was trained on them: short side to `size` (bicubic, on bytes), centre, normalised: (T, 3, S, S)."""
    height, width = frames.shape[1:3]
    short = min(height, width)
    to = (int(size * width / short), int(size * height / short))                 # (width, height), truncated like its own processor
    left, top = (to[0] - size) // 2, (to[1] - size) // 2
    resized = [Image.fromarray(frame).resize(to, Image.Resampling.BICUBIC) for frame in frames]
    pixels = np.stack([np.asarray(image)[top : top + size, left : left + size] for image in resized])
    x = torch.from_numpy(pixels).movedim(-1, 1).float() / 255                    # (T, 3, S, S)
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)


def _embedding(out: Any) -> Tensor:
    """transformers 5 wraps the projected embedding, earlier versions return it."""
    return out if isinstance(out, Tensor) else out.pooler_output
