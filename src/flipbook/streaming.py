"""Video that is watched while it is made: `for frames in stream(system, "a red circle bounces", num_frames=2000): ...`.

A causal system (`System.streaming`) makes its clip chunk by chunk, each from noise and from what it remembers, so that the first frames
are there early and memory does not depend on the length. `generate` makes the same frames of the same seed, and a shorter stream is the
beginning of a longer one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flipbook.conditions import Condition, Inputs, Request, as_requests, branches, empty_inputs, pictures_of, resolve
from flipbook.guidance import guide
from flipbook.long.streaming import Rollout, Streaming
from flipbook.process.noise import NoiseSource
from flipbook.samplers import SAMPLERS
from flipbook.sampling import Prepared, Settings, first_state, latent_shape, level_matrix, prepare, recipe, settle
from flipbook.shapes import tensor_to_pixels
from flipbook.stepcache import StepCache
from flipbook.systems.base import System

ENDLESS = 2**31 - 1
"""Frames of a stream that goes on until nobody asks for more."""


class Stream(Iterator[np.ndarray]):
    """One video as an iterator of chunks of its frames, uint8 (n, H, W, 3), each made when it is asked for.

    settings: how it is made; its `num_frames` were asked for, `made` of them are there. `recipe` makes those again.
    """

    def __init__(self, ready: Prepared, request: Request, settings: Settings, seed: int):
        self.ready, self.request, self.settings, self.seed, self.made = ready, request, settings, seed, 0
        self._latents, self._digest = stream_latents(ready, [request], settings, [seed]), hashlib.sha256()

    def __next__(self) -> np.ndarray:
        frames = _pixels(self.ready.system, next(self._latents))
        self.made += len(frames)
        self._digest.update(np.ascontiguousarray(frames).tobytes())
        return frames

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe of the frames that were made so far."""
        made = recipe(self.ready, self.request, replace(self.settings, num_frames=self.made), self.seed)
        return made | {"frames_sha256": self._digest.hexdigest()}


def stream(
    system: System | Prepared,
    conditions: str | Condition | Sequence[Condition],
    *,
    num_frames: int | None = None,
    seed: int = 0,
    dtype: torch.dtype | str | None = None,
    **asked: Any,
) -> Stream:
    """One video, chunk by chunk: `for frames in stream(...)`, uint8 (n, H, W, 3).

    conditions: a sentence, or a list of conditions. Of pictures, those that a video begins with.
    num_frames: None: until nobody asks for more.
    asked:      further settings of `flipbook.generate.generate` for one video.

    Raises ValueError at once, before the first chunk, for a system that is not causal and for what cannot be made.
    """
    ready = system if isinstance(system, Prepared) else prepare(system, dtype=dtype)
    settings = settle(ready.system, num_frames=causal(ready.system).chunk if num_frames is None else num_frames, **asked)
    settings = settings if num_frames is not None else replace(settings, num_frames=ENDLESS)
    requests = as_requests(conditions)
    if len(requests) != 1:
        raise ValueError(f"{len(requests)} requests: a stream is one video. Try a stream for each, or generate.")
    return Stream(ready, resolve(requests[0], settings.size, ready.system.conditions), settings, seed)


def stream_latents(
    ready: Prepared,
    requests: Sequence[Request],
    settings: Settings,
    seeds: Sequence[int],
    *,
    on_step: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Iterator[Tensor]:
    """One batch of resolved requests as chunks of latents (B, C, n, h, w), each made when it is asked for.

    on_step: told steps, counted over all chunks. Raises ValueError at once where a stream cannot be made.
    """
    streaming = causal(ready.system)
    if ready.compiled:
        raise ValueError("compile: the past grows from chunk to chunk, and blocks would be compiled anew with it. Leave compile out.")
    if settings.best_of > 1:
        raise ValueError(f"best_of={settings.best_of}: a stream's chunks are on their way before its end is seen. Try best_of=1 and other seeds.")
    if len(ready.system.latent_ends(streaming.chunk * 2)) != streaming.chunk * 2:
        raise ValueError(f"the autoencoder of {ready.system.name} packs frames together, and no stream unpacks them yet. Try generate.")
    head = _head(requests, streaming)
    begun = replace(settings, num_frames=head)
    inputs, doors = branches(
        ready.system.conditions, ready.system, requests, empty_inputs(begun.size, latent_shape(ready.system, begun.size), seeds, ready.device),
    )
    if inputs.draft is not None:
        raise ValueError("a draft is a whole clip, and a stream is made without knowing its end. Leave the draft out, or use a model that is not causal.")
    step = 1.0 if ready.system.index_fps is None else ready.system.index_fps / settings.fps
    constant = {name: ready.net.prepare(d.to(ready.device, ready.dtype)) for name, d in doors.items()}
    rollout = Rollout(ready.net, constant, streaming, frame_step=step, dtype=ready.dtype)
    return _chunks(ready.system, settings, inputs, rollout, seeds, on_step)


def causal(system: System) -> Streaming:
    """How a system streams. Raises ValueError if it is not causal."""
    if system.streaming is None:
        raise ValueError(
            f"{system.name} is not causal: each of its frames sees all others, so none is done before the last. Try thumb-stream, or generate "
            "without streaming."
        )
    return system.streaming


@torch.inference_mode()
def _chunks(
    system: System, settings: Settings, inputs: Inputs, rollout: Rollout, seeds: Sequence[int], on_step: Callable[[int, Tensor, Tensor], None] | None,
) -> Iterator[Tensor]:  # fmt: skip
    streaming, head = rollout.streaming, inputs.given.shape[2]
    noise = NoiseSource((inputs.given.shape[1], streaming.chunk, *inputs.given.shape[3:]), seeds)
    nothing = replace(inputs, is_given=torch.zeros_like(inputs.is_given[:, : streaming.chunk]), given=torch.zeros_like(inputs.given[:, :, : streaming.chunk]))

    def make(start: int) -> Tensor:
        part = slice(start, start + streaming.chunk)
        known = replace(inputs, is_given=inputs.is_given[:, part], given=inputs.given[:, :, part]) if start < head else nothing
        return known.given if bool(known.is_given.all()) else _made(system, settings, known, rollout, noise, on_step)

    for n, z in enumerate(rollout.chunks(make, settings.num_frames)):
        yield z[:, :, : settings.num_frames - n * streaming.chunk]          # the last chunk is made whole: a prefix does not know its length


def _made(
    system: System, settings: Settings, known: Inputs, rollout: Rollout, noise: NoiseSource, on_step: Callable[[int, Tensor, Tensor], None] | None,
) -> Tensor:  # fmt: skip
    """The next chunk."""
    cache = None if settings.step_cache is None else StepCache(settings.step_cache)

    def branch(name: str) -> Any:
        how = {} if cache is None else {"run": cache.beside().run}
        return system.process.denoiser(rollout.network(name, known.is_given, **how))

    matrix = level_matrix(system, settings, known)
    before = rollout.done // rollout.streaming.chunk * (len(matrix) - 1)
    told = None if on_step is None else lambda i, x, x0: on_step(before + i, x, x0)
    denoise = guide(
        {name: branch(name) for name in rollout.doors}, system.guidance_list(rollout.doors, settings.guidance_scale, rollout.streaming.chunk),
        interval=settings.guidance_interval, rescale=settings.guidance_rescale, process=system.process,
    )  # fmt: skip
    x = first_state(system, known, matrix[0], noise().to(known.given.device))
    return SAMPLERS[settings.sampler](
        denoise, x, system.process.path, matrix,
        noise=noise, on_step=told, x0_hook=system.x0_hook, **system.sampler_options.get(settings.sampler, {}),
    )  # fmt: skip


def _head(requests: Sequence[Request], streaming: Streaming) -> int:
    """Frames of the chunks in which frames are given. Raises ValueError for given frames that are no beginning."""
    last = 0
    for request in requests:
        places = sorted(pictures_of(request))
        if places != list(range(len(places))):
            raise ValueError(f"frames {places} are given: a causal model sees only what came before. Give the first frames, 0, 1, ..., without a gap.")
        last = max(last, len(places))
    return max(1, streaming.chunks(last)) * streaming.chunk


@torch.inference_mode()
def _pixels(system: System, z: Tensor) -> np.ndarray:
    """uint8 (n, H, W, 3) of one video's latents (1, C, n, h, w)."""
    frames: np.ndarray = tensor_to_pixels(system.autoencoder.decode(z).float())[0]
    return frames
