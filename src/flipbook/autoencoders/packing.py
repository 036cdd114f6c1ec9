"""What autoencoders that pack even boxes of a clip share: boxes of (frames, rows, columns) pixels to a cell, whole clips of whole boxes."""

from __future__ import annotations

from math import log2

Box = tuple[int, int, int]


def check_box(pack: Box) -> None:
    """Raises ValueError for boxes that halving cannot make."""
    if len(pack) != 3 or any(n < 1 or n & (n - 1) for n in pack) or pack[1] != pack[2]:
        raise ValueError(f"pack={pack}: a cell is frames x side x side pixels, each a power of two. Try (4, 4, 4) or (2, 4, 4).")


def halvings(pack: Box) -> list[Box]:
    """The strides of the convolutions that pack a box, the outermost first: 2 along every axis until it is packed, then 1."""
    return [tuple(2 if level < log2(n) else 1 for n in pack) for level in range(int(log2(max(pack))))]  # type: ignore[misc]


def box_ends(num_frames: int, pack: int) -> tuple[int, ...]:
    """The last frame of each latent one. Raises ValueError for lengths that are no multiple of `pack`, with the two nearest that are."""
    if num_frames >= pack and num_frames % pack == 0:
        return tuple(range(pack - 1, num_frames, pack))
    low = num_frames // pack * pack
    nearest = f"{low} or {low + pack}" if low else f"{pack}"
    raise ValueError(f"num_frames={num_frames}: this autoencoder packs {pack} frames in a latent one. Try num_frames={nearest}.")
