"""The one request path: conditions in, videos out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flipbook.autoencoders.rescue import SUFFIX, kept_while_decoding, read_latents
from flipbook.autoencoders.tiling import decode_in_chunks
from flipbook.conditions import Condition, Request, as_requests, resolve
from flipbook.forecast import Forecast, forecast, refuse_what_does_not_fit
from flipbook.sampling import Prepared, Settings, prepare, recipe, sample_latents, settle
from flipbook.shapes import tensor_to_pixels
from flipbook.streaming import stream_latents
from flipbook.systems.base import System
from flipbook.video import Video

Progress = Callable[[int, int], None]


def generate(
    system: System | Prepared,
    conditions: str | Condition | Sequence[str | Condition | Sequence[Condition]],
    *,
    num_frames: int | None = None,
    fps: float | None = None,
    height: int | None = None,
    width: int | None = None,
    sampler: str | None = None,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    guidance_interval: tuple[float, float] | None = None,
    guidance_rescale: float | None = None,
    step_cache: float | None = None,
    best_of: int | None = None,
    seed: int | Sequence[int] = 0,
    num_videos: int = 1,
    batch_size: int = 1,
    dtype: torch.dtype | str | None = None,
    progress: Progress | None = None,
    keep_latents: str | os.PathLike[str] | None = None,
    tell: Callable[[Forecast], None] | None = None,
    anyway: bool = False,
) -> list[Video]:
    """Make videos. Settings that are None are the system's own defaults.

    conditions: a sentence or a list of conditions for one video; a list of sentences or of such lists for several.
    num_frames, fps, height, width: the shape of the clip, in frames, frames per second and pixels.
    sampler, num_inference_steps: a name in `flipbook.samplers.SAMPLERS` and its number of steps (not network calls).
    guidance_scale: how far the text pulls away from the negative prompt; 1 = no guidance, and half the work.
    guidance_interval: (t_lo, t_hi): guidance acts at noise levels in between only (arXiv:2404.07724).
    guidance_rescale: in [0, 1], against over-exposure by large scales (arXiv:2305.08891, eq. 15 and 16).
    step_cache: threshold below which most of the network is skipped for a step, see `flipbook.stepcache`; None = exact.
    best_of:    candidates drawn for each video, of which the one that the model reads the request from best is kept, see `flipbook.candidates`.
    seed:       of the first video; the others count up from it. Or one seed per video.
    num_videos: how many videos each request becomes.
    batch_size: videos per network call. The result depends on it by rounding only: 1e-5 in float32.
    dtype:      see `prepare`, which may also be called once for many requests.
    progress:   told (steps done, steps in all).
    keep_latents: a name; while NAME-SEED.latents.safetensors is decoded it stays on disk, and `finish` goes on from it.
    tell:       told the memory forecast of a request that is not small.
    anyway:     go on where memory will not do by the forecast, see `flipbook.forecast`.

    Returns the videos request by request, each with the recipe that makes it again.
    Raises ValueError for what cannot be made, with the nearest thing that can.
    """
    ready = system if isinstance(system, Prepared) else prepare(system, dtype=dtype)
    settings = settle(
        ready.system, num_frames=num_frames, fps=fps, height=height, width=width, sampler=sampler,
        num_inference_steps=num_inference_steps, guidance_scale=guidance_scale,
        guidance_interval=guidance_interval, guidance_rescale=guidance_rescale,
        step_cache=step_cache, best_of=best_of,
    )  # fmt: skip
    if num_videos < 1 or batch_size < 1:
        raise ValueError(f"num_videos={num_videos}, batch_size={batch_size}: both count from 1.")
    asked = as_requests(conditions)
    batch_size = min(batch_size, len(asked) * num_videos)
    told = forecast(ready, asked[0], settings, batch_size, len(asked) * num_videos, latents_of)
    if told is not None and not anyway:
        refuse_what_does_not_fit(ready, settings, batch_size, told)
    if told is not None and tell is not None:
        tell(told)
    resolved = [resolve(request, settings.size, ready.system.conditions) for request in asked]
    requests = [request for request in resolved for _ in range(num_videos)]
    seeds = [seed + i for i in range(len(requests))] if isinstance(seed, int) else list(seed)
    if len(seeds) != len(requests):
        raise ValueError(f"{len(seeds)} seeds for {len(requests)} videos: give one seed for each, or a single number.")

    videos: list[Video] = []
    steps = settings.num_inference_steps
    if ready.system.streaming is not None:
        steps *= ready.system.streaming.chunks(settings.num_frames)
    total = -(-len(requests) // batch_size) * steps
    for batch, start in enumerate(range(0, len(requests), batch_size)):
        chunk = slice(start, start + batch_size)
        on_step = None if progress is None else lambda i, *_, done=batch * steps: progress(done + i + 1, total)
        recipes = [recipe(ready, request, settings, own) for request, own in zip(requests[chunk], seeds[chunk], strict=True)]
        kept = None if keep_latents is None else Path(f"{os.fspath(keep_latents)}-{seeds[chunk][0]}{SUFFIX}")
        z = latents_of(ready, requests[chunk], settings, seeds[chunk], on_step=on_step)
        with kept_while_decoding(kept, z, recipes):
            videos += decoded(ready.system, z, recipes, chunk=None if told is None else told.chunk)
    return videos


def finish(system: System, path: str | os.PathLike[str], *, chunk: int | None = None, tile: int | None = None) -> list[Video]:
    """The videos of a NAME.latents.safetensors that a `generate` left behind whose decoding failed. The file stays.

    chunk, tile: frames at a time, and cells of a tile's side; see `decode_in_chunks`. Raises ValueError for any other file.
    """
    z, recipes = read_latents(os.fspath(path))
    return decoded(system, z.to(next(system.denoiser.parameters()).device), recipes, chunk=chunk, tile=tile)


@torch.inference_mode()
def decoded(
    system: System, z: Tensor, recipes: Sequence[dict[str, Any]], *, chunk: int | None = None, tile: int | None = None
) -> list[Video]:
    """Videos of latents (B, C, T, h, w), each with its recipe and the hash of its frames in it."""
    rows = tensor_to_pixels(decode_in_chunks(system.autoencoder, z, chunk=chunk, tile=tile).float())
    return [
        Video(row, fps=made["settings"]["fps"], recipe=made | {"frames_sha256": frames_hash(row)})
        for row, made in zip(rows, recipes, strict=True)
    ]


def latents_of(
    ready: Prepared,
    requests: Sequence[Request],
    settings: Settings,
    seeds: Sequence[int],
    *,
    on_step: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """One batch of resolved requests to latents (B, C, T, h, w), as the system makes them: all frames at once, or chunk by chunk."""
    if ready.system.streaming is None:
        return sample_latents(ready, requests, settings, seeds, on_step=on_step)
    return torch.cat(list(stream_latents(ready, requests, settings, seeds, on_step=on_step)), dim=2)


@torch.inference_mode()
def sample(
    ready: Prepared,
    requests: Sequence[Request],
    settings: Settings,
    seeds: Sequence[int],
    *,
    on_step: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """One batch of resolved requests to float32 pixels (B, 3, T, H, W) in about [-1, 1]; see `latents_of`."""
    return decode_in_chunks(ready.system.autoencoder, latents_of(ready, requests, settings, seeds, on_step=on_step)).float()


def frames_hash(frames: np.ndarray) -> str:
    """SHA-256 of uint8 frames (T, H, W, 3): what tells two videos apart, whatever files they stand in."""
    return hashlib.sha256(np.ascontiguousarray(frames).tobytes()).hexdigest()
