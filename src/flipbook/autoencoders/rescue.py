"""Latents on disk while they are decoded: hours of sampling survive a decoder that runs out of memory, or a machine that stops."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from flipbook.files.temporary import written_whole

SUFFIX = ".latents.safetensors"
HOW = (
    "Decode them with `flipbook decode {quoted}`, with more memory or less at a time (--chunk 1 --tile 32); "
    "in Python with flipbook.generate.finish(model.system, {name!r})."
)


@contextmanager
def kept_while_decoding(path: Path | None, z: Tensor, recipes: Sequence[dict[str, Any]]) -> Iterator[None]:
    """Write latents (B, C, T, h, w) and one recipe per sample to `path`; remove the file if the block succeeds.

    An exception leaves the file and tells, as a note, how to go on. path: NAME.latents.safetensors; None: nothing is kept.
    """
    if path is None:
        yield
        return
    save_latents(path, z, recipes)
    try:
        yield
    except BaseException as error:
        error.add_note(f"The sampled latents are safe in {path}. {HOW.format(name=str(path), quoted=quote(str(path)))}")
        raise
    path.unlink()


def save_latents(path: Path, z: Tensor, recipes: Sequence[dict[str, Any]]) -> None:
    """Latents (B, C, T, h, w) and one recipe per sample in one file, whole or not at all."""
    metadata = {"format": "pt", "recipes": json.dumps(list(recipes)), "how": HOW.format(name=path.name, quoted=quote(path.name))}
    with written_whole(path) as temporary:
        save_file({"z": z.detach().cpu().contiguous()}, temporary, metadata=metadata)


def read_latents(path: str | Path) -> tuple[Tensor, list[dict[str, Any]]]:
    """What `save_latents` wrote. Raises ValueError for a file that is something else, or not whole."""
    if not Path(path).is_file():
        raise ValueError(f"{path} does not exist: there are no latents to decode. They are removed once their video is made.")
    try:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor("z"), json.loads((file.metadata() or {})["recipes"])
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path} holds no latents of flipbook ({error}). Try a file that ends in {SUFFIX}.") from error
