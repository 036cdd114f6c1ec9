"""One stage of a cascade at work: a denoiser, a condition recipe and a sampler, pass by pass over a frame plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from flipbook.autoencoders.tiling import decode_in_chunks
from flipbook.branches import Branches, remembered
from flipbook.conditions import Request, Size, branches, empty_inputs
from flipbook.guidance import guide
from flipbook.process.matrix import from_strength, noise_levels
from flipbook.process.noise import NoiseSource
from flipbook.process.process import expand_t
from flipbook.process.spacing import Spacing, uniform
from flipbook.samplers import SAMPLERS

Progress = Callable[[int, int], None]


@torch.no_grad()
def sample_stage(
    system: Any,
    requests: Sequence[Request],
    *,
    num_frames: int,
    fps: float,
    height: int,
    width: int,
    seeds: Sequence[int],
    num_inference_steps: int,
    guidance_scale: float = 1.0,
    sampler: str = "ddim",
    start: Tensor | None = None,
    strength: float = 1.0,
    shared_noise: bool = False,
    progress: Progress | None = None,
) -> Tensor:
    """Pixels (B, 3, T, H, W) of one network run per request, with the system's own condition recipe, levels and guidance.

    start, strength: pixels (B, 3, T, H, W) that are noised to the level at which `strength` of the steps are left (SDEdit,
                 arXiv:2108.01073): 0 gives them back as the autoencoder does, 1 ignores them.
    shared_noise: all frames of a clip begin with, and are fed, the same noise.
    """
    device, batch, stride = next(system.denoiser.parameters()).device, len(requests), system.autoencoder.stride
    ends = torch.tensor(system.latent_ends(num_frames), dtype=torch.float32, device=device)
    latent = (system.denoiser.config.in_channels, len(ends), height // stride, width // stride)
    size = Size(num_frames=num_frames, fps=fps, height=height, width=width)
    inputs, doors = branches(system.conditions, system, requests, empty_inputs(size, latent, seeds, device))
    places = {tuple(row.nonzero().flatten().tolist()) for row in inputs.is_given}
    if len(places) > 1:
        raise ValueError(f"the clips of one batch have different given frames, {sorted(places)}. Run them one by one.")
    matrix = system.shifted(system.levels(num_inference_steps, len(ends), given=places.pop()), size)
    matrix = from_strength(matrix, strength)
    index = torch.arange(len(ends), dtype=torch.float32, device=device) if system.index_fps is None else ends * system.index_fps / fps

    last = remembered(system.denoiser)

    told = {name: system.denoiser.prepare(door.to(device, torch.float32)) for name, door in doors.items()}
    frames_door = {"frame_is_given": inputs.is_given, "frame_index": index.expand(batch, -1)}
    asked = Branches(system.denoiser, system.process, told, frames_door, last=last)
    denoise = guide(asked, system.guidance_list(doors, guidance_scale, len(ends)), process=system.process)
    noise, path, steps = NoiseSource(latent, seeds, shared=shared_noise), system.process.path, len(matrix) - 1
    t = matrix[0].to(device, torch.float32).expand(batch, -1)
    x = expand_t(path.sigma(t), inputs.given) * noise().to(device)
    if start is not None:
        x = x + expand_t(path.alpha(t), x) * system.autoencoder.encode(start).to(x)
    elif system.unit_noise:
        x = x * expand_t(torch.hypot(path.alpha(t), path.sigma(t)) / path.sigma(t).clamp(min=1e-9), x)
    x = torch.where(inputs.is_given[:, None, :, None, None], inputs.given, x)                   # they hold their noise already
    state_hook = None
    if system.steer is not None:
        denoise, state_hook = system.steer(denoise, inputs, path, matrix, noise)
    z = SAMPLERS[sampler](
        denoise, x, path, matrix, noise=noise, state_hook=state_hook, x0_hook=system.x0_hook if last is None else last.after(system.x0_hook),
        on_step=None if progress is None else lambda i, *_: progress(i + 1, steps),
        **system.sampler_options.get(sampler, {}),
    )  # fmt: skip
    if system.steer is not None:
        z = torch.where(inputs.is_given[:, None, :, None, None], inputs.given, z)
    return decode_in_chunks(system.autoencoder, z).float()


def levels_with_given(level: float, spacing: Spacing = uniform) -> Callable[..., Tensor]:
    """Noise levels of a system whose given frames stay at a level of their own (conditional latent perturbation, arXiv:2211.13221)."""

    def levels(num_steps: int, num_frames: int, *, given: Sequence[int] = ()) -> Tensor:
        matrix = noise_levels(num_steps, num_frames, spacing=spacing, given=given)
        matrix[:, list(given)] = level
        return matrix

    return levels


def levels_at(spacing: Spacing) -> Callable[..., Tensor]:
    """Noise levels of a system whose frames go together through the levels of a spacing."""

    def levels(num_steps: int, num_frames: int, *, given: Sequence[int] = ()) -> Tensor:
        return noise_levels(num_steps, num_frames, spacing=spacing, given=given)

    return levels
