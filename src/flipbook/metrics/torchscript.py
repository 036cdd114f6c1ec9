"""TorchScript files: loading one runs the code inside it, so nothing here does that unless it was said out loud."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any


class CodeRefused(ValueError):
    """A file that holds code was not loaded, because nobody allowed it."""


def load_torchscript(path: str | Path, *, allow: bool = False) -> Any:
    """A scripted network, for inference. Raises CodeRefused unless `allow`, ValueError if the file is none."""
    import torch

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist. Bring the file that the protocol names; flipbook downloads nothing.")
    if not allow:
        raise CodeRefused(
            f"{path} is TorchScript, and loading it executes the code inside it. If you trust where it comes from, say "
            "--allow-torchscript (allow_torchscript=True). A state dict holds no code and is loaded without."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError as error:
        raise ValueError(f"{path} is no TorchScript file ({str(error).splitlines()[0]}). Is it a state dict?") from error


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_state_dict(path: str | Path) -> dict[str, Any]:
    """Tensors by key from safetensors or from torch.save, never anything else. Raises ValueError for other content."""
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist. Bring the file that the protocol names; flipbook downloads nothing.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} holds more than tensors, or is damaged, and was not loaded ({str(error).splitlines()[0]}).") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no state dict: a dictionary of tensors is needed.")
    return state


def fill(network: Any, state: dict[str, Any], path: str | Path) -> Any:
    """Copy a state dict into a network, every key used and none missing, for inference. Raises ValueError with what differs."""
    missing, unexpected = network.load_state_dict(
        {key.removeprefix("module."): value for key, value in state.items()}, strict=False
    )  # fmt: skip
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(
            f"{path} is not a state dict of {type(network).__name__}: {len(missing)} keys are missing ({', '.join(missing[:3])}...), "
            f"{len(unexpected)} are unknown ({', '.join(unexpected[:3])}...)."
        )
    return network.eval().requires_grad_(False)
