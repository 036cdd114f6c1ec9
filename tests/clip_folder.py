"""CLIP's text tower with random weights and a tokenizer of a few letters, in the folders of a public pipeline."""

from __future__ import annotations

import json
import string
from pathlib import Path

import torch


def write_clip(folder: Path) -> Path:
    """A whole pipeline folder with the tower (32 wide, rows of 16) and its tokenizer in sub-folders. Returns it."""
    from transformers import CLIPTextConfig, CLIPTextModel

    write_clip_tokenizer(folder / "tokenizer")
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=56, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=16, bos_token_id=54, eos_token_id=55, pad_token_id=55,
    )  # fmt: skip
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    return folder


def write_clip_tokenizer(folder: Path) -> None:
    """Letters, letters that end a word, and one merge; the layout of openai/clip-vit-large-patch14."""
    pieces = [
        *string.ascii_lowercase,
        *(c + "</w>" for c in string.ascii_lowercase),
        "re",
        "red</w>",
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\nr e\nre d</w>\n")
    end = "<|endoftext|>"
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": "<|startoftext|>",
        "eos_token": end,
        "pad_token": end,
        "unk_token": end,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
