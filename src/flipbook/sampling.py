"""From a batch of resolved requests to latents: what is settled and prepared once, and the run down the noise levels."""

from __future__ import annotations

import copy
import inspect
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from flipbook import machine
from flipbook.branches import Branches, Remembered, remembered
from flipbook.candidates import best, candidate_seeds, denoising_error, judging_seed
from flipbook.conditions import Inputs, Request, Size, branches, empty_inputs, to_json
from flipbook.guidance import guide
from flipbook.hints import nearest
from flipbook.interop.folder import card_hash, weights_hash
from flipbook.nn.blocks import give_blocks
from flipbook.process.matrix import from_strength
from flipbook.process.noise import NoiseSource
from flipbook.samplers import SAMPLERS
from flipbook.stepcache import StepCache
from flipbook.systems.base import System


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a video is made, everything said. See `generate` for the meaning of each."""

    num_frames: int
    fps: float
    height: int
    width: int
    sampler: str
    num_inference_steps: int
    guidance_scale: float
    guidance_interval: tuple[float, float] | None = None
    guidance_rescale: float = 0.0
    step_cache: float | None = None
    best_of: int = 1

    @property
    def size(self) -> Size:
        return Size(num_frames=self.num_frames, fps=self.fps, height=self.height, width=self.width)


@dataclass(frozen=True, eq=False, kw_only=True)
class Prepared:
    """A system made ready for many requests.

    net: the denoiser in the dtype it runs in.   record: which model this is, as the recipe of a video tells it.
    """

    system: System
    net: Any
    dtype: torch.dtype
    compiled: bool
    record: dict[str, Any]

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device


def prepare(
    system: System,
    *,
    dtype: torch.dtype | str | None = None,
    compile: bool = False,
    source: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Prepared:
    """Do what no request changes: cast the denoiser's weights, compile it, take the weights' fingerprint.

    dtype:  of the denoiser's weights and products; the state, the autoencoder and the text encoder stay as they are.
            None: what is fastest on this device.
    compile: raises ValueError on a CPU without a C++ compiler.
    source: the name or folder that `flipbook.load` finds the model by, with its `options`.
    """
    device = next(system.denoiser.parameters()).device
    if dtype is None:
        dtype = machine.fast_dtype(device)
    elif isinstance(dtype, str):
        dtype = machine.dtype_named(dtype)
    net: Any = inference_copy(system.denoiser, dtype)
    if compile:
        if device.type == "cpu" and not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++", "c++")):
            raise ValueError("compiling for a CPU needs a C++ compiler, and none is installed. Try g++, or no compile.")
        net.compile_blocks()
    record = {
        "name": system.name,
        "source": source,
        "card_sha256": card_hash(system.card),
        "weights_sha256": weights_hash(system),
    } | ({"options": dict(options)} if options else {})
    return Prepared(system=system, net=net, dtype=dtype, compiled=compile, record=record)


def inference_copy(net: nn.Module, dtype: torch.dtype) -> Any:
    """A copy for inference, of floating weights in `dtype`. Each weight is cast as it is copied, so that no weight is held in both.

    Kernels of convolutions over time and over images lie channels last, as their pictures do, or each call would turn them round again. Small
    networks on a CPU keep their weights in the library's order too (`flipbook.nn.blocks`).
    """

    def made(p: Tensor) -> nn.Parameter:
        weight = p.detach().to(dtype, copy=True)
        if weight.dim() in (3, 4):
            weight = weight.movedim(1, -1).contiguous().movedim(-1, 1)
        return nn.Parameter(weight, requires_grad=False)

    weights: dict[int, Any] = {id(p): made(p) for p in net.parameters() if p.is_floating_point()}
    made_of_them = copy.deepcopy(net, weights).to(dtype).eval().requires_grad_(False)
    give_blocks(made_of_them)
    return made_of_them


def sample_latents(
    ready: Prepared,
    requests: Sequence[Request],
    settings: Settings,
    seeds: Sequence[int],
    *,
    on_step: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """One batch of resolved requests to latents (B, C, T, h, w), all frames at once; `flipbook.streaming` makes them chunk by chunk.

    Raises ValueError if the requests of the batch do not give the same frames.
    """
    with torch.no_grad(), torch.inference_mode(ready.system.steer is None):  # an energy's gradient runs back through the network
        return _latents(ready, requests, settings, seeds, on_step)


def _latents(
    ready: Prepared, requests: Sequence[Request], settings: Settings, seeds: Sequence[int], on_step: Callable[[int, Tensor, Tensor], None] | None,
) -> Tensor:  # fmt: skip
    if ready.system.draws:
        z = _drawn_latents(ready, requests, settings, seeds)
        if on_step:
            on_step(settings.num_inference_steps - 1, z, z)
        return z
    if settings.best_of > 1:
        return _best_latents(ready, requests, settings, seeds, on_step)
    system, device = ready.system, ready.device
    latent = latent_shape(system, settings.size)  # (C, T, h, w)
    last = remembered(system.denoiser)
    inputs, told = _told(ready, requests, settings, seeds, last)
    matrix = level_matrix(system, settings, inputs)
    denoise = guide(
        told, system.guidance_list(told, settings.guidance_scale, latent[1]),
        interval=settings.guidance_interval, rescale=settings.guidance_rescale, process=system.process,
    )  # fmt: skip
    noise, hook = NoiseSource(latent, seeds), system.x0_hook if last is None else last.after(system.x0_hook)
    x, state_hook = first_state(system, inputs, matrix[0], noise().to(device)), None
    if system.steer is not None:
        denoise, state_hook = system.steer(denoise, inputs, system.process.path, matrix, noise)
    z = SAMPLERS[settings.sampler](
        denoise, x, system.process.path, matrix,
        noise=noise, on_step=on_step, state_hook=state_hook, x0_hook=hook, **system.sampler_options.get(settings.sampler, {}),
    )  # fmt: skip
    return z if system.steer is None else torch.where(inputs.is_given[:, None, :, None, None], inputs.given, z)


def _told(
    ready: Prepared, requests: Sequence[Request], settings: Settings, seeds: Sequence[int], last: Remembered | None = None
) -> tuple[Inputs, Branches]:
    """What requests put into the clip itself, and the denoiser told nothing, then more and more, up to all they say."""
    system, device = ready.system, ready.device
    latent = latent_shape(system, settings.size)
    inputs, doors = branches(system.conditions, system, requests, empty_inputs(settings.size, latent, seeds, device))
    frames_door = {"frame_is_given": inputs.is_given, "frame_index": frame_index(system, settings).to(device).expand(len(requests), -1)}

    cache = None if settings.step_cache is None else StepCache(settings.step_cache)
    told = {name: ready.net.prepare(door.to(device, ready.dtype)) for name, door in doors.items()}
    return inputs, Branches(ready.net, system.process, told, frames_door, dtype=ready.dtype, last=last, cache=cache)


def _drawn_latents(ready: Prepared, requests: Sequence[Request], settings: Settings, seeds: Sequence[int]) -> Tensor:
    """Latents of a system that knows no noise, by its own way of drawing them."""
    system, device = ready.system, ready.device
    inputs, doors = branches(system.conditions, system, requests, empty_inputs(settings.size, latent_shape(system, settings.size), seeds, device))
    told = {name: ready.net.prepare(door.to(device, ready.dtype)) for name, door in doors.items()}
    return system.draws[settings.sampler](system, ready.net, requests, inputs, told, settings.guidance_scale)


def _best_latents(
    ready: Prepared, requests: Sequence[Request], settings: Settings, seeds: Sequence[int],
    on_step: Callable[[int, Tensor, Tensor], None] | None,
) -> Tensor:  # fmt: skip
    """Latents of the best candidate of each request; see `flipbook.candidates`."""
    count, alone = settings.best_of, replace(settings, best_of=1)
    many = [request for request in requests for _ in range(count)]
    own = [candidate for seed in seeds for candidate in candidate_seeds(seed, count)]
    z = sample_latents(ready, many, alone, own, on_step=on_step)
    inputs, told = _told(ready, many, replace(alone, step_cache=None), own)
    same_noise = [judging_seed(seed) for seed in seeds for _ in range(count)]
    errors = denoising_error(list(told.values())[-1], z, ready.system.process.path, inputs.is_given, same_noise)
    return z[best(errors, count)]


def level_matrix(system: System, settings: Settings, inputs: Inputs) -> Tensor:
    """The noise-level matrix of a batch. Raises ValueError if its requests do not give the same frames."""
    places = {tuple(row.nonzero().flatten().tolist()) for row in inputs.is_given}
    if len(places) > 1:
        raise ValueError(f"the videos of one batch have different given frames, {sorted(places)}. Try batch_size=1.")
    matrix = system.shifted(system.levels(settings.num_inference_steps, inputs.is_given.shape[1], given=places.pop()), settings.size)
    if inputs.draft is None:
        return matrix
    matrix = from_strength(matrix, inputs.strength)
    return matrix if len(matrix) > 1 else torch.zeros_like(matrix)  # no step is run: the draft stays as it is, with no noise of a last level


def frame_index(system: System, settings: Settings) -> Tensor:
    """(T,) where each latent frame stands in time, as the system's denoiser counts it."""
    ends = torch.tensor(system.latent_ends(settings.num_frames), dtype=torch.float32)
    return torch.arange(len(ends), dtype=torch.float32) if system.index_fps is None else ends / settings.fps * system.index_fps


def first_state(system: System, inputs: Inputs, levels: Tensor, noise: Tensor) -> Tensor:
    """The state (B, C, T, h, w) at the first row of a matrix, (T,): noise, or a draft with noise; given frames as they are."""
    path = system.process.path
    alpha, sigma = (values.to(noise.device, torch.float32)[:, None, None] for values in (path.alpha(levels), path.sigma(levels)))
    if inputs.draft is not None:
        return torch.where(inputs.is_given[:, None, :, None, None], inputs.given, alpha * inputs.draft + sigma * noise)
    scale = torch.where(sigma > 0, torch.hypot(alpha, sigma), 0.0) if system.unit_noise else sigma  # 0 for given frames
    return inputs.given + scale * noise


def settle(system: System, **asked: Any) -> Settings:
    """The system's defaults with what was asked for in their place. Raises ValueError for values that cannot work."""
    values = system.defaults | {key: value for key, value in asked.items() if value is not None}
    settings = Settings(**values)
    if settings.num_frames < 1:
        raise ValueError(
            f"num_frames={settings.num_frames}: a video has at least one frame. Try {system.defaults['num_frames']}."
        )
    system.latent_ends(settings.num_frames)
    if not 0 < settings.fps <= 1000:
        raise ValueError(f"fps={settings.fps}: frames per second are above 0. Try {system.defaults['fps']}.")
    if not math.isfinite(settings.guidance_scale):
        raise ValueError(f"guidance_scale={settings.guidance_scale}: it is a number, 1 for no guidance. Try {system.defaults['guidance_scale']}.")
    multiple = side_multiple(system)
    for name in ("height", "width"):
        side = getattr(settings, name)
        if side % multiple or side < multiple:
            low = max(multiple, side // multiple * multiple)
            raise ValueError(
                f"{name}={side}: {system.name} makes sides in multiples of {multiple} pixels. "
                f"Try {low} or {low + multiple}."
            )
    if settings.step_cache is not None:
        StepCache(settings.step_cache)
        if "run" not in inspect.signature(system.denoiser.forward).parameters:
            raise ValueError(f"step_cache={settings.step_cache}: the network of {system.name} runs its blocks itself. Leave step_cache out.")
    if settings.best_of < 1:
        raise ValueError(f"best_of={settings.best_of}: at least one candidate is drawn for a video. Try 1, or 2.")
    if settings.best_of > 1 and system.draws:
        raise ValueError(f"best_of={settings.best_of}: candidates are told apart by how they denoise, and {system.name} knows no noise. Leave best_of out.")
    samplers = system.draws or SAMPLERS
    if settings.sampler not in samplers:
        raise ValueError(f"sampler={settings.sampler!r} is not known. {nearest(settings.sampler, samplers)}")
    return settings


def side_multiple(system: System) -> int:
    """What heights and widths are multiples of: the autoencoder's stride times the denoiser's patch."""
    parts: dict[str, Any] = dict(system.parts)
    return parts["autoencoder"].stride * getattr(parts["denoiser"].config, "cell", 1)


def latent_shape(system: System, size: Size) -> tuple[int, int, int, int]:
    """(C, T, h, w) of the latents of a clip."""
    parts: dict[str, Any] = dict(system.parts)
    stride = parts["autoencoder"].stride
    frames = len(system.latent_ends(size.num_frames))
    return parts["denoiser"].config.in_channels, frames, size.height // stride, size.width // stride


def recipe(ready: Prepared, request: Request, settings: Settings, seed: int) -> dict[str, Any]:
    """Everything that decides a video, JSON-able. It rides inside the file; `flipbook replay` works from it."""
    how = asdict(settings) | {"dtype": str(ready.dtype).removeprefix("torch."), "compile": ready.compiled}
    return {
        "made_by": "flipbook",
        "model": ready.record,
        "conditions": to_json(request),
        "settings": how,
        "seed": seed,
        "versions": machine.versions(),
        "machine": {
            "device": str(ready.device),
            "threads": torch.get_num_threads(),
            "cpu": torch.backends.cpu.get_cpu_capability(),
        },
    }
