"""Learn to denoise clips that are told in words, some of whose frames may be given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flipbook.data.batch import Batch
from flipbook.data.labels import LABEL_SIDE
from flipbook.data.seeds import derive_seed
from flipbook.nn.doors import Doors
from flipbook.objectives.base import Losses
from flipbook.objectives.groups import Train, learn
from flipbook.objectives.telling import Teller
from flipbook.systems.base import System

GOLDEN = 0.6180339887498949


@dataclass(frozen=True, kw_only=True)
class DenoisingOptions:
    """train: parts that learn, or groups of their weights (`objectives/groups.py`).

    drop_text: share of samples whose sentence becomes empty (arXiv:2207.12598).
    given: share of clips of which some frames are given clean, at level 0; the loss counts the others only.
    labels: weight of a second task, to tell from the denoiser's features what is seen where and how it moves (`telling.py`, `WorldSource`'s labels).
    time_mean, time_std: t = sigmoid(mean + std * normal), or evenly spread over [0, 1] when std is 0 (arXiv:2403.03206, 3.1).
    """

    train: Train = ("denoiser", "text_encoder")
    drop_text: float = 0.1
    given: float = 0.3
    time_mean: float = 0.0
    time_std: float = 0.0
    labels: float = 0.0


class Denoising:
    """E over t and eps of |net(x, t) - target|^2 on the frames that are not given."""

    def __init__(self, system: System, options: DenoisingOptions):
        self.system, self.options = system, options
        self._trainable = learn(system.parts, options.train)
        self._teller = Teller(system.denoiser, system.autoencoder.stride * system.denoiser.features.cell // LABEL_SIDE) if options.labels else None
        if self._teller is not None:
            self._trainable["teller"] = self._teller

    def trainable(self) -> nn.Module:
        return self._trainable

    def loss(self, batch: Batch, seeds: Sequence[int], *, t: Tensor | None = None) -> Losses:
        """One denoising step. Everything random about sample b comes from seeds[b] and its number batch.index[b]."""
        system, options = self.system, self.options
        with torch.no_grad():
            z0 = system.autoencoder.encode(batch.video).float()                        # (B, C, T, h, w), T latent frames
        draws = [Draw.of(seed, z0.shape[2], options) for seed in seeds]
        eps = torch.stack([torch.randn(z0.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]).to(z0)
        if t is None:
            t = self._times(batch.index, seeds).to(z0)
        given = torch.stack([draw.given for draw in draws]).to(z0.device)              # (B, T) bool
        t_frame = t[:, None] * ~given
        x = system.process.add_noise(z0, eps, t_frame)
        captions = ["" if draw.drop_text else caption for draw, caption in zip(draws, batch.captions, strict=True)]
        tokens, mask = system.text_encoder.encode(captions)
        prediction = system.denoiser(
            system.process.network_input(x, t_frame), system.process.network_time(t_frame), Doors(tokens=tokens, token_mask=mask),
            frame_is_given=given, frame_index=latent_index(system, batch).to(z0.device),
        )
        error = (prediction[:, : z0.shape[1]].float() - system.process.target(z0, eps, t_frame)).square().mean((1, 3, 4))   # (B, T)
        wanted = (~given).float()
        loss = (error * wanted).sum(1) / wanted.sum(1)
        parts = {}
        if self._teller is not None and torch.is_grad_enabled():                       # validation stays plain
            parts["labels"] = self._teller.loss([sample.get("labels", {}) for sample in batch.extra])
            loss = loss + options.labels * parts["labels"]
        return Losses(loss=loss, t=t, parts=parts)

    def _times(self, index: Sequence[int], seeds: Sequence[int]) -> Tensor:
        """Noise levels that fill [0, 1] evenly over neighbouring samples: steps of the golden ratio, then jitter by seed."""
        return self._spread(even_shares(index, seeds))

    def _spread(self, u: Tensor) -> Tensor:
        """Numbers that fill [0, 1] evenly, as noise levels."""
        if self.options.time_std == 0:
            return u
        normal = torch.special.ndtri(u.clamp(1e-4, 1 - 1e-4))
        return torch.sigmoid(self.options.time_mean + self.options.time_std * normal)

    @torch.no_grad()
    def samples(self, batch: Batch, prompts: Sequence[str], seed: int) -> Tensor | None:
        """A clip for each prompt with the shape of the validation clips, by the system's own defaults."""
        return draw_samples(self.system, batch, prompts, seed)

    def save(self, folder: Path) -> None:
        from flipbook.interop.folder import save_pretrained

        save_pretrained(self.system, folder)


def latent_index(system: System, batch: Batch) -> Tensor:
    """(B, T) where each latent frame stands in time: where the last frame stands that it packs."""
    ends = system.latent_ends(batch.video.shape[2])
    index = batch.frame_index[:, list(ends)]
    return index if system.index_fps else torch.arange(float(len(ends))).expand_as(index)


@torch.no_grad()
def draw_samples(system: System, batch: Batch, prompts: Sequence[str], seed: int) -> Tensor:
    """Pixels (N, 3, T, H, W) of a clip for each prompt in the shape of `batch`, by the system's own defaults."""
    from flipbook.guidance import guide
    from flipbook.process.matrix import noise_levels
    from flipbook.process.noise import NoiseSource
    from flipbook.samplers import SAMPLERS

    n, defaults = len(prompts), system.defaults
    shape = system.autoencoder.encode(batch.video[:1]).shape[1:]
    noise = NoiseSource(tuple(shape), [derive_seed(seed, i) for i in range(n)])
    index = latent_index(system, batch)[:1].expand(n, -1)

    def branch(captions: Sequence[str]) -> Any:
        tokens, mask = system.text_encoder.encode(list(captions))
        doors = system.denoiser.prepare(Doors(tokens=tokens, token_mask=mask))
        return system.process.denoiser(system.denoiser, doors, frame_index=index)

    denoise = guide({"uncond": branch([""] * n), "text": branch(prompts)}, [("uncond", 1.0), ("text", defaults["guidance_scale"])])
    matrix = noise_levels(defaults["num_inference_steps"], shape[1])
    z = SAMPLERS[defaults["sampler"]](denoise, noise().to(batch.video), system.process.path, matrix, noise=noise)
    pixels: Tensor = system.autoencoder.decode(z).float()
    return pixels


def even_shares(index: Sequence[int], seeds: Sequence[int]) -> Tensor:
    """Numbers (B,) that fill [0, 1) evenly over neighbouring samples: steps of the golden ratio, then jitter by seed."""
    return torch.tensor([(k * GOLDEN + (seed % 1009) / 1009 * 0.02) % 1.0 for k, seed in zip(index, seeds, strict=True)])


@dataclass(frozen=True)
class Draw:
    """What chance decides about one sample besides its noise."""

    drop_text: bool
    given: Tensor           # (T,) bool

    @staticmethod
    def of(seed: int, num_frames: int, options: DenoisingOptions) -> Draw:
        generator = torch.Generator().manual_seed(derive_seed(seed, "conditions"))
        drop, some, kind = torch.rand(3, generator=generator).tolist()
        given = torch.zeros(num_frames, dtype=torch.bool)
        if num_frames > 1 and some < options.given:
            given = given_frames(num_frames, kind, generator)
        return Draw(drop < options.drop_text, given)


def given_frames(num_frames: int, kind: float, generator: torch.Generator) -> Tensor:
    """A mask (T,) of given frames; kind in [0, 1) picks first frame (half of the time), both ends, a beginning, or any frames.

    At least one frame is given and one is left.
    """
    mask = torch.zeros(num_frames, dtype=torch.bool)
    if kind < 0.5 or num_frames == 2:
        mask[0] = True
    elif kind < 0.65:
        mask[0] = mask[-1] = True
    elif kind < 0.8:
        mask[: 1 + int(torch.randint(num_frames - 1, (), generator=generator))] = True
    else:
        count = 1 + int(torch.randint(num_frames // 2, (), generator=generator))
        mask[torch.randperm(num_frames, generator=generator)[:count]] = True
    return mask


def build(system: System, options: Mapping[str, Any]) -> Denoising:
    """The objective over a system. Raises ValueError for an unknown option or part."""
    known = {f.name for f in fields(DenoisingOptions)}
    if unknown := set(options) - known:
        raise ValueError(f"denoising has no option {sorted(unknown)}. Try some of {', '.join(sorted(known))}.")
    chosen = DenoisingOptions(**options)
    if chosen.labels and not hasattr(system.denoiser, "features"):
        raise ValueError(f"labels={chosen.labels}: they are told from a denoiser's features, and {type(system.denoiser).__name__} offers none. Try labels=0.")
    return Denoising(system, chosen)
