"""Encoding and decoding within little memory: tiles of a picture, slices of a batch, chunks of frames.

Whatever an autoencoder does within its field of view, tiles do exactly: neighbours overlap, the outer third of an overlap is
thrown away (there a tile misses what lies beyond its edge) and the middle third blends. With a field of view of r cells an
overlap of 3 r is exact. What has no finite field of view is only approximated:

    GroupNorm takes its statistics over the whole picture, attention reads all of it (`FrameAutoencoder`, `KLAutoencoder`,
    `TemporalDecoderAutoencoder`): every tile has its own brightness and contrast. Larger tiles help, overlaps hide the seams:
    the shipped `FrameAutoencoder` on real footage keeps 32 to 41 dB of its untiled result in tiles of 16 cells, 42 to 48 in 32.
    `TinyAutoencoder` has neither and sees 19 cells far: its tiles are exact with an overlap of 57, and keep 60 dB with much less.

Slices and chunks of frames are exact for autoencoders that work frame by frame. Where frames see each other (`mixes_frames`), a
chunk is decoded as if it were a whole clip, as in the reference of Stable Video Diffusion: other chunks, slightly other frames.
Causal autoencoders stream (`stream_decode`): a chunk goes on where the last one ended, and the frames are those of the whole.
That reference cuts the frames of a whole batch in a row, so that a chunk may hold the end of one video and the start of the next;
here a chunk never leaves its sample.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from flipbook.systems.base import Autoencoder

OVERLAP = 24
"""Cells that neighbouring tiles have in common unless told otherwise; half a tile where that is less."""


class OutOfMemory(MemoryError):
    """Not even one frame fits: the message says what to try."""


def tiled_decode(autoencoder: Autoencoder, z: Tensor, *, tile: int = 64, overlap: int | None = None) -> Tensor:
    """Frames (B, 3, T, H, W) from latents (B, C, T, h, w), tile by tile. tile, overlap: in cells, on both axes; None: `OVERLAP`.

    Raises ValueError unless 0 <= overlap <= tile / 2.
    """
    return _tiled(autoencoder.decode, z, tile, overlap, cell_in=1, cell_out=autoencoder.stride)


def tiled_encode(autoencoder: Autoencoder, x: Tensor, *, tile: int = 64, overlap: int | None = None) -> Tensor:
    """Latents (B, C, T, h, w) from frames (B, 3, T, H, W), tile by tile. tile, overlap: in cells, on both axes; None: `OVERLAP`.

    Raises ValueError unless 0 <= overlap <= tile / 2, and for sides that the stride does not divide.
    """
    stride = autoencoder.stride
    for side in x.shape[-2:]:
        if side % stride:
            raise ValueError(f"a side of {side} pixels: this autoencoder packs {stride} x {stride} pixels in a cell. Try {side // stride * stride}.")
    return _tiled(autoencoder.encode, x, tile, overlap, cell_in=stride, cell_out=1)


def decode_in_chunks(autoencoder: Autoencoder, z: Tensor, *, chunk: int | None = None, tile: int | None = None, overlap: int | None = None) -> Tensor:
    """Frames (B, 3, T, H, W) from latents (B, C, T, h, w), as many at a time as fit in memory.

    Starts with everything at once; when memory runs out goes on sample by sample, then with half as many frames, and so on.
    The result depends on where it ends only if the autoencoder `mixes_frames`; the decoding then starts again from frame 0.

    chunk: frames at a time to start with, sample by sample; None: all frames of the batch.
    tile, overlap: cut the picture too, see `tiled_decode`.
    Raises OutOfMemory if one frame does not fit, ValueError for chunk < 1.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk={chunk}: at least one frame is decoded at a time. Try 8.")
    decode = autoencoder.decode if tile is None else partial(tiled_decode, autoencoder, tile=tile, overlap=overlap)
    if chunk is None:
        whole = _attempt(decode, z)
        if whole is not None:
            return whole
    size, samples = min(chunk or z.shape[2], z.shape[2]), []
    streams = hasattr(autoencoder, "stream_decode")                         # what came before is kept: a chunk goes on where the last one ended
    for sample in z.split(1):
        if streams:
            frames, size = _decode_stream(autoencoder, sample, size, decode if tile is not None else None)
        else:
            frames, size = _decode_sample(decode, sample, size, getattr(autoencoder, "mixes_frames", False))
        samples.append(frames)
    return torch.cat(samples)


def field_of_view(run: Callable[[Tensor], Tensor], x: Tensor, *, cell_in: int = 1, cell_out: int = 1) -> int | None:
    """How many cells away an input still changes the output, measured; None if everything sees everything.

    run:      `autoencoder.decode` (cell_out = stride) or `autoencoder.encode` (cell_in = stride).
    x:        random input (1, C, 1, h cell_in, w cell_in); the answer is at most half its smaller side, else None.
    """
    rows, columns = x.shape[-2] // cell_in, x.shape[-1] // cell_in
    y0, x0 = rows // 2, columns // 2
    changed = x.clone()
    changed[..., y0 * cell_in : (y0 + 1) * cell_in, x0 * cell_in : (x0 + 1) * cell_in] += 1.0
    with torch.no_grad():
        moved = (run(changed) - run(x)).abs().amax((0, 1, 2))                       # (H, W)
    cells = moved.unflatten(0, (rows, cell_out)).unflatten(2, (columns, cell_out)).amax((1, 3)) > 0
    reach = max(max(abs(i - y0), abs(j - x0)) for i, j in cells.nonzero().tolist())
    return None if reach >= min(rows, columns) // 2 else reach


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out: on a device, in Python, or in torch's allocator on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


def _decode_sample(decode: Callable[[Tensor], Tensor], z: Tensor, size: int, mixes_frames: bool) -> tuple[Tensor, int]:
    """One sample's frames, and the number of frames at a time that worked."""
    done: list[Tensor] = []
    at = 0
    while at < z.shape[2]:
        frames = _attempt(decode, z[:, :, at : at + size])
        if frames is not None:
            done.append(frames)
            at += size
            continue
        if size == 1:
            raise _too_large(z)
        size = (min(size, z.shape[2] - at) + 1) // 2
        if mixes_frames:
            done, at = [], 0
    return torch.cat(done, dim=2), size


def _decode_stream(autoencoder: Autoencoder, z: Tensor, size: int, tiled: Callable[[Tensor], Tensor] | None) -> tuple[Tensor, int]:
    """The same for an autoencoder that streams. tiled: decode tiles of the picture, each of which streams by itself."""
    while True:
        step = size
        decode = tiled or (lambda z: torch.cat(list(autoencoder.stream_decode(z.split(step, dim=2))), dim=2))
        frames = _attempt(decode, z)
        if frames is not None:
            return frames, size
        if size == 1 or tiled is not None:
            raise _too_large(z)
        size = (size + 1) // 2


def _too_large(z: Tensor) -> OutOfMemory:
    height, width = z.shape[-2:]
    return OutOfMemory(
        f"one frame of {height} x {width} cells does not fit in memory. Try tile=64 (or less), a smaller height and width, "
        "half precision, or another device."
    )


def _attempt(decode: Callable[[Tensor], Tensor], z: Tensor) -> Tensor | None:
    """The frames, or None if memory ran out; what the attempt held is free again when it returns."""
    try:
        return decode(z)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    if z.is_cuda:
        torch.cuda.empty_cache()
    return None


def _tiled(run: Callable[[Tensor], Tensor], x: Tensor, tile: int, overlap: int | None, *, cell_in: int, cell_out: int) -> Tensor:
    """Run on overlapping tiles and blend. A cell is `cell_in` wide in x and `cell_out` in the result."""
    overlap = min(OVERLAP, tile // 2) if overlap is None else overlap
    if tile < 1 or not 0 <= overlap <= tile / 2:
        raise ValueError(f"tile={tile}, overlap={overlap} cells: an overlap is 0 to half a tile. Try tile=64, overlap=24.")
    rows, columns = (_axis(n // cell_in, tile, overlap, cell_out) for n in x.shape[-2:])
    if len(rows) == len(columns) == 1:
        return run(x)
    out: Any = None
    for top, height, weight_y in rows:
        for left, width, weight_x in columns:
            piece = x[..., top * cell_in : (top + height) * cell_in, left * cell_in : (left + width) * cell_in]
            made = run(piece)                                                           # (B, C, T, height cell_out, width cell_out)
            if out is None:
                out = made.new_zeros(*made.shape[:3], *(n // cell_in * cell_out for n in x.shape[-2:]))
            place = out[..., top * cell_out : (top + height) * cell_out, left * cell_out : (left + width) * cell_out]
            place += made * (weight_y[:, None] * weight_x).to(made)
    return out


def _axis(length: int, tile: int, overlap: int, cell_out: int) -> list[tuple[int, int, Tensor]]:
    """Tiles of an axis of `length` cells: start, cells, and the weight of each of its outputs. Weights add up to 1 everywhere."""
    starts = [0] if length <= tile else [min(start, length - tile) for start in range(0, length - overlap, tile - overlap)]
    tile = min(tile, length)
    third = overlap * cell_out / 3
    weights = []
    inside = torch.arange(tile * cell_out, dtype=torch.float64) + 0.5                   # distance from the tile's first edge
    for i in range(len(starts)):
        from_left = torch.ones_like(inside) if i == 0 else _ramp(inside, third)
        from_right = torch.ones_like(inside) if i == len(starts) - 1 else _ramp(inside.flip(0), third)
        weights.append(from_left * from_right)
    total = torch.zeros(length * cell_out, dtype=torch.float64)
    for start, weight in zip(starts, weights, strict=True):
        total[start * cell_out : (start + tile) * cell_out] += weight
    return [(s, tile, w / total[s * cell_out : (s + tile) * cell_out]) for s, w in zip(starts, weights, strict=True)]


def _ramp(distance: Tensor, third: float) -> Tensor:
    """0 in the outer third of an overlap, 1 from the inner third on, straight between; a step where there is no overlap."""
    return ((distance - third) / third).clamp(0.0, 1.0) if third else torch.ones_like(distance)
