"""A causal denoiser makes a video chunk by chunk, from what it remembers: any length in constant memory (CausVid, arXiv:2412.07772;
Self-Forcing, arXiv:2506.08009).

Every chunk starts from noise, is denoised while its frames read the cached keys and values of the frames before it, and is then passed
through the network once more, clean, so that it becomes part of the past. Each branch of the guidance list has a past of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flipbook.long.rollout import roll
from flipbook.nn.attention import block_causal
from flipbook.nn.doors import Doors
from flipbook.nn.kv_cache import KVCache

Network = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Streaming:
    """What a causal denoiser was taught to read, in latent frames.

    chunk:  frames that are made together and see each other.
    window: frames before a chunk that it reads, whole chunks.
    sink:   first frames of the video that every chunk reads besides.
    """

    chunk: int = 4
    window: int = 12
    sink: int = 0

    def __post_init__(self) -> None:
        if self.chunk < 1 or self.sink < 0:
            raise ValueError(f"chunk={self.chunk}, sink={self.sink}: a chunk has one frame at least, a sink none at least. Try chunk=4, sink=0.")
        if self.window < self.chunk or self.window % self.chunk:
            low = max(1, self.window // self.chunk) * self.chunk
            raise ValueError(f"window={self.window}: the past is read in whole chunks of {self.chunk}. Try window={low} or {low + self.chunk}.")

    def attends(self, num_frames: int) -> Tensor:
        """Which frames of a clip see which in one pass over all of it, bool (T, T): what the cache holds when each is made."""
        return block_causal(num_frames, self.chunk, window=self.window // self.chunk + 1, sink=self.sink)

    def chunks(self, num_frames: int) -> int:
        """Chunks that hold so many frames; the last one may be cut."""
        return -(-num_frames // self.chunk)


class Rollout:
    """One video, or a batch of them, on its way: what each branch remembers, and how far time has come."""

    def __init__(self, net: Any, doors: Mapping[str, Doors], streaming: Streaming, *, frame_step: float | Tensor = 1.0, dtype: torch.dtype = torch.float32):
        """net: a denoiser with `remember` and a `cache`.   doors: of each branch.   frame_step: between two frames, as `frame_index` counts; or (B,).

        Raises ValueError for a branch that keeps frames apart, and for a network that reads its own last estimate.
        """
        for name, door in doors.items():
            if door.frame_attends is not None:
                raise ValueError(
                    f"branch {name!r} says which frames see which, over a clip whose length is known; in a stream the past says so. "
                    "Leave that entrance out of the condition recipe, or try generate without streaming."
                )
        if getattr(getattr(net, "config", None), "self_conditioned", False):
            raise ValueError(
                f"this {type(net).__name__} reads its own last estimate, and no past has taught it to read one beside its cache. Try self_conditioned=False."
            )
        self.net, self.doors, self.streaming, self.frame_step, self.dtype = net, doors, streaming, frame_step, dtype
        self.caches = {name: KVCache(streaming.window, streaming.sink) for name in doors}
        self.done = 0                                                       # frames that are made

    def network(self, branch: str, is_given: Tensor | None = None, **how: Any) -> Network:
        """What predicts the next chunk from (x, t). is_given: (B, chunk), its frames that are known."""

        def predict(x: Tensor, t: Tensor) -> Tensor:
            out: Tensor = self.net(
                x.to(self.dtype), t, self.doors[branch], frame_is_given=is_given, frame_index=self._index(x), cache=self.caches[branch], **how
            )
            return out.float()

        return predict

    def keep(self, x0: Tensor) -> None:
        """The next chunk is x0 (B, C, chunk, h, w): it becomes part of the past of every branch. No gradient flows there."""
        for name, doors in self.doors.items():
            self.net.remember(x0.detach().to(self.dtype), doors, self._index(x0), self.caches[name])
        self.done += x0.shape[2]

    def chunks(self, make: Callable[[int], Tensor], frames: int) -> Iterator[Tensor]:
        """Chunk after chunk (B, C, chunk, h, w) until so many frames are made, each when it is asked for and kept before the next.

        make: from the number of its first frame to a chunk, by `network`.
        """

        def step(n: int, before: Tensor | None, past: Rollout) -> tuple[Tensor, Rollout]:
            return make(n * self.streaming.chunk), past

        def choose(n: int, made: Tensor) -> Tensor:
            self.keep(made)
            return made

        return (made for made, _ in roll(step, choose, None, self, self.streaming.chunks(frames)))

    def _index(self, x: Tensor) -> Tensor:
        frames = self.done + torch.arange(x.shape[2], dtype=torch.float64, device=x.device)
        return (torch.as_tensor(self.frame_step, device=x.device).reshape(-1, 1) * frames).expand(x.shape[0], -1)
