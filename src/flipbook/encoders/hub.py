"""Public text encoders, CLIP and T5, through transformers (extra `hub`), behind the same face as our own.

Both read a local folder or a hub id. Of a pipeline in the layout of diffusers say `subfolder="text_encoder"` (or
`"text_encoder_2"`); its tokenizer stands in the `tokenizer` (`tokenizer_2`) beside it. Weights come from safetensors files
alone, and no code of a repository is run.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class ClipTextEncoder(nn.Module):
    """CLIP's text tower (arXiv:2103.00020) as latent diffusion and its video descendants read it.

    Sentences are padded to the tower's full length, and all rows may be attended, padding too: the networks that were
    trained beside it know no other input.

    layer: which transformer layer's rows, -1 for the last, -2 for the one before (as with OpenCLIP towers); the final
           norm follows in either case.
    """

    def __init__(self, model: Any, tokenizer: Any, *, layer: int = -1):
        super().__init__()
        self.model, self.tokenizer, self.layer = model, tokenizer, layer
        self.max_tokens = model.config.max_position_embeddings
        depth = model.config.num_hidden_layers
        if not -depth <= layer <= -1:
            raise ValueError(f"layer={layer}: this tower has {depth} layers, -1 is the last. Try -1 or -2.")

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, subfolder: str = "", layer: int = -1, dtype: torch.dtype = torch.float32
    ) -> ClipTextEncoder:
        """Read a tower from a folder or hub id. Raises ValueError if it is not there, ImportError without the extra."""
        return cls(*_read(source, subfolder, "CLIPTextModel", dtype), layer=layer)

    def encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Rows (B, L, D) and mask (B, L), all True; L is the tower's length (77), longer sentences are cut."""
        ids = _tokenise(self.tokenizer, texts, self.max_tokens)["input_ids"].to(_device(self.model))
        out = self.model(input_ids=ids, output_hidden_states=self.layer != -1)
        if self.layer == -1:
            rows = out.last_hidden_state
        else:
            rows = getattr(self.model, "text_model", self.model).final_layer_norm(out.hidden_states[self.layer])
        return rows, torch.ones(ids.shape, dtype=torch.bool, device=ids.device)

    def unknown_words(self, text: str) -> list[str]:
        """None: byte-pair encoding spells any word."""
        return []


class T5TextEncoder(nn.Module):
    """T5's encoder (arXiv:1910.10683) as PixArt, Open-Sora, CogVideoX and Wan read it.

    max_tokens: sentences are padded or cut to this many rows; each of those systems has its own number (226 in
                CogVideoX, 512 in Wan).
    """

    def __init__(self, model: Any, tokenizer: Any, *, max_tokens: int = 226):
        super().__init__()
        self.model, self.tokenizer, self.max_tokens = model, tokenizer, max_tokens

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, subfolder: str = "", max_tokens: int = 226, dtype: torch.dtype = torch.float32
    ) -> T5TextEncoder:
        """Read an encoder from a folder or hub id. Raises ValueError if it is not there, ImportError without the extra."""
        return cls(*_read(source, subfolder, "T5EncoderModel", dtype), max_tokens=max_tokens)

    def encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Rows (B, max_tokens, D), 0 where a sentence has ended, and mask (B, max_tokens), True = a token is there."""
        tokens = _tokenise(self.tokenizer, texts, self.max_tokens)
        ids, mask = (tokens[key].to(_device(self.model)) for key in ("input_ids", "attention_mask"))
        rows = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return rows * mask[..., None].to(rows.dtype), mask.bool()

    def unknown_words(self, text: str) -> list[str]:
        """None: sentence pieces spell any word."""
        return []


def _read(source: str | Path, subfolder: str, class_name: str, dtype: torch.dtype) -> tuple[Any, Any]:
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise ImportError("public text encoders need transformers. Try pip install 'flipbook[hub]'") from error
    try:
        model = getattr(transformers, class_name).from_pretrained(
            str(source), subfolder=subfolder, dtype=dtype, use_safetensors=True
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(source), subfolder=subfolder.replace("text_encoder", "tokenizer")
        )
    except OSError as error:
        raise ValueError(
            f"{Path(source) / subfolder}: no {class_name} in safetensors files with its tokenizer was found there. "
            f'Of a pipeline, say subfolder="text_encoder". ({error})'
        ) from error
    return model.eval().requires_grad_(False), tokenizer


def _tokenise(tokenizer: Any, texts: list[str], length: int) -> dict[str, Tensor]:
    return tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")


def _device(model: Any) -> torch.device:
    return next(model.parameters()).device
