"""Public networks for the stages that need one, read from a local folder or hub id through transformers (extra `hub`)."""

from __future__ import annotations

import importlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

CONFIG, WEIGHTS = "config.json", ("model.safetensors", "model.safetensors.index.json")


def need_weights(stage: str, source: str) -> None:
    """Refuse early where neither a folder nor the hub's cache has the weights of `source`. Raises ValueError, ImportError."""
    transformers()
    folder = Path(source)
    if not folder.is_dir():
        missing = "there is no such folder, nor are they in the hub's cache" if not _is_cached(source) else ""
    elif not (folder / CONFIG).is_file():
        missing = f"the folder has no {CONFIG}"
    else:
        missing = "" if any(folder.glob("*.safetensors")) else "the folder has no .safetensors file (nothing is unpickled)"
    if missing:
        raise ValueError(
            f"stage {stage} needs the weights of {source}, and {missing}. "
            f"Download them, say --set {stage}.model=FOLDER, or leave the stage out with --without {stage}."
        )


def _is_cached(source: str) -> bool:
    """Whether the hub's cache has a configuration and weights of that name."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = {name: isinstance(try_to_load_from_cache(source, name), str) for name in (CONFIG, *WEIGHTS)}
    except ValueError:                                         # a path that is no folder is no hub id either
        return False
    return found[CONFIG] and any(found[name] for name in WEIGHTS)


def transformers() -> Any:
    """The package. Raises ImportError that says what to install."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise ImportError("this stage needs transformers. Try pip install 'flipbook[hub]'") from error


@lru_cache(maxsize=4)
def load(source: str, model_class: str, processor_class: str = "AutoProcessor") -> tuple[Any, Any]:
    """A model in float32, for inference, and its processor. Safetensors only, and no code of a repository is run."""
    package = transformers()
    try:
        model = getattr(package, model_class).from_pretrained(source, use_safetensors=True, dtype=torch.float32)
        processor = getattr(package, processor_class).from_pretrained(source)
    except OSError as error:
        raise ValueError(f"{source}: no {model_class} with its processor was found there ({error}).") from error
    return model.eval().requires_grad_(False), processor


def pictures(frames: np.ndarray) -> list[Any]:
    """uint8 (T, H, W, 3) as what processors take."""
    from PIL import Image

    return [Image.fromarray(frame) for frame in frames]


def tensors(found: Any) -> torch.Tensor:
    """The vectors (N, D) of a call that returns either them or an output object that holds them."""
    return found if isinstance(found, torch.Tensor) else found.pooler_output
