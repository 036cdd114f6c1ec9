"""Entries by key: one file each, whole or not there, checked when read.

A key is the hash of everything that an entry depends on: the bytes of the file, the frames, the crop, the weights of the
encoder, the number type. What changes makes another key, so nothing that is found can be stale.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flipbook.data.clips import Media
from flipbook.data.media import content_hash, stamp
from flipbook.files.temporary import written_whole

if TYPE_CHECKING:
    from torch import Tensor, nn

DIGEST = 32  # bytes of SHA-256 before an entry's tensors


@dataclass(frozen=True)
class Store:
    """A folder of entries; any number of processes may read and write it at once."""

    folder: Path

    def path(self, key: str) -> Path:
        """Where an entry stands."""
        return self.folder / key[:2] / f"{key[2:]}.entry"

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors of an entry, or None. One that is not whole is taken away, to be made again."""
        from safetensors.torch import load

        try:
            data = self.path(key).read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(data[DIGEST:]).digest() != data[:DIGEST]:
            with contextlib.suppress(FileNotFoundError):
                self.path(key).unlink()
            return None
        return load(data[DIGEST:])

    def put(self, key: str, tensors: dict[str, Tensor]) -> None:
        """Write an entry; it appears whole or not at all."""
        from safetensors.torch import save

        data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        with written_whole(self.path(key)) as temporary:
            temporary.write_bytes(hashlib.sha256(data).digest() + data)


def make_key(*parts: Any) -> str:
    """The hash of JSON-able parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def weights_hash(encoder: nn.Module) -> str:
    """What an encoder is: its class, its configuration, every weight, and the version of the code."""
    import torch

    from flipbook import __version__

    digest = hashlib.sha256()
    kind = type(encoder)
    digest.update(f"{kind.__module__}.{kind.__qualname__} {getattr(encoder, 'config', None)!r} {__version__}".encode())
    for name, tensor in encoder.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return digest.hexdigest()


@dataclass(frozen=True)
class LatentKeys:
    """What the worker processes need to find a clip's latents: the store, and what the encoder is.

    encoder: hash of the encoder and of the number type on disk.   variants: how many different cuts a clip has.
    """

    store: Store
    encoder: str
    variants: int

    def key(self, media: Media, *cut: Any) -> str:
        """The key of a cut of a media, by the media's bytes as they are now."""
        import av

        return make_key("latent", self.encoder, _content(media), av.__version__, *cut)


_CONTENT: dict[tuple[Media, tuple[int, ...]], str] = {}


def _content(media: Media) -> str:
    """The hash of a media's bytes, taken once per process and again when the file has been written since."""
    now = media, stamp(media)
    if now not in _CONTENT:
        _CONTENT[now] = content_hash(media)
    return _CONTENT[now]
