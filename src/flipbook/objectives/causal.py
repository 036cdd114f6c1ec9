"""Learn to make a video chunk by chunk: every chunk is denoised at a level of its own, and sees itself and what came before.

Two ways to show the past. "clean": teacher forcing, the clip stands twice in one pass, clean and noisy, and a noisy chunk reads the clean
chunks before it, as it will when it is made (CausVid, arXiv:2412.07772, section 4.2; Self-Forcing, arXiv:2506.08009). "noisy": diffusion
forcing, the past is the noisy chunks themselves, each at its own level, some of them clean (arXiv:2407.01392): half the work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from flipbook.data.batch import Batch
from flipbook.data.seeds import derive_seed
from flipbook.guidance import guide
from flipbook.long.streaming import Rollout, Streaming
from flipbook.nn.attention import teacher_forcing
from flipbook.nn.doors import Doors
from flipbook.objectives.base import Losses
from flipbook.objectives.denoising import Denoising, DenoisingOptions, Draw, even_shares, latent_index
from flipbook.process.matrix import noise_levels
from flipbook.process.noise import NoiseSource
from flipbook.samplers import SAMPLERS
from flipbook.systems.base import System

Context = Literal["clean", "noisy"]
CLEAN = 0.25
"""With "noisy", the share of chunks that are clean all the same, and told so, as the past is in use."""


@dataclass(frozen=True, kw_only=True)
class CausalOptions(DenoisingOptions):
    """chunk, window, sink: see `Streaming`; the model says so of itself from then on.

    context: "clean" or "noisy", see the module's first lines.
    context_noise: noise of a standard deviation up to this one on the clean past, unsaid: a past that was made is not perfect either.
    given:   of the first chunk alone; a later chunk is told by its past.
    """

    chunk: int = 4
    window: int = 12
    sink: int = 0
    context: Context = "clean"
    context_noise: float = 0.0

    def __post_init__(self) -> None:
        if self.context not in get_args(Context):
            raise ValueError(f"context={self.context!r} is unknown. Try one of {', '.join(get_args(Context))}.")
        if self.context_noise < 0:
            raise ValueError(f"context_noise={self.context_noise}: a standard deviation is 0 or more. Try 0.1.")
        if self.labels:
            raise ValueError(f"labels={self.labels}: the clip stands twice in a pass, and only one is told. Try labels=0.")


class Causal(Denoising):
    """E over eps and one t per chunk of |net(x, t; the chunks before) - target|^2 on the frames that are not given."""

    options: CausalOptions

    def __init__(self, system: System, options: CausalOptions):
        super().__init__(system, options)
        system.streaming = Streaming(chunk=options.chunk, window=options.window, sink=options.sink)

    def loss(self, batch: Batch, seeds: Sequence[int], *, t: Tensor | None = None) -> Losses:
        """One step. Everything random about sample b comes from seeds[b] and its number batch.index[b]."""
        system, options = self.system, self.options
        with torch.no_grad():
            z0 = system.autoencoder.encode(batch.video).float()                        # (B, C, T, h, w)
        frames = z0.shape[2]
        draws = [Draw.of(seed, frames, options) for seed in seeds]
        given = torch.stack([draw.given for draw in draws])
        given[:, options.chunk :] = False
        levels = self._levels(batch.index, seeds, frames) if t is None else t.cpu()[:, None].expand(-1, frames)
        if options.context == "noisy" and t is None:
            given |= _some_chunks(seeds, frames, options.chunk)
        given = given.to(z0.device)
        t_frame = levels.to(z0) * ~given
        eps = _noise(z0, seeds)
        x = system.process.add_noise(z0, eps, t_frame)
        tokens, mask = system.text_encoder.encode(["" if d.drop_text else c for d, c in zip(draws, batch.captions, strict=True)])
        index = latent_index(system, batch).to(z0.device)
        prediction = self._predict(z0, x, t_frame, given, index, Doors(tokens=tokens, token_mask=mask), seeds)
        error = (prediction.float() - system.process.target(z0, eps, t_frame)).square().mean((1, 3, 4))    # (B, T)
        wanted = (~given).float()
        return Losses(loss=(error * wanted).sum(1) / wanted.sum(1).clamp(min=1), t=levels.mean(1) if t is None else t)

    def _predict(self, z0: Tensor, x: Tensor, t: Tensor, given: Tensor, index: Tensor, doors: Doors, seeds: Sequence[int]) -> Tensor:
        process, options, frames = self.system.process, self.options, x.shape[2]
        if options.context == "noisy":
            assert self.system.streaming is not None
            mask = self.system.streaming.attends(frames).to(x.device)
        else:
            mask = teacher_forcing(frames, options.chunk, window=options.window // options.chunk + 1, sink=options.sink).to(x.device)
            past = z0 if options.context_noise == 0 else z0 + self._spoiling(seeds).to(z0) * _noise(z0, [derive_seed(s, "past") for s in seeds])
            x, t = torch.cat([past, x], dim=2), torch.cat([torch.zeros_like(t), t], dim=1)
            given, index = torch.cat([torch.ones_like(given), given], dim=1), index.repeat(1, 2)
        prediction: Tensor = self.system.denoiser(
            process.network_input(x, t), process.network_time(t), doors, frame_is_given=given, frame_index=index, frame_attends=mask,
        )
        return prediction[:, :, -frames:]

    def _levels(self, index: Sequence[int], seeds: Sequence[int], frames: int) -> Tensor:
        """(B, T), a level per chunk: the first chunk's fill the range evenly over neighbouring samples, the others lie anywhere."""
        chunks = -(-frames // self.options.chunk)
        apart = torch.stack([torch.rand(chunks, generator=_generator(seed, "levels")) for seed in seeds])
        apart[:, 0] = 0.0
        return self._spread((even_shares(index, seeds)[:, None] + apart) % 1.0).repeat_interleave(self.options.chunk, dim=1)[:, :frames]

    def _spoiling(self, seeds: Sequence[int]) -> Tensor:
        """(B, 1, 1, 1, 1) standard deviations of the noise on the past."""
        drawn = torch.stack([torch.rand((), generator=_generator(seed, "spoiling")) for seed in seeds])
        return self.options.context_noise * drawn[:, None, None, None, None]

    @torch.no_grad()
    def samples(self, batch: Batch, prompts: Sequence[str], seed: int) -> Tensor | None:
        """A clip for each prompt as long as the validation clips, chunk by chunk, by the system's own defaults."""
        seeds = [derive_seed(seed, i) for i in range(len(prompts))]
        return stream_samples(self.system, batch, {"uncond": [""] * len(prompts), "text": prompts}, seeds)


def stream_samples(system: System, batch: Batch, told: Mapping[str, Sequence[str]], seeds: Sequence[int]) -> Tensor:
    """Pixels (N, 3, T, H, W) of clips that are made chunk by chunk in the shape of `batch`. told: each branch's sentences, fewest words first."""
    assert system.streaming is not None
    streaming, defaults = system.streaming, system.defaults
    frames, (channels, _, *size) = batch.video.shape[2], system.autoencoder.encode(batch.video[:1]).shape[1:]
    doors = {}
    for name, captions in told.items():
        tokens, mask = system.text_encoder.encode(list(captions))
        doors[name] = system.denoiser.prepare(Doors(tokens=tokens, token_mask=mask))
    rollout = Rollout(system.denoiser, doors, streaming, frame_step=frame_step(batch)[:1])
    noise = NoiseSource((channels, streaming.chunk, *size), seeds)
    matrix = noise_levels(defaults["num_inference_steps"], streaming.chunk)
    weights = [(name, defaults["guidance_scale"] if i else 1.0) for i, name in enumerate(doors)]

    def make(start: int) -> Tensor:
        denoise = guide({name: system.process.denoiser(rollout.network(name)) for name in doors}, weights)
        return SAMPLERS[defaults["sampler"]](denoise, noise().to(batch.video), system.process.path, matrix, noise=noise)

    z = torch.cat(list(rollout.chunks(make, frames)), dim=2)[:, :, :frames]
    pixels: Tensor = system.autoencoder.decode(z).float()
    return pixels


def frame_step(batch: Batch) -> Tensor:
    """(B,) the distance of two frames, as `frame_index` counts."""
    index = batch.frame_index
    return index[:, 1] - index[:, 0] if index.shape[1] > 1 else torch.ones(len(index), device=index.device)


def _some_chunks(seeds: Sequence[int], frames: int, chunk: int) -> Tensor:
    """(B, T) bool: chunks that are clean, never all of them."""
    drawn = torch.stack([torch.rand(-(-frames // chunk), generator=_generator(seed, "clean")) for seed in seeds]) < CLEAN
    drawn[:, -1] = False
    return drawn.repeat_interleave(chunk, dim=1)[:, :frames]


def _noise(like: Tensor, seeds: Sequence[int]) -> Tensor:
    return torch.stack([torch.randn(like.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]).to(like)


def _generator(seed: int, what: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, what))


def build(system: System, options: Mapping[str, Any]) -> Causal:
    """The objective over a system. Raises ValueError for an unknown option, and for a denoiser that cannot remember."""
    known = {f.name for f in fields(CausalOptions)}
    if unknown := set(options) - known:
        raise ValueError(f"causal has no option {sorted(unknown)}. Try some of {', '.join(sorted(known))}.")
    if not hasattr(system.denoiser, "remember"):
        raise ValueError(f"{type(system.denoiser).__name__} keeps no keys and values of earlier frames, and cannot stream. Try init: thumb.")
    return Causal(system, CausalOptions(**options))
