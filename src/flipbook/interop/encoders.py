"""CLIP's towers from the folders and files of public pipelines, as strictly as all else: every weight there, no other, nothing drawn anew."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flipbook.hints import nearest
from flipbook.interop.config_read import read_json
from flipbook.interop.keys_apply import Rule, translate
from flipbook.interop.weights import BadWeights, read_weights

TOWERS = {
    "text_encoder": ("CLIPTextModel", "CLIPTextConfig", ("CLIPTextModel", "CLIPTextModelWithProjection")),
    "image_encoder": ("CLIPVisionModelWithProjection", "CLIPVisionConfig", ("CLIPVisionModelWithProjection",)),
}
"""Sub-folder to the classes of its model and configuration, and the classes whose files may be read as it."""


def read_encoder(folder: str | Path, part: str, *, dtype: torch.dtype = torch.float32, variant: str | None = None) -> Any:
    """The encoder of a pipeline's folder: part is "text_encoder", whose `tokenizer` stands beside it, or "image_encoder".

    Raises ValueError, with the file's name, for another class, for files that are missing or damaged, and for keys that do not fit.
    """
    from flipbook.encoders.hub import ClipImageEncoder, ClipTextEncoder

    folder = Path(folder)
    class_name, config_name, readable = TOWERS[part]
    path = folder / part / "config.json"
    json = read_json(path)
    named = [str(name) for name in json.get("architectures") or [class_name]]
    if not set(named) <= set(readable):
        raise ValueError(f"{path}: class {named[0]!r} is not known to this version of flipbook as a {part}. {nearest(named[0], readable)}")
    weights, origin = read_weights(folder / part, variant=variant, dtype=dtype)
    transformers = importlib.import_module("transformers")
    model = filled(getattr(transformers, class_name), getattr(transformers, config_name).from_dict(json), weights, origin)
    if part == "text_encoder":
        return ClipTextEncoder(model, read_tokenizer(folder / "tokenizer"))
    settings = folder / "feature_extractor" / "preprocessor_config.json"
    found = read_json(settings) if settings.is_file() else {}
    return ClipImageEncoder(model, **{ours: tuple(found[theirs]) for ours, theirs in (("mean", "image_mean"), ("std", "image_std")) if theirs in found})


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder. Raises BadWeights if it cannot be read."""
    transformers = importlib.import_module("transformers")
    if not folder.is_dir():
        raise BadWeights(f"{folder} is missing: the model folder is not whole. Copy or download it again.")
    try:
        return transformers.AutoTokenizer.from_pretrained(str(folder))
    except Exception as error:                                              # a library of its own, with errors of many kinds
        raise BadWeights(f"{folder} holds no tokenizer that can be read ({type(error).__name__}). Copy or download it again.") from error


def filled(make: Any, config: Any, weights: Mapping[str, Tensor], origin: str) -> Any:
    """A tower of transformers with these weights, under its present names or older ones. Raises KeysDoNotFit, which lists every key that does not fit."""
    from flipbook.interop.folder import unfilled

    with unfilled():
        model = make(config)
    wanted = {key: value for key, value in model.state_dict().items() if not key.endswith("position_ids")}
    prefix = "" if any(key.startswith("text_model.") for key in wanted) else "text_model."
    rules = (
        *(Rule(f"{tower}embeddings.position_ids", ()) for tower in ("", "text_model.", "vision_model.")),
        *((Rule("text_projection.weight", ()),) if "text_projection.weight" not in wanted else ()),
        Rule(f"{prefix}{{rest*}}", "{rest*}"), Rule("{rest*}", "{rest*}"),
    )  # fmt: skip
    model.load_state_dict(translate(weights, rules, wanted, origin), strict=False, assign=True)
    return model.eval().requires_grad_(False)
