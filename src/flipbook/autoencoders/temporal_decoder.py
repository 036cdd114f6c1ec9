"""The image autoencoder with a decoder that knows time, of Stable Video Diffusion (arXiv:2311.15127, VideoLDM arXiv:2304.08818).

The encoder is the image model's, frame by frame. Behind every residual block of the decoder stands a second one that convolves
over frames, and a learned mixer joins the two: h = (1 - a) spatial + a temporal, a = sigmoid(mix). A last convolution
over frames smooths the pixels. It takes away the flicker of frame-by-frame decoding.

Frames that are decoded together see each other, also through the temporal norms, which take their statistics over all of them:
decoding in chunks gives (slightly) other frames than decoding whole, here as in the reference. `autoencoders/tiling.py` does it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.autoencoders.kl import (
    Decoder,
    Encoder,
    Numbers,
    ResBlock,
    check_normaliser,
    check_sides,
    denormalise,
    in_own_dtype,
    normalise,
)
from flipbook.shapes import fold_frames, unfold_frames


@dataclass(frozen=True, kw_only=True)
class TemporalDecoderAutoencoderConfig:
    """The defaults are Stable Video Diffusion. Fields as in `KLAutoencoderConfig`."""

    latent_channels: int = 4
    dims: tuple[int, ...] = (128, 256, 512, 512)
    blocks: int = 2
    groups: int = 32
    latent_scale: Numbers = 0.18215
    latent_shift: Numbers = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "dims", tuple(self.dims))
        check_normaliser(self, self.latent_channels)


class TemporalDecoderAutoencoder(nn.Module):
    """encode: (B, 3, T, H, W) in [-1, 1] to normalised latents (B, C, T, H/s, W/s), s = `stride`; decode: back.

    mixes_frames tells those who decode in chunks that the frames of a chunk see each other.
    """

    mixes_frames = True

    def __init__(self, config: TemporalDecoderAutoencoderConfig):
        super().__init__()
        self.config = c = config
        self.stride = 2 ** (len(c.dims) - 1)
        self.encoder = Encoder(c.dims, c.blocks, 2 * c.latent_channels, c.groups, mid_attention=True)
        self.quant = nn.Conv2d(2 * c.latent_channels, 2 * c.latent_channels, 1)
        self.decoder = TemporalDecoder(c.dims, c.blocks + 1, c.latent_channels, c.groups)

    def encode(self, x: Tensor) -> Tensor:
        """Normalised latents, the mean of each cell's Gaussian. Raises ValueError for sides that s does not divide."""
        check_sides(x, self.stride)
        mean, _ = self.posterior(fold_frames(x))
        return unfold_frames(normalise(mean, self.config.latent_scale, self.config.latent_shift), x.shape[0])

    def decode(self, z: Tensor) -> Tensor:
        """Frames in about [-1, 1] from normalised latents; all frames of a sample see each other."""
        raw = denormalise(fold_frames(z), self.config.latent_scale, self.config.latent_shift)
        return self.decoder(unfold_frames(in_own_dtype(self, raw), z.shape[0]))

    def posterior(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the raw latents of images (N, 3, H, W), each (N, C, H/s, W/s)."""
        mean, log_var = self.quant(self.encoder(in_own_dtype(self, frames))).chunk(2, dim=1)
        return mean, log_var.clamp(-30.0, 20.0)

    def temporal_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The decoder's layers over frames and their mixers, by name: what a fine-tuning of an image autoencoder adds."""
        for name, parameter in self.named_parameters():
            if ".temporal." in name or name.endswith(".mix") or ".time_out." in name:
                yield name, parameter


class TemporalDecoder(nn.Module):
    """Raw latents (B, channels, T, H/s, W/s) to frames (B, 3, T, H, W)."""

    def __init__(self, dims: Sequence[int], blocks: int, channels: int, groups: int):
        super().__init__()
        self.image = Decoder(dims, blocks, channels, groups, mid_attention=True, block=SpaceTimeBlock)
        self.time_out = FrameConv(3)

    def forward(self, z: Tensor) -> Tensor:                                     # (B, C, T, h, w)
        frames = self.image(fold_frames(z), z.shape[2])                         # (B T, 3, H, W)
        return self.time_out(unfold_frames(frames, z.shape[0]))


class SpaceTimeBlock(nn.Module):
    """A residual block per frame, one over frames behind it, and the mixer of both. At mix = 0 each has half."""

    def __init__(self, dim_in: int, dim: int, groups: int):
        super().__init__()
        self.spatial = ResBlock(dim_in, dim, groups)
        self.temporal = FrameBlock(dim, groups)
        self.mix = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, num_frames: int) -> Tensor:                    # (B T, C, H, W)
        x = self.spatial(x)
        change = self.temporal(unfold_frames(x, x.shape[0] // num_frames))
        return x + torch.sigmoid(self.mix) * fold_frames(change)                # (1 - a) x + a (x + change)


class FrameBlock(nn.Module):
    """Conv(silu(norm(Conv(silu(norm x))))) over frames of (B, C, T, H, W), without the x + in front."""

    def __init__(self, dim: int, groups: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, dim, eps=1e-5), FrameConv(dim)
        self.norm2, self.conv2 = nn.GroupNorm(groups, dim, eps=1e-5), FrameConv(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class FrameConv(nn.Conv2d):
    """Convolution over three neighbouring frames of (B, C, T, H, W): as a 2D one over (T, H W), two to three times as fast on a CPU."""

    def __init__(self, dim: int):
        super().__init__(dim, dim, (3, 1), padding=(1, 0))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(3)).reshape(x.shape)
