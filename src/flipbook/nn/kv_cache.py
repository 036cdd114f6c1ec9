"""Keys and values of the frames that came before: what lets a causal transformer make a video chunk by chunk (CausVid, arXiv:2412.07772;
Self-Forcing, arXiv:2506.08009).

The cache holds the last `window` frames and, if there are any, the first `sink` frames of the video, which never leave (arXiv:2309.17453);
its size does not grow with the video. Keys are kept as they are before they turn with their positions. Positions are counted from the
first frame of the chunk that reads, in float64 until the difference is taken, so that frame 100,000 is as exact as frame 10. Whenever
frames between sink and window leave, the sink moves up to the window: a network never meets a distance that it was not taught.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class KVCache:
    """The past of one video (or one batch of videos) in every attention layer. A new video begins with a new cache."""

    def __init__(self, window: int, sink: int = 0):
        if window < 1 or sink < 0:
            raise ValueError(f"window={window}, sink={sink}: a past of one frame at least, and no fewer than 0 of the first. Try window=12, sink=0.")
        self.window, self.sink = window, sink
        self._index: Tensor | None = None                                   # (B, P) float64: where the kept frames stand in time
        self._kept: dict[nn.Module, tuple[Tensor, Tensor]] = {}             # (B, P, S, heads, d) each
        self._new: dict[nn.Module, tuple[Tensor, Tensor]] | None = None

    @property
    def frames(self) -> int:
        """Frames that are kept, P."""
        return 0 if self._index is None else self._index.shape[1]

    @property
    def numel(self) -> int:
        """Numbers that are kept, over all layers."""
        return sum(k.numel() + v.numel() for k, v in self._kept.values())

    def positions(self, frame_index: Tensor) -> Tensor:
        """Where the kept frames and then those of a chunk, (B, T), stand, counted from the chunk's first frame: (B, P + T) float32."""
        index = frame_index.double()
        every = index if self._index is None else torch.cat([self._index, index], dim=1)
        return (every - index[:, :1]).float()

    def extend(self, layer: nn.Module, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, T S, heads, d) of a chunk behind those that are kept; inside `begin` ... `end` they will be kept too."""
        past = self._kept.get(layer)
        if self._new is not None:
            self._new[layer] = (k, v)
        if past is None:
            return k, v
        return torch.cat([past[0].flatten(1, 2), k], dim=1), torch.cat([past[1].flatten(1, 2), v], dim=1)

    def begin(self) -> None:
        """What layers hand to `extend` from here on is to be kept."""
        self._new = {}

    def end(self, frame_index: Tensor) -> None:
        """Keep what was handed over since `begin`, frames at these places (B, T), and let the oldest go that have no room."""
        assert self._new is not None
        index, n, new = frame_index.double(), frame_index.shape[1], self._new
        self._new = None
        if self._index is not None:
            index = torch.cat([self._index, index], dim=1)
        leave = slice(self.sink, max(self.sink, index.shape[1] - self.window))      # frames without room
        if leave.stop > leave.start and self.sink:
            index = index.clone()
            index[:, : self.sink] += index[:, leave.stop, None] - index[:, leave.start, None]
        self._index = _without(index, leave)
        for layer, pair in new.items():
            k, v = (x.detach().unflatten(1, (n, -1)) for x in pair)
            past = self._kept.get(layer)
            if past is not None:
                k, v = torch.cat([past[0], k], dim=1), torch.cat([past[1], v], dim=1)
            self._kept[layer] = _without(k, leave).contiguous(), _without(v, leave).contiguous()


def _without(x: Tensor, leave: slice) -> Tensor:
    """x (B, P, ...) without some frames, nothing else of it held in memory."""
    return torch.cat([x[:, : leave.start], x[:, leave.stop :]], dim=1)
