"""The procedural world as a training source: clips drawn on demand, and held-out compositions never shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flipbook.data.batch import Sample
from flipbook.data.framing import Framing, frame_index
from flipbook.data.labels import label_maps
from flipbook.data.seeds import derive_seed, generator

WORLD_FPS = 8.0


class WorldSource:
    """`{world: shapes, ...}`: further options go to `flipbook.data.world.draw`.

    labels: also hand over `extra["labels"]`, see `data/labels.py`.
    Training seeds are even and validation seeds odd, so that no clip is in both.
    """

    num_clips: int | None = None  # endless

    def __init__(self, domain: str, options: Mapping[str, Any], framing: Framing, split: str) -> None:
        from flipbook.data import world

        options = dict(options)
        self._labels = bool(options.pop("labels", False))
        try:
            world.draw(domain, 1, num_frames=1, height=8, width=8, held_out=False, truth=False, **options)
        except (ValueError, TypeError) as error:
            raise ValueError(f"data source world: {domain}: {error}") from error
        self.name = f"world/{domain}"
        self._domain, self._options, self._framing, self._odd = domain, dict(options), framing, int(split == "val")

    def sample(self, number: int, seed: int, index: int) -> Sample:
        """The source's sample `number`; `index` is its number in the run."""
        from flipbook.data import world

        framing = self._framing
        frames = framing.frames(framing.clip_frames, generator(seed, "frames", index))
        clip = world.draw(
            self._domain,
            (derive_seed(seed, self.name, number) >> 15) * 2 + self._odd,
            num_frames=framing.clip_frames,
            height=framing.height,
            width=framing.width,
            fps=WORLD_FPS,
            held_out=False,
            truth=False,
            frames=[int(i) for i in frames],
            **self._options,
        )
        video = np.asarray(clip.video)
        if len(video) != len(frames):
            raise ValueError(f"{self.name}: asked for frames {frames.tolist()}, the world drew {len(video)}.")
        return Sample(
            video=video,
            caption=clip.caption,
            frame_index=frame_index(frames, WORLD_FPS),
            fps=WORLD_FPS / framing.frame_stride,
            index=index,
            source=self.name,
            is_image=framing.num_frames == 1,
            extra={"labels": label_maps(clip)} if self._labels else {},
        )
