"""Denoisers and autoencoders of diffusers behind our seams, for models that are not native here: our samplers, noise-level matrices,
guidance lists and hooks drive them as they are.

    bridge = bridged(transformer, vae, shift=7.0)                           # loaded by diffusers
    denoise = bridge.process.denoiser(bridge.denoiser, Doors(tokens=rows, token_mask=mask))
    z = sample_euler(denoise, noise, bridge.process.path, noise_levels(30, noise.shape[2]))
    frames = bridge.autoencoder.decode(z)

A model is a row of `MODELS`: how its class is called, in which form it takes noise levels, and what its answer means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from flipbook.hints import nearest
from flipbook.nn.causal import latent_frames
from flipbook.nn.doors import Doors
from flipbook.process.path import RectifiedFlow
from flipbook.process.process import Process

Call = Callable[[Any, Tensor, Tensor, Doors, dict[str, Any]], Tensor]
"""(their network, x (B, C, T, H, W), t (B, T) as the share of noise, doors, options) -> their answer as flow, eps - x0, in the shape of x."""


def call_ltx(net: Any, x: Tensor, t: Tensor, doors: Doors, options: dict[str, Any]) -> Tensor:
    """LTX-Video (arXiv:2501.00103): tokens in (t h w) order, positions in seconds and pixels, a level for each token. options: fps, strides."""
    b, c, frames, height, width = x.shape
    time, side = options.get("time_stride", 8), options.get("stride", 32)
    out = net(
        hidden_states=x.flatten(2).transpose(1, 2), encoder_hidden_states=doors.tokens, encoder_attention_mask=doors.token_mask,
        timestep=1000.0 * t.repeat_interleave(height * width, dim=1), num_frames=frames, height=height, width=width,
        rope_interpolation_scale=(time / options.get("fps", 25.0), side, side), return_dict=False,
    )[0]  # fmt: skip
    return out.transpose(1, 2).reshape(b, c, frames, height, width)


def call_hunyuan(net: Any, x: Tensor, t: Tensor, doors: Doors, options: dict[str, Any]) -> Tensor:
    """HunyuanVideo (arXiv:2412.03603): one level for the clip; `vector` is the pooled text, `guidance` a number that the network learnt to act by."""
    guidance = x.new_full((len(x),), 1000.0 * options.get("guidance", 6.0)) if net.config.guidance_embeds else None
    mask = torch.ones(doors.tokens.shape[:2], device=x.device) if doors.token_mask is None else doors.token_mask     # type: ignore[union-attr]
    return net(
        hidden_states=x, timestep=1000.0 * of_the_clip(t), encoder_hidden_states=doors.tokens, encoder_attention_mask=mask,
        pooled_projections=doors.vector, guidance=guidance, return_dict=False,
    )[0]  # fmt: skip


def call_mochi(net: Any, x: Tensor, t: Tensor, doors: Doors, options: dict[str, Any]) -> Tensor:
    """Mochi 1: its clock runs from noise to data, and so does its answer, x0 - eps."""
    out = net(
        hidden_states=x, timestep=1000.0 * (1.0 - of_the_clip(t)), encoder_hidden_states=doors.tokens, encoder_attention_mask=doors.token_mask,
        return_dict=False,
    )[0]  # fmt: skip
    return -out


def of_the_clip(t: Tensor) -> Tensor:
    """(B,) of levels (B, T) that are alike in all frames. Raises ValueError if they are not: the network knows one level for a clip."""
    if not torch.equal(t, t[:, :1].expand_as(t)):
        raise ValueError("this network knows one noise level for a whole clip, and its frames have several. Try a matrix whose columns are alike.")
    return t[:, 0]


MODELS: dict[str, Call] = {
    "LTXVideoTransformer3DModel": call_ltx,
    "HunyuanVideoTransformer3DModel": call_hunyuan,
    "MochiTransformer3DModel": call_mochi,
}
"""Class of diffusers to how it is called."""


@dataclass(frozen=True, kw_only=True)
class BridgeConfig:
    """What the request path asks of a denoiser's config: channels of a latent, and latent cells of a token's side."""

    in_channels: int
    cell: int


class BridgedDenoiser(nn.Module):
    """Somebody else's network with the network contract. options: what its `call` takes besides, fps or guidance for instance."""

    def __init__(self, theirs: nn.Module, options: dict[str, Any] | None = None):
        super().__init__()
        name = type(theirs).__name__
        if name not in MODELS:
            raise ValueError(f"{name} has no bridge. {nearest(name, MODELS)}")
        self.theirs, self.call, self.options = theirs, MODELS[name], dict(options or {})
        config: Any = theirs.config
        self.config = BridgeConfig(in_channels=config.out_channels or config.in_channels, cell=getattr(config, "patch_size", 1))

    def prepare(self, doors: Doors) -> Doors:
        """Nothing is computed ahead: their network does it at every call."""
        return doors

    def forward(
        self,
        x: Tensor,                                                          # (B, C, T, H, W)
        t: Tensor,                                                          # (B,) or (B, T)
        doors: Doors | None = None,
        *,
        frame_is_given: Tensor | None = None,
        frame_index: Tensor | None = None,
        frame_attends: Tensor | None = None,
        cache: None = None,
    ) -> Tensor:
        """The prediction, same shape as x. Frames are counted from 0 there, and all of them attend to all; other wishes are refused."""
        doors = doors or Doors()
        if doors.channels is not None or doors.residuals or frame_attends is not None or cache is not None:
            raise ValueError("a network behind the bridge has the doors of its own class: no channels, residuals, frame_attends or cache. Leave them out.")
        if frame_index is not None and not torch.equal(frame_index, torch.arange(x.shape[2], device=x.device).expand_as(frame_index).to(frame_index)):
            raise ValueError("a network behind the bridge counts frames 0, 1, 2, ... Try frame_index=None, or a system with index_fps=None.")
        levels = t[:, None].expand(-1, x.shape[2]) if t.dim() == 1 else t
        return self.call(self.theirs, x, levels.to(x.dtype), doors, self.options)


class BridgedAutoencoder(nn.Module):
    """Somebody else's autoencoder: normalised latents (B, C, T', H', W') of frames (B, 3, T, H, W) in [-1, 1], and back."""

    def __init__(self, theirs: nn.Module):
        super().__init__()
        self.theirs = theirs
        self.stride, self.time_stride = strides(theirs)

    def encode(self, x: Tensor) -> Tensor:
        """The mean of each cell's Gaussian, normalised. Raises ValueError for lengths other than 1 + n time_stride."""
        latent_frames(x.shape[2], self.time_stride)
        mean, std = normaliser(self.theirs, x)
        return (self.theirs.encode(x).latent_dist.mode() - mean) / std      # type: ignore[operator]

    def decode(self, z: Tensor) -> Tensor:
        """Frames in about [-1, 1]."""
        mean, std = normaliser(self.theirs, z)
        return self.theirs.decode(z * std + mean).sample                    # type: ignore[operator]


def strides(vae: Any) -> tuple[int, int]:
    """Pixels of a cell's side, and frames of a latent frame behind the first. Raises ValueError if the class does not say."""
    for side, time in (("spatial_compression_ratio", "temporal_compression_ratio"), ("scale_factor_spatial", "scale_factor_temporal")):
        for place in (vae, vae.config):
            found = getattr(place, side, None), getattr(place, time, None)
            if None not in found:
                return int(found[0]), int(found[1])                         # type: ignore[arg-type]
    raise ValueError(f"{type(vae).__name__} does not say how many pixels and frames it packs. Wrap another autoencoder.")


def normaliser(vae: Any, like: Tensor) -> tuple[Tensor | float, Tensor | float]:
    """Mean and std of raw latents: per channel where the class has them, divided by its scaling factor where it has that."""
    mean, std = (next((v for v in (getattr(vae, key, None), getattr(vae.config, key, None)) if v is not None), None) for key in ("latents_mean", "latents_std"))
    scale = getattr(vae.config, "scaling_factor", None) or 1.0
    if mean is None or std is None:
        return 0.0, 1.0 / scale
    column = lambda v: torch.as_tensor(v).to(like)[:, None, None, None]
    return column(mean), column(std) / scale


@dataclass(frozen=True, eq=False, kw_only=True)
class Bridge:
    """What a sampler, or a `System`, needs of such a model."""

    denoiser: BridgedDenoiser
    autoencoder: BridgedAutoencoder
    process: Process
    defaults: dict[str, Any] = field(default_factory=dict)


def bridged(transformer: nn.Module, vae: nn.Module, *, shift: float = 1.0, **options: Any) -> Bridge:
    """A model of diffusers behind our seams. shift: of the noise levels; options: see the model's `call`.

    Raises ValueError for a class that has no bridge.
    """
    autoencoder = BridgedAutoencoder(vae)
    options = {"stride": autoencoder.stride, "time_stride": autoencoder.time_stride} | options
    process = Process(RectifiedFlow(shift), "flow", clock="sigma")
    return Bridge(denoiser=BridgedDenoiser(transformer, options), autoencoder=autoencoder, process=process)
