"""Folders of Wan 2.1's pipelines, text to video and image to video, in the layout of diffusers."""

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

TIED = "encoder.embed_tokens.weight"
"""The same tensor as `shared.weight`; files have one of them or both."""


def load(
    folder: Path, index: Mapping[str, Any], *, dtype: torch.dtype, device: torch.device | str, variant: str | None
) -> System:
    """The system in such a folder. Raises ValueError, with the file's name, for what is missing, damaged or of another kind."""
    from flipbook.interop.public import read_network, read_scheduler
    from flipbook.systems import wan

    name = folder / "model_index.json"
    for field in ("transformer_2", "boundary_ratio", "expand_timesteps"):
        if index.get(field) not in (None, False, [None, None]):
            raise ValueError(f"{name}: {field}={index[field]!r} is for Wan 2.2, which this version of flipbook does not know. Try a folder of Wan 2.1.")
    plan = read_scheduler(folder / "scheduler")
    net: Any = read_network(folder / "transformer", dtype=dtype, variant=variant)
    autoencoder: Any = read_network(folder / "vae", dtype=dtype, variant=variant)
    reads_pictures = index["_class_name"] == "WanImageToVideoPipeline"
    if reads_pictures != bool(net.config.channel_door):
        raise ValueError(f"{name}: a {index['_class_name']} with a transformer of {net.config.in_channels + net.config.channel_door} input channels: "
                         "these parts do not belong together. Copy or download the folder again.")
    encoders = {"text_encoder": read_umt5(folder, dtype=dtype, variant=variant)}
    if net.config.picture_dim is not None:
        encoders["image_encoder"] = read_image_rows(folder, dtype=dtype, variant=variant)
    return wan.compose(
        name=folder.name, denoiser=net.to(device), autoencoder=autoencoder.to(device),
        **{part: encoder.to(device) for part, encoder in encoders.items()},
        plan=plan, card={"title": folder.name, "layout": index["_class_name"]},
    ).eval()  # fmt: skip


def read_umt5(folder: Path, *, dtype: torch.dtype, variant: str | None) -> Any:
    """The text encoder of a pipeline's folder and the `tokenizer` beside it."""
    from flipbook.encoders.hub_wan import UMT5TextEncoder

    config = _config(folder / "text_encoder", "UMT5EncoderModel")
    weights, origin = read_weights(folder / "text_encoder", variant=variant, dtype=dtype)
    for one, other in ((TIED, "shared.weight"), ("shared.weight", TIED)):
        if other in weights:
            weights.setdefault(one, weights[other])
    transformers = importlib.import_module("transformers")
    model = filled(transformers.UMT5EncoderModel, transformers.UMT5Config.from_dict(config), weights, origin)
    return UMT5TextEncoder(model, read_tokenizer(folder / "tokenizer"))


def read_image_rows(folder: Path, *, dtype: torch.dtype, variant: str | None) -> Any:
    """The image encoder of a pipeline's folder and the `image_processor` beside it."""
    from flipbook.encoders.hub_wan import ClipImageRows

    config = _config(folder / "image_encoder", "CLIPVisionModel", "CLIPVisionModelWithProjection")
    weights, origin = read_weights(folder / "image_encoder", variant=variant, dtype=dtype)
    transformers = importlib.import_module("transformers")
    model = filled(transformers.CLIPVisionModel, transformers.CLIPVisionConfig.from_dict(config), weights, origin)
    make = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
    return ClipImageRows(model, make(**_settings(folder / "image_processor" / "preprocessor_config.json")))


def _settings(path: Path) -> dict[str, Any]:
    """What an image processor is told: how it resizes, cuts and normalises."""
    kept = (
        "size", "crop_size", "resample", "do_resize", "do_center_crop", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std",
        "do_convert_rgb",
    )  # fmt: skip
    found = read_json(path)
    return {key: found[key] for key in kept if found.get(key) is not None}


def _config(folder: Path, *classes: str) -> dict[str, Any]:
    config = read_json(folder / "config.json")
    named = [str(name) for name in config.get("architectures") or classes[:1]]
    if not set(named) <= set(classes):
        raise BadWeights(f"{folder / 'config.json'}: class {named[0]!r} is not known to this version of flipbook here. Only {' or '.join(classes)} is.")
    return config
