"""The causal 3D autoencoder of Wan 2.1 (arXiv:2503.20314, section 4.1): 8 x 8 pixels of 4 frames to a cell of 16 channels.

The first frame is packed alone, then four frames together, and nothing sees what comes later: images and clips of 1 + 4 n frames are
one kind of thing, a clip's beginning has the latents of the clip, and clips of any length pass in pieces (`stream_encode`,
`stream_decode`). Norms take their statistics over the channels of one position, attention reads one frame, convolutions look back
(`nn/causal.py`). Tensors are (B, C, T, H, W) with channels innermost in memory, so that norms and convolutions read them in a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.autoencoders.kl import check_sides
from flipbook.nn.attention import softmax_attention
from flipbook.nn.causal import CausalConv3d, FeatureCache, latent_frames, with_past
from flipbook.shapes import fold_frames, unfold_frames

MEAN = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921)
STD = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160)
AT_ONCE = 2**18         # pixels of a piece, over its frames: a bound on memory; larger pieces are no faster


@dataclass(frozen=True, kw_only=True)
class WanAutoencoderConfig:
    """The defaults are Wan 2.1.

    dim, mults:   width at full size, and what it is multiplied by at each size; the picture's side shrinks by 2 between two of them.
    packs_time:   for each halving of the sides, whether it packs two frames together as well.
    blocks:       residual blocks per size in the encoder; the decoder has one more.
    decoder_dim:  `dim` of the decoder; None: the encoder's.
    latent_mean, latent_std: the latent normaliser, z = (raw - mean) / std, a number for each channel.
    """

    latent_channels: int = 16
    dim: int = 96
    mults: tuple[int, ...] = (1, 2, 4, 4)
    packs_time: tuple[bool, ...] = (False, True, True)
    blocks: int = 2
    decoder_dim: int | None = None
    latent_mean: tuple[float, ...] = MEAN
    latent_std: tuple[float, ...] = STD

    def __post_init__(self) -> None:
        for name in ("mults", "packs_time", "latent_mean", "latent_std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.packs_time) != len(self.mults) - 1:
            raise ValueError(f"packs_time={self.packs_time} and mults={self.mults}: say for each of {len(self.mults) - 1} halvings whether it packs time.")
        if not len(self.latent_mean) == len(self.latent_std) == self.latent_channels or 0 in self.latent_std:
            raise ValueError(
                f"latent_mean and latent_std have {len(self.latent_mean)} and {len(self.latent_std)} numbers for {self.latent_channels} channels: "
                "give one for each, no std of 0."
            )


class WanAutoencoder(nn.Module):
    """encode: (B, 3, T, H, W) in [-1, 1] to normalised latents (B, C, 1 + (T - 1) / time_stride, H / stride, W / stride); decode: back.

    Both work in pieces of at most `AT_ONCE` pixels, the first and then some latent frames at a time; the result is that of the whole.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: WanAutoencoderConfig):
        super().__init__()
        self.config = c = config
        self.stride, self.time_stride = 2 ** len(c.packs_time), 2 ** sum(c.packs_time)
        self.encoder = Encoder(c)
        self.quant = nn.Conv3d(2 * c.latent_channels, 2 * c.latent_channels, 1)
        self.post_quant = nn.Conv3d(c.latent_channels, c.latent_channels, 1)
        self.decoder = Decoder(c)
        self.register_buffer("latent_mean", torch.tensor(c.latent_mean)[:, None, None, None], persistent=False)
        self.register_buffer("latent_std", torch.tensor(c.latent_std)[:, None, None, None], persistent=False)

    def encode(self, x: Tensor) -> Tensor:
        """Normalised latents, the mean of each cell's Gaussian.

        Raises ValueError for sides that `stride` does not divide and for lengths other than 1 + n time_stride.
        """
        latent_frames(x.shape[2], self.time_stride)
        piece = self.time_stride * max(1, AT_ONCE // (x.shape[3] * x.shape[4] * self.time_stride))
        return torch.cat(list(self.stream_encode(_pieces(x, piece - self.time_stride + 1, piece))), dim=2)

    def decode(self, z: Tensor) -> Tensor:
        """Frames in [-1, 1] from normalised latents."""
        piece = max(1, AT_ONCE // (z.shape[3] * z.shape[4] * self.stride**2 * self.time_stride))
        return torch.cat(list(self.stream_decode(_pieces(z, piece, piece))), dim=2)

    def stream_encode(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """The latents of a clip that comes in pieces, each as soon as it can be told: 1 + n time_stride frames, then n time_stride at a time."""
        cache, first = FeatureCache(), 1
        for x in pieces:
            check_sides(x, self.stride)
            if (x.shape[2] - first) % self.time_stride or x.shape[2] < first:
                raise ValueError(
                    f"a piece of {x.shape[2]} frames: the first piece of a clip has 1 + n {self.time_stride} frames, the others n {self.time_stride}. "
                    f"Try {first + self.time_stride}."
                )
            yield self._normalised(self.posterior(x, cache)[0])
            first = 0

    def stream_decode(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """The frames of a clip whose normalised latents come in pieces of any length."""
        cache = FeatureCache()
        for z in pieces:
            yield self.frames(z * self.latent_std.to(z) + self.latent_mean.to(z), cache).clamp(-1.0, 1.0)

    def posterior(self, x: Tensor, cache: FeatureCache | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the raw latents of a clip or, with its cache, of its next piece."""
        mean, log_var = self.quant(self.encoder(_channels_last(x), cache)).chunk(2, dim=1)
        return mean, log_var.clamp(-30.0, 20.0)

    def frames(self, raw: Tensor, cache: FeatureCache | None = None) -> Tensor:
        """Frames from raw latents of a clip or, with its cache, of its next piece; nothing is cut off."""
        return self.decoder(_channels_last(self.post_quant(raw)), cache)

    def _normalised(self, raw: Tensor) -> Tensor:
        return (raw - self.latent_mean.to(raw)) / self.latent_std.to(raw)


def _pieces(x: Tensor, first: int, later: int) -> Iterator[Tensor]:
    """Cut (B, C, T, H, W) along time."""
    first = min(first, x.shape[2])
    yield x[:, :, :first]
    for start in range(first, x.shape[2], later):
        yield x[:, :, start : start + later]


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last_3d)


class Encoder(nn.Module):
    """Pixels to mean and log-variance, before the last 1 x 1 convolution."""

    def __init__(self, config: WanAutoencoderConfig):
        super().__init__()
        dims = [config.dim * m for m in (1, *config.mults)]
        self.conv_in = CausalConv3d(3, dims[0])
        layers: list[nn.Module] = []
        for i, (wide, narrow) in enumerate(pairwise(dims)):
            layers += [ResBlock(wide if j == 0 else narrow, narrow) for j in range(config.blocks)]
            if i < len(config.packs_time):
                layers.append(Down(narrow, packs_time=config.packs_time[i]))
        self.layers = nn.ModuleList(layers)
        self.mid = Mid(dims[-1])
        self.norm_out = ChannelNorm(dims[-1])
        self.conv_out = CausalConv3d(dims[-1], 2 * config.latent_channels)

    def forward(self, x: Tensor, cache: FeatureCache | None = None) -> Tensor:
        x = self.conv_in(x, cache)
        for layer in self.layers:
            x = layer(x, cache)
        return self.conv_out(F.silu(self.norm_out(self.mid(x, cache))), cache)


class Decoder(nn.Module):
    """Raw latents to frames."""

    def __init__(self, config: WanAutoencoderConfig):
        super().__init__()
        dims = [(config.decoder_dim or config.dim) * m for m in reversed(config.mults)]
        self.conv_in = CausalConv3d(config.latent_channels, dims[0])
        self.mid = Mid(dims[0])
        enters = [dims[0], *(dim // 2 for dim in dims[:-1])]                # growing halves the width
        grows = [*reversed(config.packs_time), None]
        self.levels = nn.ModuleList(Level(enter, dim, config.blocks + 1, up) for enter, dim, up in zip(enters, dims, grows, strict=True))
        self.norm_out = ChannelNorm(dims[-1])
        self.conv_out = CausalConv3d(dims[-1], 3)

    def forward(self, z: Tensor, cache: FeatureCache | None = None) -> Tensor:
        x = self.mid(self.conv_in(z, cache), cache)
        for level in self.levels:
            x = level(x, cache)
        return self.conv_out(F.silu(self.norm_out(x)), cache)


class Level(nn.Module):
    """Residual blocks at one size, then twice the sides. packs_time: whether that makes two frames of one as well; None: the last size."""

    def __init__(self, dim_in: int, dim: int, blocks: int, packs_time: bool | None):
        super().__init__()
        self.blocks = nn.ModuleList(ResBlock(dim_in if i == 0 else dim, dim) for i in range(blocks))
        self.up = None if packs_time is None else Up(dim, packs_time=packs_time)

    def forward(self, x: Tensor, cache: FeatureCache | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, cache)
        return x if self.up is None else self.up(x, cache)


class ChannelNorm(nn.Module):
    """x / |x| sqrt(C) over the channels of one position of (B, C, T, H, W), times a learned gain."""

    def __init__(self, dim: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.movedim(1, -1)                                             # (B, T, H, W, C), in a row in memory
        size = torch.linalg.vector_norm(rows, dim=-1, keepdim=True, dtype=torch.float32).clamp(min=1e-12)
        return (rows * (len(self.gain) ** 0.5 / size).to(x.dtype) * self.gain).movedim(-1, 1)


class ResBlock(nn.Module):
    """x + Conv(silu(norm(Conv(silu(norm x))))), causal; a 1 x 1 convolution leads x to another width."""

    def __init__(self, dim_in: int, dim: int):
        super().__init__()
        self.norm1, self.conv1 = ChannelNorm(dim_in), CausalConv3d(dim_in, dim)
        self.norm2, self.conv2 = ChannelNorm(dim), CausalConv3d(dim, dim)
        self.skip = nn.Conv3d(dim_in, dim, 1) if dim_in != dim else nn.Identity()

    def forward(self, x: Tensor, cache: FeatureCache | None = None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)), cache)
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)), cache)


class Mid(nn.Module):
    """Two residual blocks, and attention within each frame between them."""

    def __init__(self, dim: int):
        super().__init__()
        self.block1, self.attention, self.block2 = ResBlock(dim, dim), FrameAttention(dim), ResBlock(dim, dim)

    def forward(self, x: Tensor, cache: FeatureCache | None = None) -> Tensor:
        return self.block2(self.attention(self.block1(x, cache)), cache)


class FrameAttention(nn.Module):
    """x + attention over the cells of each frame, one head."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm, self.qkv, self.out = ChannelNorm(dim), nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        rows = fold_frames(self.norm(x)).flatten(2).transpose(1, 2)         # (B T, H W, C)
        q, k, v = self.qkv(rows).unsqueeze(2).chunk(3, dim=-1)
        out = self.out(softmax_attention(q, k, v)[:, :, 0])
        return x + unfold_frames(out.transpose(1, 2).unflatten(-1, x.shape[-2:]), x.shape[0])


class Down(nn.Module):
    """Half the sides, frame by frame; `packs_time` then joins each two frames behind the first, with the frame before them, to one."""

    def __init__(self, dim: int, *, packs_time: bool):
        super().__init__()
        self.space = nn.Conv2d(dim, dim, 3, stride=2)
        self.time = nn.Conv3d(dim, dim, (3, 1, 1), stride=(2, 1, 1)) if packs_time else None

    def forward(self, x: Tensor, cache: FeatureCache | None = None) -> Tensor:
        x = unfold_frames(self.space(F.pad(fold_frames(x), (0, 1, 0, 1))), x.shape[0])
        if self.time is None:
            return x
        past = None if cache is None else cache.past(self.time)
        if cache is not None:
            cache.keep(self.time, x[:, :, -1:])
        if past is not None:
            return self.time(torch.cat([past, x], dim=2))
        return x if x.shape[2] == 1 else torch.cat([x[:, :, :1], self.time(x)], dim=2)


class Up(nn.Module):
    """Twice the sides at half the width, frame by frame; before that `packs_time` makes two frames of each but the clip's first one.

    Those two come from their frame and the two before it, among which the first one does not count: there, time begins with zeros.
    """

    def __init__(self, dim: int, *, packs_time: bool):
        super().__init__()
        self.space = nn.Conv2d(dim, dim // 2, 3, padding=1)
        self.time = nn.Conv3d(dim, 2 * dim, (3, 1, 1)) if packs_time else None

    def forward(self, x: Tensor, cache: FeatureCache | None = None) -> Tensor:
        if self.time is not None:
            begins = cache is None or cache.past(self) is None
            head, x = (x[:, :, :1], x[:, :, 1:]) if begins else (x[:, :, :0], x)
            if begins and cache is not None:
                cache.keep(self, head[:, :, :0])                            # the clip has begun
            if x.shape[2]:
                two = self.time(with_past(self.time, x, 2, cache)).unflatten(1, (2, -1))        # (B, 2, C, T, H, W)
                x = torch.cat([head, two.movedim(1, 3).flatten(2, 3)], dim=2)
            else:
                x = head
        frames = F.interpolate(fold_frames(x), scale_factor=2, mode="nearest")
        return unfold_frames(self.space(frames), x.shape[0])
