"""Checkpoints that are whole or not there: folders written under a temporary name, hashed, flushed, then renamed.

    checkpoint-000100/
        model.safetensors  ema.safetensors  optimizer.safetensors      tensors
        state.json                                                     numbers and words
        manifest.json                                                  step, and size and sha256 of every other file

Where weights are sharded over processes, each writes its slices as `shard-*.safetensors`, and any number of processes
reads them. Nothing is pickled. A kill at any moment leaves the previous checkpoint untouched and at most a temporary folder, which
the next save removes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from flipbook import parallel

_NAME = re.compile(r"checkpoint-(\d{6,})")
_TEMPORARY = ".unfinished-"
_SHARDS = "shard-"


class CheckpointError(ValueError):
    """A checkpoint that could not be written or read."""


class CheckpointCorrupt(CheckpointError):
    """A checkpoint whose files are not those its manifest names."""


@dataclass(frozen=True)
class Checkpoint:
    """tensors: file stem to tensors by name (on the CPU).   state: what `json` can hold."""

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def save_checkpoint(
    root: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], keep: int = 2,
    group: parallel.Group | None = None,
) -> Path:  # fmt: skip
    """Write `root/checkpoint-STEP` and then remove all but the last `keep`. Returns the folder.

    group: processes that hold a slice each of `tensors`, and call this together.
    Raises CheckpointError when the disk is full or cannot be written; earlier checkpoints then stay as they are.
    """
    leads, writer = group is None or group.leads, os.getpid() if group is None else "shared"
    final, temporary = root / f"checkpoint-{step:06d}", root / f"{_TEMPORARY}{step:06d}-{writer}"
    try:
        if leads:
            root.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(root)
            _require_room(root, tensors)
            temporary.mkdir()
        if group is None:
            _write_whole(temporary, tensors)
        else:
            group.wait()
            named = {f"{stem}/{name}": t.detach() for stem, part in tensors.items() for name, t in part.items()}
            parallel.write_shards(temporary, named)
        if leads:
            _finish(root, step, temporary, final, state, keep)
        if group is not None:
            group.wait()
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(_explain(error, root, final, tensors)) from error
    return final


def _write_whole(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    for stem, part in tensors.items():
        # only contiguous CPU tensors have one byte order on the disk; values do not change
        save_file({name: t.detach().cpu().contiguous() for name, t in part.items()}, folder / f"{stem}.safetensors")


def _finish(root: Path, step: int, temporary: Path, final: Path, state: Mapping[str, Any], keep: int) -> None:
    """State and manifest beside the tensors, all of it flushed, then renamed; older checkpoints go."""
    (temporary / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
    manifest = {"step": step, "files": {path.name: _fingerprint(path) for path in sorted(temporary.iterdir())}}
    (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    _flush(temporary)
    if final.exists():  # a corrupt one: resume passed over it and came here again
        os.replace(final, root / f"{_TEMPORARY}{step:06d}-replaced")
    os.replace(temporary, final)
    _flush(root)
    past = [path for path in list_checkpoints(root) if _step(path) <= step]
    for old in set(list_checkpoints(root)) - set(past[-keep:]):  # and corrupt ones of a future that resume passed over
        os.replace(old, root / f"{_TEMPORARY}{old.name}")  # leaves the list in one moment, not file by file
    _remove_leftovers(root)


def list_checkpoints(root: Path) -> list[Path]:
    """The finished checkpoint folders of a run, oldest first; whether their bytes are good is not looked at."""
    found = [path for path in root.iterdir() if _NAME.fullmatch(path.name)] if root.is_dir() else []
    return sorted(found, key=_step)


def load_checkpoint(folder: Path, targets: Mapping[str, Tensor] | None = None) -> Checkpoint:
    """Read one checkpoint. Raises CheckpointCorrupt, naming the file, unless every byte is what was written.

    targets: tensors by name. Of a sharded checkpoint only such slices are read as these hold (of an optimiser's
    "name::state" those of `name`); without them, and of whole checkpoints, every tensor comes whole.
    """
    verify_checkpoint(folder)
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    if any(folder.glob(f"{_SHARDS}*.safetensors")):
        tensors = _read_shards(folder, targets or {})
    else:
        tensors = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
    return Checkpoint(_step(folder), tensors, state)


def _read_shards(folder: Path, targets: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    tensors: dict[str, dict[str, Tensor]] = {}
    for key, tensor in parallel.read_shards(folder, lambda key: targets.get(key.partition("/")[2].partition("::")[0])).items():
        stem, _, name = key.partition("/")
        tensors.setdefault(stem, {})[name] = tensor
    return tensors


def load_newest(root: Path, targets: Mapping[str, Tensor] | None = None) -> Checkpoint | None:
    """The newest checkpoint that is whole; None when there is none at all. `targets` as in `load_checkpoint`.

    A corrupt one is passed over with a warning that names it. Raises CheckpointCorrupt when all are corrupt.
    """
    corrupt: CheckpointCorrupt | None = None
    for folder in reversed(list_checkpoints(root)):
        try:
            return load_checkpoint(folder, targets)
        except CheckpointCorrupt as error:
            warnings.warn(f"{error} Falling back to the checkpoint before it.", stacklevel=2)
            corrupt = error
    if corrupt is not None:
        raise CheckpointCorrupt(f"{corrupt} No whole checkpoint is left in {root}.") from corrupt
    return None


def verify_checkpoint(folder: Path) -> None:
    """Compare every file with the manifest. Raises CheckpointCorrupt naming the first that differs."""
    try:
        files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
        for name, expected in files.items():
            if _fingerprint(folder / name) != expected:
                raise CheckpointCorrupt(
                    f"{folder / name} is not what was written: its size or sha256 differs from the manifest."
                )
    except OSError as error:
        raise CheckpointCorrupt(f"{error.filename} of a checkpoint cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, AttributeError) as error:
        if isinstance(error, CheckpointCorrupt):
            raise
        raise CheckpointCorrupt(f"{folder / 'manifest.json'} is not a manifest ({error}).") from error


def _step(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def _fingerprint(path: Path) -> dict[str, int | str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _flush(folder: Path) -> None:
    """Ask the disk to keep a folder's files and names through a power cut."""
    for path in [*(p for p in folder.iterdir() if p.is_file()), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove_leftovers(root: Path) -> None:
    for path in root.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


def _bytes(tensors: Mapping[str, Mapping[str, Tensor]]) -> int:
    return sum(t.numel() * t.element_size() for part in tensors.values() for t in part.values())


def _require_room(root: Path, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    if shutil.disk_usage(root).free < _bytes(tensors):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(root))


def _explain(error: Exception, root: Path, final: Path, tensors: Mapping[str, Mapping[str, Tensor]]) -> str:
    kept = list_checkpoints(root)
    good = f"{kept[-1]} stays as it was" if kept else "there is no earlier one"
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "os error 28" in str(error)
    if full:
        free = shutil.disk_usage(root).free / 2**20
        return (
            f"the disk is full: {final.name} needs {_bytes(tensors) / 2**20:.0f} MiB, {root} has {free:.0f} MiB free. "
            f"Nothing was half-written, {good}. Free some space or set checkpoint.keep=1, then --resume."
        )
    return f"{final} could not be written ({error}). Nothing was half-written, {good}."
