"""How much memory a request takes, told before anything is made.

What a network holds while it computes grows with the cells of its clip: attention here keeps no scores of whole clips. So the same request is
made twice on small pictures, with two steps, every live tensor counted, and the line through both points says what the size that was asked for takes.
No table of architectures goes stale that way, and guidance, step cache, candidates and sampler count as they are. Small requests are not
asked about at all.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flipbook import machine
from flipbook.conditions import Request, resolve
from flipbook.sampling import Prepared, Settings, latent_shape, side_multiple
from flipbook.shapes import tensor_to_pixels

PER_PIXEL = 32 * 2**10
"""Bytes per pixel of a clip that no network here takes: a request that would fit even so is small."""
CELLS, FRAMES = 8, 33
"""Side of the smaller clip in latent cells, and the most latent frames of either."""
KERNELS = 1.25
"""Bytes that are really taken, for each byte of tensors: kernels lay pictures out anew for themselves."""

Sample = Callable[[Prepared, Sequence[Request], Settings, Sequence[int]], Tensor]


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Bytes that a request takes beside the weights, which are there already.

    sampling, decoding: at their highest.   free: what can be had.   chunk: frames that are decoded at a time so that they fit, None: all.
    """

    sampling: int
    decoding: int
    free: int
    chunk: int | None = None

    @property
    def peak(self) -> int:
        return max(self.sampling, self.decoding)

    def __str__(self) -> str:
        return f"this takes about {_size(self.peak)} of memory beside the weights; {_size(self.free)} are free"


@dataclass(frozen=True)
class Line:
    """bytes = fixed + slope * cells, cells = samples * frames * height * width in the latent."""

    fixed: float
    slope: float

    @classmethod
    def through(cls, small: tuple[int, int], large: tuple[int, int]) -> Line:
        slope = max(0.0, (large[1] - small[1]) / (large[0] - small[0]))
        return cls(max(0.0, small[1] - slope * small[0]), slope)

    def at(self, cells: float) -> int:
        return int(self.fixed + self.slope * cells)


def forecast(ready: Prepared, request: Request, settings: Settings, batch: int, videos: int, sample: Sample) -> Forecast | None:
    """What `videos` such requests take, `batch` at a time; None for small ones, where nothing says what is free, and for networks of one size only.

    request: not resolved: pictures in its full size may be what does not fit.   sample: what makes latents of resolved requests.
    """
    free = machine.free_memory(ready.device)
    pixels = settings.num_frames * settings.height * settings.width
    if free is None or pixels * PER_PIXEL * batch * settings.best_of <= free:
        return None
    lines = _lines(ready, request, settings, sample)
    if lines is None:
        return None
    sampling, decoding = lines
    _, frames, height, width = latent_shape(ready.system, settings.size)
    cells, kept = height * width, 3 * pixels * max(0, videos - batch)         # uint8 of the videos that are made before the last ones
    sampled, whole = sampling.at(batch * frames * cells) + kept, decoding.at(batch * frames * cells) + kept
    if whole <= free:
        return Forecast(sampling=sampled, decoding=whole, free=free)
    made = 3 * 4 * pixels * batch + kept                                      # float32, beside the chunk that is being made
    chunk = min(frames, int((free - made - decoding.fixed) / max(1.0, decoding.slope * cells)))
    return Forecast(sampling=sampled, decoding=decoding.at(max(1, chunk) * cells) + made, free=free, chunk=max(1, chunk))


def refuse_what_does_not_fit(ready: Prepared, settings: Settings, batch: int, told: Forecast) -> None:
    """Raises ValueError where a forecast is above what is free, with what may fit."""
    if told.peak <= told.free:
        return
    multiple, share = side_multiple(ready.system), 0.8 * told.free / told.peak  # of the pixels, about
    height = max(multiple, int(settings.height * share**0.5) // multiple * multiple)
    width = max(multiple, int(settings.height * settings.width * share / height) // multiple * multiple)
    ways = [f"height={height}, width={width}"] if height * width < settings.height * settings.width else []
    ways += ["fewer frames"] if settings.num_frames > 1 else []
    ways += ["batch_size=1"] if batch > 1 else []
    ways += ["best_of=1"] if settings.best_of > 1 else []
    ways += ["decoding in tiles (`flipbook decode --tile 64` of the latents that a failed decoding leaves)"] if told.sampling <= told.free else []
    raise ValueError(
        f"height={settings.height}, width={settings.width}, {settings.num_frames} frames, {batch} at a time: {told}. "
        f"Try {', '.join(ways)}; or anyway=True (--anyway) to go on all the same."
    )


def _lines(ready: Prepared, request: Request, settings: Settings, sample: Sample) -> tuple[Line, Line] | None:
    """Of sampling and of decoding one request, over the cells of its clip."""
    system = ready.system
    frames, multiple = settings.num_frames, side_multiple(system)
    if latent_shape(system, settings.size)[1] > FRAMES:
        frames = next((n for n in range(FRAMES, 0, -1) if _is_legal(ready, n)), frames)
    least = -(-CELLS * system.autoencoder.stride // multiple) * multiple
    points = []
    for side in (least, 2 * least):
        small = replace(settings, num_frames=frames, height=side, width=side, num_inference_steps=min(2, settings.num_inference_steps))
        try:
            peaks = _peaks(ready, resolve(request, small.size, system.conditions), small, sample)
        except (ValueError, RuntimeError):                                    # a network of one size; if the request is wrong, it will say so itself
            return None
        _, *shape = latent_shape(system, small.size)
        points.append([(shape[0] * shape[1] * shape[2], int(KERNELS * peak)) for peak in peaks])
    sampling, decoding = (Line.through(*pair) for pair in zip(*points, strict=True))
    return sampling, decoding


def _is_legal(ready: Prepared, num_frames: int) -> bool:
    try:
        ready.system.latent_ends(num_frames)
    except ValueError:
        return False
    return True


def _peaks(ready: Prepared, request: Request, settings: Settings, sample: Sample) -> tuple[int, int]:
    """The most bytes of tensors that sampling and decoding hold."""
    eager: Any = torch.compiler.set_stance("force_eager") if ready.compiled else contextlib.nullcontext()
    with eager, LiveBytes() as sampling:
        z = sample(ready, [request], settings, [0])
    with torch.inference_mode(), LiveBytes() as decoding:
        tensor_to_pixels(ready.system.autoencoder.decode(z).float())
    return sampling.peak, decoding.peak


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors that operations inside this block have made and that are still alive: `now`, and `peak` at its highest."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        before = {t.untyped_storage().data_ptr() for t in _tensors((args, kwargs))}
        out = func(*args, **kwargs)
        for storage in {s.data_ptr(): s for s in (t.untyped_storage() for t in _tensors(out))}.values():
            if storage.data_ptr() not in before:                              # views and what is changed in place are counted already, or older
                self.now += storage.nbytes()
                weakref.finalize(storage, self._freed, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return out

    def _freed(self, size: int) -> None:
        self.now -= size


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and not leaf.is_mkldnn]     # blocks of weights, which stay


def _size(count: float) -> str:
    """Bytes in words: "21.5 GiB"."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
