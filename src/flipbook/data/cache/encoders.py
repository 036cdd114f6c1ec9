"""Between an objective and its system's frozen encoders: what was encoded once is not encoded again.

The objective knows nothing of it. It asks `system.autoencoder.encode(batch.video)` as ever, and is handed the latents of
that batch; the pixels of clips whose latents were found were never decoded, and are NaN should anybody look at them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flipbook.data.cache.store import LatentKeys, Store, make_key, weights_hash

if TYPE_CHECKING:
    from torch import Tensor, nn

    from flipbook.data.batch import Batch


class CachedEncoders:
    """Latents, and rows of text where the text encoder does not learn, kept in `folder`.

    variants: how many different cuts of each clip there are.   dtype: "fp16", "bf16" or "fp32" on disk; what is trained on
    is the stored value, also the first time, so that a run does not depend on what a cache held before.
    Raises ValueError when the system has no autoencoder, or trains it.
    """

    def __init__(self, system: Any, folder: Path, variants: int, dtype: str) -> None:
        import torch

        encoder = getattr(system, "autoencoder", None)
        if encoder is None:
            raise ValueError("cache: this objective has no system with an autoencoder. Take `cache` out of the recipe.")
        if any(p.requires_grad for p in encoder.parameters()):
            raise ValueError(
                "cache: the autoencoder is being trained, so its latents change with every update. Take `cache` out."
            )
        self._dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
        self._store, self._autoencoder = Store(folder), encoder
        self._encode_video = encoder.encode
        self.keys = LatentKeys(self._store, make_key(weights_hash(encoder), dtype), variants)
        text = getattr(system, "text_encoder", None)
        self._text = text if text is not None and not any(p.requires_grad for p in text.parameters()) else None
        if self._text is not None:
            self._encode_text, self._text_hash = self._text.encode, make_key(weights_hash(self._text), dtype)
            self._rows: dict[str, tuple[Tensor, Tensor]] = {}

    @contextmanager
    def serving(self, batch: Batch) -> Iterator[None]:
        """Inside, the system's encoders give the kept values for this batch's video, and for any sentence."""
        latents = self.latents(batch)

        def encode(x: Tensor) -> Tensor:
            return latents if x is batch.video else self._encode_video(x)

        with _replaced(self._autoencoder, encode), _replaced(self._text, self.text):
            yield

    def latents(self, batch: Batch) -> Tensor:
        """Of all clips of a batch, float32 (B, C, T, h, w); those that were not found are made and written."""
        import torch

        found = [None if z is None else torch.from_numpy(z) for z in batch.latents] or [None] * len(batch)
        rows = [self._latent(batch, i) if z is None else z for i, z in enumerate(found)]
        return torch.stack([z.to(batch.video.device).float() for z in rows])

    def _latent(self, batch: Batch, i: int) -> Tensor:
        """Of one clip that a worker did not find. What has been stored since counts: an encoder may round otherwise now."""
        import torch

        key = batch.keys[i] if batch.keys else ""
        entry = self._store.get(key) if key else None
        if entry is None:
            with torch.no_grad(), torch.autocast(batch.video.device.type, enabled=False):
                z = self._encode_video(batch.video[i : i + 1].float())[0].to(self._dtype)
            entry = {"latent": z.cpu()}
            if key:
                self._store.put(key, entry)
        return entry["latent"]

    def text(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Rows (B, L, D) and mask (B, L) of sentences, each encoded by itself and padded to the longest."""
        import torch
        from torch.nn.functional import pad

        pairs = [self._sentence(text) for text in texts]
        length = max(mask.shape[0] for _, mask in pairs)
        rows = torch.stack([pad(r, (0, 0, 0, length - r.shape[0])) for r, _ in pairs])
        return rows, torch.stack([pad(m, (0, length - m.shape[0])) for _, m in pairs])

    def _sentence(self, text: str) -> tuple[Tensor, Tensor]:
        import torch

        if text not in self._rows:
            assert self._text is not None
            device, key = next(self._text.parameters()).device, make_key("text", self._text_hash, text)
            entry = self._store.get(key)
            if entry is None:
                with torch.no_grad(), torch.autocast(device.type, enabled=False):
                    rows, mask = self._encode_text([text])
                entry = {"rows": rows[0].to(self._dtype).cpu(), "mask": mask[0].cpu()}
                self._store.put(key, entry)
            self._rows[text] = entry["rows"].float().to(device), entry["mask"].to(device)
        return self._rows[text]


@contextmanager
def _replaced(part: nn.Module | None, encode: Any) -> Iterator[None]:
    """Have a part answer by `encode` for a while."""
    if part is None:
        yield
        return
    part.encode = encode
    try:
        yield
    finally:
        del part.encode  # the class's own comes back
