"""Folders of Latte's pipeline, text to video, in the layout of diffusers."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from flipbook.interop.config_read import read_json
from flipbook.interop.encoders import filled, read_tokenizer
from flipbook.interop.weights import BadWeights, read_weights
from flipbook.systems.base import System

TIED = ("encoder.embed_tokens.weight", "shared.weight")
"""The same tensor by two names; files have one of them or both."""


def load(
    folder: Path, index: Mapping[str, Any], *, dtype: torch.dtype, device: torch.device | str, variant: str | None
) -> System:
    """The system in such a folder. Raises ValueError, with the file's name, for what is missing, damaged or of another kind."""
    from flipbook.interop.public import read_network, read_scheduler
    from flipbook.systems import latte

    plan = read_scheduler(folder / "scheduler")
    net: Any = read_network(folder / "transformer", dtype=dtype, variant=variant)
    autoencoder: Any = read_network(folder / "vae", dtype=dtype, variant=variant)
    encoder = read_t5(folder, dtype=dtype, variant=variant)
    side = net.config.places * net.config.patch * autoencoder.stride
    return latte.compose(
        name=folder.name, denoiser=net.to(device), autoencoder=autoencoder.to(device), text_encoder=encoder.to(device), plan=plan,
        defaults={"height": side, "width": side}, card={"title": folder.name, "layout": index["_class_name"]} | ({"note": plan.note} if plan.note else {}),
    ).eval()  # fmt: skip


def read_t5(folder: Path, *, dtype: torch.dtype, variant: str | None) -> Any:
    """The text encoder of a pipeline's folder and the `tokenizer` beside it, which keep what the encoder says of padding."""
    from flipbook.encoders.hub import T5TextEncoder
    from flipbook.systems.latte import MAX_TOKENS

    path = folder / "text_encoder" / "config.json"
    config = read_json(path)
    named = (config.get("architectures") or ["T5EncoderModel"])[0]
    if named != "T5EncoderModel":
        raise BadWeights(f"{path}: class {named!r} is not known to this version of flipbook here. Only T5EncoderModel is.")
    weights, origin = read_weights(folder / "text_encoder", variant=variant, dtype=dtype)
    for one, other in (TIED, TIED[::-1]):
        if other in weights:
            weights.setdefault(one, weights[other])
    transformers = importlib.import_module("transformers")
    model = filled(transformers.T5EncoderModel, transformers.T5Config.from_dict(config), weights, origin)
    return T5TextEncoder(model, read_tokenizer(folder / "tokenizer"), max_tokens=MAX_TOKENS, keeps_padding=True, lower_case=True)
