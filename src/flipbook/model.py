"""A trained system with a friendly face: `flipbook.load("thumb").generate("a red circle falls")`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from flipbook.conditions import Condition, FirstFrame, Text, as_requests, text_of
from flipbook.generate import generate
from flipbook.interop.folder import card_hash, from_pretrained, model_folder, save_pretrained, weights_hash
from flipbook.machine import device_named
from flipbook.samplers import SAMPLERS, puts_noise
from flipbook.sampling import Prepared, prepare
from flipbook.systems.base import System
from flipbook.video import Video

if TYPE_CHECKING:
    from flipbook.streaming import Stream


class UnknownWords(UserWarning):
    """A sentence holds words that the model never saw in training; `words` lists them."""

    def __init__(self, words: Sequence[str]):
        self.words = list(words)
        listed = ", ".join(map(repr, words))
        shown = "it" if len(words) == 1 else "them"
        super().__init__(f"this model has never seen {listed}: the video will not show {shown}.")


class UnreadWords(UserWarning):
    """A sentence is longer than the model reads; `words` lists what it leaves out."""

    def __init__(self, words: Sequence[str]):
        self.words = list(words)
        what = f"the last word, {words[0]!r}" if len(words) == 1 else f"the last {len(words)} words, from {words[0]!r} on"
        super().__init__(f"the sentence is longer than this model reads: the video will not show {what}.")


class SkipsLittle(UserWarning):
    """A step cache together with a sampler that puts fresh noise between its steps: each looks new to the network, and little is skipped."""

    def __init__(self, sampler: str):
        super().__init__(f"step_cache hardly skips anything with sampler={sampler}, which puts noise between its steps: try sampler=euler.")


class Model:
    """A system, where it came from, and its card. `source` is the name or folder that finds it again."""

    def __init__(self, system: System, *, source: str | None = None, compile: bool = False, options: Mapping[str, Any] | None = None):
        self.system, self.source, self.compile, self.options = system, source, compile, dict(options or {})
        self._prepared: dict[torch.dtype | str | None, Prepared] = {}

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path = "thumb", *, device: torch.device | str = "cpu", compile: bool = False, **options: Any
    ) -> Model:
        """See `flipbook.load`."""
        options = {key: str(value) for key, value in options.items() if value is not None}
        system = from_pretrained(model_folder(name_or_folder), device=device_named(device), **options)
        return cls(system, source=str(name_or_folder), compile=compile, options=options)

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> Path:
        """Write the model as a folder; see `flipbook.save_pretrained`."""
        return save_pretrained(self.system, folder, dtype=dtype)

    @property
    def card(self) -> dict[str, Any]:
        """What the weights are: recipe, data, scores, limits."""
        return self.system.card

    @property
    def identity(self) -> dict[str, Any]:
        """Which model this is, by content: name, and hashes of card and weights."""
        return {"name": self.system.name, "card_sha256": card_hash(self.system.card), "weights_sha256": weights_hash(self.system)}

    def generate(
        self,
        conditions: str | Condition | Sequence[str | Condition | Sequence[Condition]] = "",
        *,
        dtype: torch.dtype | str | None = None,
        **settings: Any,
    ) -> Video | list[Video]:
        """One video for a sentence or a list of conditions; a list for several of them, or for `num_videos` above 1.

        Settings as in `flipbook.generate.generate`. Warns `UnknownWords` once for words that training never saw, `UnreadWords` for
        a sentence that is too long, `SkipsLittle` for a step cache that has nothing to skip.
        """
        requests = as_requests(conditions)
        self._warn_of_lost_words(
            [text for request in requests for text in (text_of(request).prompt, text_of(request).negative_prompt)]
        )
        self._warn_of_restless_steps(settings)
        videos = generate(self._ready(dtype), requests, **settings)
        single = _is_one(conditions) and settings.get("num_videos", 1) == 1
        return videos[0] if single else videos

    def stream(
        self, conditions: str | Condition | Sequence[Condition] = "", *, dtype: torch.dtype | str | None = None, **settings: Any
    ) -> Stream:
        """One video of a causal model as an iterator of chunks of frames, uint8 (n, H, W, 3), each made when it is asked for.

        Settings as in `flipbook.streaming.stream`; without `num_frames` it goes on until nobody asks for more.
        """
        from flipbook.streaming import causal, stream

        causal(self.system)                                                 # refused before weights are cast
        for request in as_requests(conditions):
            self._warn_of_lost_words([text_of(request).prompt, text_of(request).negative_prompt])
        self._warn_of_restless_steps(settings)
        return stream(self._ready(dtype), conditions, **settings)

    def _ready(self, dtype: torch.dtype | str | None) -> Prepared:
        if dtype not in self._prepared:
            self._prepared[dtype] = prepare(self.system, dtype=dtype, compile=self.compile, source=self.source, options=self.options)
        return self._prepared[dtype]

    def _warn_of_lost_words(self, sentences: Sequence[str]) -> None:
        encoder: Any = self.system.text_encoder
        if encoder is None:
            return
        words = list(dict.fromkeys(word for sentence in sentences for word in encoder.unknown_words(sentence)))
        if words:
            warnings.warn(UnknownWords(words), stacklevel=3)
        if not hasattr(encoder, "unread_words"):
            return
        for sentence in dict.fromkeys(sentences):
            if unread := encoder.unread_words(sentence):
                warnings.warn(UnreadWords(unread), stacklevel=3)

    def _warn_of_restless_steps(self, settings: Mapping[str, Any]) -> None:
        sampler = settings.get("sampler") or self.system.defaults.get("sampler")
        if settings.get("step_cache") and sampler in SAMPLERS and puts_noise(sampler, self.system.sampler_options.get(sampler)):
            warnings.warn(SkipsLittle(sampler), stacklevel=3)


def load(
    name_or_folder: str | Path = "thumb", *, device: torch.device | str = "cpu", compile: bool = False, **options: Any
) -> Model:
    """A shipped model by name, any model folder, ours or that of a public pipeline, or a hub id, "owner/name" (extra `hub`).

    compile: spend half a minute once to make every video faster.
    options: for public pipelines: motion_adapter, a folder that sets an image pipeline in motion; like="diffusers" to compute as that
             reference where it differs from the authors' code; variant, "fp16" or "bf16" files. For every video U-Net: inserts="off",
             the image model alone that it was made of. For a checkpoint in one file: beside, the folder of a Stable Diffusion pipeline
             with what no such file holds, a tokenizer at least.
    Raises ValueError if there is no such model, or it is not whole.
    """
    return Model.from_pretrained(name_or_folder, device=device, compile=compile, **options)


def asker(model: Model, batch_size: int) -> Callable[..., list[Video]]:
    """A model with the face that `flipbook.metrics.evaluate` asks for: sentences, seeds, first frames; words it never saw are no news."""

    def ask(prompts: Sequence[str], seeds: Sequence[int], first_frames: Sequence[Any] | None = None, **settings: Any) -> list[Video]:
        requests: list[list[Condition]] = [[Text(prompt)] for prompt in prompts]
        for request, frame in zip(requests, first_frames or [], strict=False):
            request.append(FirstFrame(frame))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnknownWords)                  # free prompts are there to be looked at
            return list(model.generate(requests, seed=seeds, batch_size=batch_size, **settings))  # type: ignore[arg-type]

    return ask


def _is_one(conditions: Any) -> bool:
    return isinstance(conditions, str | Condition) or all(isinstance(item, Condition) for item in conditions)
