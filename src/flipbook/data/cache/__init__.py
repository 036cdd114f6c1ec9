"""Latents and rows of text on disk, found by the content that they were made of."""

from flipbook.data.cache.encoders import CachedEncoders
from flipbook.data.cache.store import LatentKeys, Store, weights_hash

__all__ = ["CachedEncoders", "LatentKeys", "Store", "weights_hash"]
