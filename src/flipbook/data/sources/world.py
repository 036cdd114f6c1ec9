"""The procedural world as a training source: clips drawn on demand, and held-out compositions never shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flipbook.data.batch import Sample
from flipbook.data.framing import Framing, frame_index
from flipbook.data.labels import label_maps
from flipbook.data.seeds import derive_seed, generator

if TYPE_CHECKING:
    from flipbook.data.world import Clip

WORLD_FPS = 8.0


class WorldSource:
    """`{world: shapes, ...}`: further options go to `flipbook.data.world.draw`.

    labels: also hand over `extra["labels"]`, see `data/labels.py`.
    fields: also hand over `extra["backward_flow"]`, float32 (T - 1, H, W, 2): the true optical flow from each frame back to the one before.
    motion: also hand over `extra["motion"]`, the mean length of the true optical flow in short sides per second.
    sentences: of the plain grammar, for `shapes`: clips of these alone, in turn, each scene laid out anew.
    Training seeds are even and validation seeds odd, so that no clip is in both.
    """

    num_clips: int | None = None  # endless

    def __init__(self, domain: str, options: Mapping[str, Any], framing: Framing, split: str) -> None:
        from flipbook.data import world

        options = dict(options)
        self._labels, self._motion, self._fields = (bool(options.pop(name, False)) for name in ("labels", "motion", "fields"))
        self._sentences = tuple(options.pop("sentences", ()))
        try:
            world.draw(domain, 1, num_frames=1, height=8, width=8, held_out=False, truth=False, **options)
            if self._sentences:
                check_sentences(domain, self._sentences, options)
        except (ValueError, TypeError) as error:
            raise ValueError(f"data source world: {domain}: {error}") from error
        self.name = f"world/{domain}"
        self._domain, self._options, self._framing, self._odd = domain, dict(options), framing, int(split == "val")

    def sample(self, number: int, seed: int, index: int) -> Sample:
        """The source's sample `number`; `index` is its number in the run."""
        from flipbook.data import world

        framing = self._framing
        frames = framing.frames(framing.clip_frames, generator(seed, "frames", index))
        own = (derive_seed(seed, self.name, number) >> 15) * 2 + self._odd
        shape: dict[str, Any] = {
            "num_frames": framing.clip_frames, "height": framing.height, "width": framing.width, "fps": WORLD_FPS, "frames": [int(i) for i in frames],
        }  # fmt: skip
        if self._sentences:
            canvas = framing.width / min(framing.height, framing.width), framing.height / min(framing.height, framing.width)
            clip = world.from_scene(world.scene_from_caption(self._sentences[number % len(self._sentences)], own, canvas), **shape)
        else:
            clip = world.draw(self._domain, own, held_out=False, truth=False, **shape, **self._options)
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
            extra=self._truths(clip),
        )

    def _truths(self, clip: Clip) -> dict[str, Any]:
        """What of the truth was asked for."""
        truths: dict[str, Any] = {"labels": label_maps(clip)} if self._labels else {}
        if self._fields:
            truths["backward_flow"] = clip.backward_flow
        if self._motion:
            lengths = np.linalg.norm(clip.optical_flow, axis=-1)                # (T - 1, H, W)
            rate = WORLD_FPS / self._framing.frame_stride
            truths["motion"] = float(lengths.mean() / min(clip.frames.shape[1:3]) * rate) if len(lengths) else 0.0
        return truths


def check_sentences(domain: str, sentences: Sequence[str], options: Mapping[str, Any]) -> None:
    """Raises ValueError for sentences that cannot be shown, or whose objects are held out of training."""
    from flipbook.data.world import is_held_out, scene_from_caption

    if domain != "shapes" or options:
        raise ValueError(f"sentences say all there is of a clip, so they stand alone and with shapes only. Leave out {', '.join(options) or domain}.")
    for sentence in sentences:
        for thing in scene_from_caption(sentence, 0)["objects"]:
            if is_held_out(thing["colour"], thing["shape"], thing["motion"]):
                raise ValueError(f"{sentence!r} is held out: no training shows a {thing['colour']} {thing['shape']} that {thing['motion']}. Leave it out.")
