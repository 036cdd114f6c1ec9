"""Weights of one network from the files of a public folder: whole, sharded, in a variant; never from a pickle.

Everything that can be wrong with downloaded files has its own message, with the file's name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")


class BadWeights(ValueError):
    """Files of weights cannot be read as asked; the message names the file and says what to do."""


def read_weights(source: str | Path, *, variant: str | None = None, dtype: torch.dtype | None = None) -> tuple[dict[str, Tensor], str]:
    """All tensors of a safetensors file, or of the one network in a folder, and the name of what was read.

    variant: "fp16" or "bf16" for NAME.fp16.safetensors and its kind; None: the plain files.
    dtype:   of floating tensors; None: as stored.
    Raises BadWeights for files that are missing, cut short, no safetensors, or shards that do not fit their index.
    """
    source = Path(source)
    if source.is_dir():
        files, origin = _of_folder(source, variant)
    elif not source.exists():
        raise BadWeights(f"{source} does not exist. Copy or download it again.")
    else:
        files, origin = {source: None}, source
    weights: dict[str, Tensor] = {}
    for path, keys in files.items():
        with opened(path) as file:
            there = set(file.keys())
            lacking = sorted((keys or set()) - there)
            if lacking:
                raise BadWeights(f"{path} lacks {lacking[0]} and {len(lacking) - 1} more that {origin.name} says it holds. Download both again.")
            for key in sorted(keys if keys is not None else there):
                value = file.get_tensor(key)
                weights[key] = value.to(dtype) if dtype and value.is_floating_point() else value
    return weights, str(origin)


def opened(path: Path) -> Any:
    """A safetensors file, opened. Raises BadWeights if it is a pickle, missing, cut short, a pointer or damaged."""
    if path.suffix in PICKLES:
        raise BadWeights(
            f"{path} is a pickle: reading it can run any code that its author put there, so flipbook does not. Get the model as "
            ".safetensors; most repositories have one beside it."
        )
    if not path.is_file():
        raise BadWeights(f"{path} is missing: the model folder is not whole. Copy or download it again.")
    _check_size(path)
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise BadWeights(f"{path} is damaged ({error}). Copy or download it again.") from error


def _of_folder(folder: Path, variant: str | None) -> tuple[dict[Path, set[str] | None], Path]:
    """Files to read with the keys to take from each (None: all), and the file that names the set."""
    dotted = f".{variant}" if variant else ""
    for stem in STEMS:
        whole, index = folder / f"{stem}{dotted}.safetensors", folder / f"{stem}.safetensors.index{dotted}.json"
        if whole.is_file():
            return {whole: None}, whole
        if index.is_file():
            return _shards(index), index
    raise BadWeights(f"{folder} {_what_is_there(folder, variant)}")


def _shards(index: Path) -> dict[Path, set[str] | None]:
    try:
        places = {str(key): str(name) for key, name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadWeights(f"{index} is no index of shards ({error!r}). Copy or download it again.") from error
    keys: dict[Path, set[str] | None] = {}
    for name in sorted(set(places.values())):
        if Path(name).name != name:
            raise BadWeights(f"{index} names {name!r}, which is outside the folder. Only files beside the index are read.")
        keys[index.with_name(name)] = {key for key, place in places.items() if place == name}
    missing = [path.name for path in keys if not path.is_file()]
    if missing:
        raise BadWeights(f"{index.parent} lacks {len(missing)} of {len(keys)} shards: {', '.join(missing)}. Download them again.")
    return keys


def _what_is_there(folder: Path, variant: str | None) -> str:
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    wanted = f"no weights of variant {variant!r}" if variant else "no weights"
    pickles = [name for name in names if name.endswith(PICKLES)]
    partial = [name for name in names if name.endswith((".incomplete", ".part", ".tmp", ".crdownload"))]
    variants = sorted({n.split(".")[1].split("-")[0] for n in names if n.endswith(".safetensors") and n.count(".") > 1})
    plain = any(name.endswith(".safetensors") and name.count(".") == 1 for name in names)
    if partial:
        return f"holds {wanted}, but {partial[0]}: a download that has not ended. Finish it, or start it again."
    if variants or (variant and plain):
        others = [f"variant={name!r}" for name in variants] + (["no variant"] if plain else [])
        return f"holds {wanted}; there are weights of {', '.join(others)}. Try {others[0]}."
    if pickles:
        return f"holds {wanted} in safetensors files, only {pickles[0]}: a pickle, which flipbook does not read. Get the .safetensors of this model."
    return f"holds {wanted}. Copy or download the folder again."


def _check_size(path: Path) -> None:
    """Compare the file with its own header: half a download is the most common damage, and deserves plain words."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        if start == b"version ":
            raise BadWeights(f"{path} is a pointer to a file in Git LFS, not the file. Run `git lfs pull` in its folder, or download it.")
        length = int.from_bytes(start, "little")
        if size < 8 or length > size - 8:
            raise BadWeights(f"{path} has {size} bytes and ends inside its header: half-downloaded, or no safetensors file. Download it again.")
        try:
            entries = json.loads(file.read(length))
            ends = [value["data_offsets"][1] for key, value in entries.items() if key != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return                                                          # damaged otherwise: the reader says how
    wanted = 8 + length + max(ends, default=0)
    if size < wanted:
        raise BadWeights(f"{path} has {size} of {wanted} bytes: half-downloaded. Download it again.")
