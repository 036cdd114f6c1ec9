"""Two autoencoders, one behind the other: of single images, and of the images' latents along time (Open-Sora 1.2, arXiv:2412.20404).

A clip passes in chunks of 17 frames that know nothing of each other, each of which becomes 5 latent frames, the first of them with the first
frame alone; a shorter chunk at its end has as many latent frames as it fills, and an image has one. Latents are brought to about unit
variance by a number for each channel.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from flipbook.autoencoders.kl import KLAutoencoder, KLAutoencoderConfig
from flipbook.autoencoders.temporal import TemporalAutoencoder, TemporalAutoencoderConfig

MEAN, STD = (-0.10, 0.34, 0.27, 0.98), (3.85, 2.32, 2.33, 3.06)


@dataclass(frozen=True, kw_only=True)
class StackedAutoencoderConfig:
    """The defaults are Open-Sora 1.2, whose images are packed as in Stable Diffusion XL.

    chunk: frames of a chunk.   latent_mean, latent_std: the latent normaliser, z = (raw - mean) / std, a number for each channel.
    """

    image: KLAutoencoderConfig = field(default_factory=KLAutoencoderConfig)
    temporal: TemporalAutoencoderConfig = field(default_factory=TemporalAutoencoderConfig)
    chunk: int = 17
    latent_mean: tuple[float, ...] = MEAN
    latent_std: tuple[float, ...] = STD

    def __post_init__(self) -> None:
        for name, kind in (("image", KLAutoencoderConfig), ("temporal", TemporalAutoencoderConfig)):
            if isinstance(getattr(self, name), dict):                       # as it stands in a file
                object.__setattr__(self, name, kind(**getattr(self, name)))
        for name in ("latent_mean", "latent_std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not len(self.latent_mean) == len(self.latent_std) == self.temporal.channels == self.image.latent_channels or 0 in self.latent_std:
            raise ValueError(
                f"latent_mean and latent_std have {len(self.latent_mean)} and {len(self.latent_std)} numbers: give one for each of "
                f"{self.image.latent_channels} channels, which both autoencoders have, and no std of 0."
            )
        if self.chunk < 1 or (self.chunk - 1) % 2 ** sum(self.temporal.packs):
            raise ValueError(f"chunk={self.chunk}: a chunk has its first frame and whole packs behind it. Try {1 + 4 * 2 ** sum(self.temporal.packs)}.")

    @property
    def latent_channels(self) -> int:
        """Channels of a latent frame."""
        return self.temporal.channels


class StackedAutoencoder(nn.Module):
    """encode: (B, 3, T, H, W) in [-1, 1] to normalised latents (B, C, T', H / stride, W / stride); decode: back."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: StackedAutoencoderConfig):
        super().__init__()
        self.config = c = config
        self.image, self.temporal = KLAutoencoder(c.image), TemporalAutoencoder(c.temporal)
        self.stride, self.time_stride = self.image.stride, self.temporal.time_stride
        self.mixes_frames = True
        self.register_buffer("latent_mean", torch.tensor(c.latent_mean)[:, None, None, None], persistent=False)
        self.register_buffer("latent_std", torch.tensor(c.latent_std)[:, None, None, None], persistent=False)

    @property
    def chunk_latents(self) -> int:
        """Latent frames of a whole chunk."""
        return (self.config.chunk - 1) // self.time_stride + 1

    def latent_ends(self, num_frames: int) -> tuple[int, ...]:
        """The last frame that each latent frame packs. Raises ValueError for a last chunk that does not end where a latent frame does."""
        rest = num_frames % self.config.chunk
        if num_frames < 1 or (rest and (rest - 1) % self.time_stride):
            low = max(1, num_frames - (rest - 1) % self.time_stride if num_frames > 0 else 1)
            high = min(low + self.time_stride, max(low - 1, 0) // self.config.chunk * self.config.chunk + self.config.chunk)
            raise ValueError(
                f"num_frames={num_frames}: this autoencoder packs {self.config.chunk} frames at a time, of which the first stands alone and "
                f"{self.time_stride} are one latent frame. Try num_frames={low} or {high}."
            )
        return tuple(
            frame for start in range(0, num_frames, self.config.chunk)
            for frame in range(start, min(start + self.config.chunk, num_frames), self.time_stride)
        )  # fmt: skip

    def encode(self, x: Tensor) -> Tensor:
        """Normalised latents, the mean of each cell's Gaussian. Any number of frames. Raises ValueError for sides that `stride` does not divide."""
        return (self.posterior(x)[0] - self.latent_mean.to(x)) / self.latent_std.to(x)

    def decode(self, z: Tensor, num_frames: int | None = None) -> Tensor:
        """Frames in about [-1, 1] from normalised latents. num_frames: of a clip of another length than `latent_ends` allows."""
        return self.frames(z * self.latent_std.to(z) + self.latent_mean.to(z), num_frames)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the raw latents of a clip, chunk by chunk."""
        parts = [self.temporal.posterior(part) for part in self.image.encode(x).split(self.config.chunk, dim=2)]
        return torch.cat([mean for mean, _ in parts], dim=2), torch.cat([log_var for _, log_var in parts], dim=2)

    def frames(self, raw: Tensor, num_frames: int | None = None) -> Tensor:
        """Frames from raw latents, chunk by chunk."""
        parts = raw.split(self.chunk_latents, dim=2)
        if num_frames is None:
            num_frames = self.config.chunk * (len(parts) - 1) + (parts[-1].shape[2] - 1) * self.time_stride + 1
        lengths = [self.config.chunk] * (len(parts) - 1) + [num_frames - self.config.chunk * (len(parts) - 1)]
        return self.image.decode(torch.cat([self.temporal.frames(part, n) for part, n in zip(parts, lengths, strict=True)], dim=2))
