"""The parity table's rows of video transformers: networks, autoencoders and whole pipelines against diffusers' own.

Of Open-Sora no class can be installed: a second derivation stands in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flipbook.conditions import Condition, FirstFrame, Text, resolve
from flipbook.interop.folder import from_pretrained
from flipbook.interop.public import read_network
from flipbook.nn.doors import Doors
from flipbook.process.noise import initial_noise
from flipbook.sampling import prepare, sample_latents, settle
from interop import opensora_plain
from latte_folders import write_latte
from wan_folders import write_wan

PROMPT, NEGATIVE, SEED, STEPS, SCALE = "a red ball", "blue", 7, 5, 6.0
SIDE, FRAMES, WAN_FRAMES = 16, 3, 9
FORWARD, PIPELINE = 1e-4, 1e-3
ONE_ROW = tuple[str, str, str, float, Callable[[Path], float]]


def write_folders(root: Path) -> None:
    """The folders that these rows read."""
    write_latte(root / "latte")
    write_pixart(root / "pixart")
    write_wan(root / "wan-text")
    write_wan(root / "wan-picture", pictures=1)
    opensora_plain.write(root / "opensora", opensora_plain.CONFIG, opensora_plain.drawn(opensora_plain.transformer_shapes()))


def rows() -> Iterator[ONE_ROW]:
    """System, layout, component, bound and what measures it."""
    yield "latte", "Latte", "transformer forward", FORWARD, latte_forward_error
    yield "latte", "Latte", f"pipeline latents, {STEPS} steps", PIPELINE, latte_error
    yield "latte", "PixArt, per frame", "transformer forward", FORWARD, lambda root: pixart_error(root / "pixart")
    for name, folder in (("Wan 2.1, text to video", "wan-text"), ("Wan 2.1, image to video", "wan-picture")):
        yield "wan", name, "transformer forward", FORWARD, lambda root, folder=folder: wan_forward_error(root / folder)
        yield "wan", name, f"pipeline latents, {STEPS} steps", PIPELINE, lambda root, folder=folder: wan_error(root / folder)
    yield "wan", "Wan 2.1, text to video", "VAE encode", FORWARD, lambda root: wan_encode_error(root / "wan-text")
    yield "wan", "Wan 2.1, text to video", "VAE decode", FORWARD, lambda root: wan_decode_error(root / "wan-text")
    yield "opensora", "Open-Sora 1.2", "transformer forward", FORWARD, lambda root: opensora_forward_error(root / "opensora")
    yield "opensora", "Open-Sora 1.2", "VAE along time, encode and decode", FORWARD, lambda root: opensora_vae_error()


@cache
def ours(folder: Path) -> Any:
    """Read by flipbook."""
    return from_pretrained(folder)


@cache
def theirs(folder: Path, pipeline: str) -> Any:
    """Read by diffusers."""
    import diffusers

    made = getattr(diffusers, pipeline).from_pretrained(folder)
    made.set_progress_bar_config(disable=True)
    return made


# ---------------------------------------------------------------- Latte


@torch.no_grad()
def latte_forward_error(root: Path) -> float:
    """The transformer's outputs at three noise levels, the variance with them."""
    net, peer = ours(root / "latte").denoiser, theirs(root / "latte", "LattePipeline").transformer
    x, tokens = _random(1, 4, FRAMES, 8, 8, seed=1), _random(1, 12, 16, seed=2)
    pairs = ((net(x, torch.tensor([(k + 1) / 1000]), Doors(tokens=tokens)), peer(x, torch.tensor([k]), tokens).sample) for k in (1, 500, 981))
    return max(error(got, wanted) for got, wanted in pairs)


def latte_error(root: Path) -> float:
    """Final latents from the same first noise, with the same steps and guidance."""
    size = {"height": SIDE, "width": SIDE, "num_inference_steps": STEPS, "guidance_scale": SCALE}
    wanted = theirs(root / "latte", "LattePipeline")(
        PROMPT, negative_prompt=NEGATIVE, latents=initial_noise((4, FRAMES, 8, 8), [SEED]), output_type="latent", video_length=FRAMES,
        clean_caption=False, **size,
    ).frames  # fmt: skip
    return error(latents(ours(root / "latte"), [Text(PROMPT, NEGATIVE)], num_frames=FRAMES, **size), wanted)


def write_pixart(folder: Path) -> None:
    """PixArt's transformer of images as diffusers writes it; its scales and shifts are drawn, since at birth they hide the rest."""
    from diffusers import PixArtTransformer2DModel

    torch.manual_seed(0)
    net = PixArtTransformer2DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=8, num_layers=2, sample_size=8, caption_channels=16, cross_attention_dim=32,
        use_additional_conditions=False,
    )  # fmt: skip
    for p in net.parameters():
        p.data.normal_(std=0.2)
    net.save_pretrained(folder)


@torch.no_grad()
def pixart_error(folder: Path) -> float:
    """Each frame of a clip against the same picture by itself, at three noise levels."""
    from diffusers import PixArtTransformer2DModel

    net, peer = read_network(folder), PixArtTransformer2DModel.from_pretrained(folder).eval()
    x, tokens = _random(1, 4, FRAMES, 8, 8, seed=1), _random(1, 12, 16, seed=2)
    worst = 0.0
    for k in (1, 500, 981):
        clip = net(x, torch.tensor([(k + 1) / 1000]), Doors(tokens=tokens))
        pictures = [peer(frame, tokens, torch.tensor([k]), {}).sample for frame in x.unbind(2)]
        worst = max(worst, error(clip, torch.stack(pictures, dim=2)))
    return worst


# ---------------------------------------------------------------- Wan


@torch.no_grad()
def wan_forward_error(folder: Path) -> float:
    """The transformer's outputs at three noise levels, text and picture read."""
    system, peer = ours(folder), theirs(folder, _wan_pipeline(folder)).transformer
    net = system.denoiser
    x, tokens = _random(1, 4, 3, 4, 6, seed=1), _random(1, 512, 16, seed=2)
    doors, beside, both = Doors(tokens=tokens), {}, x
    if net.config.channel_door:
        channels, picture = _random(1, net.config.channel_door, 3, 4, 6, seed=3), _random(1, 5, 16, seed=4)
        doors, both = doors.with_(channels=channels, picture_tokens=picture), torch.cat([x, channels], dim=1)
        beside = {"encoder_hidden_states_image": picture}
    return max(
        error(net(x, torch.tensor([t]), doors), peer(both, torch.tensor([1000 * t]), tokens, **beside).sample) for t in (0.05, 0.5, 0.98)
    )


def wan_error(folder: Path) -> float:
    """Final latents from the same first noise: the shifted levels, UniPC, guidance and the picture's two doors included."""
    import diffusers
    import pytest
    from PIL import Image

    picture = np.random.default_rng(6).integers(0, 256, (2 * SIDE, SIDE, 3), dtype=np.uint8)
    size = {"height": 2 * SIDE, "width": SIDE, "num_frames": WAN_FRAMES, "num_inference_steps": STEPS, "guidance_scale": SCALE}
    pictured = _wan_pipeline(folder) == "WanImageToVideoPipeline"
    with pytest.MonkeyPatch.context() as patch:                             # its file of pictures forgets to ask whether ftfy is there
        patch.setattr("diffusers.pipelines.wan.pipeline_wan_i2v.prompt_clean", diffusers.pipelines.wan.pipeline_wan.prompt_clean)
        wanted = theirs(folder, _wan_pipeline(folder))(
            **({"image": Image.fromarray(picture)} if pictured else {}), prompt=PROMPT, negative_prompt=NEGATIVE, output_type="latent",
            latents=initial_noise((4, 3, 2 * SIDE // 8, SIDE // 8), [SEED]), **size,
        ).frames  # fmt: skip
    return error(latents(ours(folder), [Text(PROMPT, NEGATIVE), *([FirstFrame(picture)] if pictured else [])], **size), wanted)


@torch.no_grad()
def wan_encode_error(folder: Path) -> float:
    """Normalised latents of a clip."""
    vae, pixels = theirs(folder, "WanPipeline").vae, _random(1, 3, WAN_FRAMES, SIDE, 2 * SIDE, seed=4).clamp(-1, 1)
    mean, std = (torch.tensor(numbers)[:, None, None, None] for numbers in (vae.config.latents_mean, vae.config.latents_std))
    return error(ours(folder).autoencoder.encode(pixels), (vae.encode(pixels).latent_dist.mode() - mean) / std)


@torch.no_grad()
def wan_decode_error(folder: Path) -> float:
    """Pixels of a clip's latents."""
    vae, z = theirs(folder, "WanPipeline").vae, _random(1, 4, 3, SIDE // 8, SIDE // 4, seed=5)
    mean, std = (torch.tensor(numbers)[:, None, None, None] for numbers in (vae.config.latents_mean, vae.config.latents_std))
    return error(ours(folder).autoencoder.decode(z), vae.decode(z * std + mean).sample)


def _wan_pipeline(folder: Path) -> str:
    return "WanImageToVideoPipeline" if folder.name == "wan-picture" else "WanPipeline"


# ---------------------------------------------------------------- Open-Sora


@torch.no_grad()
def opensora_forward_error(folder: Path) -> float:
    """The transformer's outputs for a clip whose last frame is given, from its authors' folder, against a plain second derivation."""
    net, weights = read_network(folder), opensora_plain.drawn(opensora_plain.transformer_shapes())
    x, text = _random(1, 4, FRAMES, 4, 10, seed=1), _random(1, 5, opensora_plain.TEXT, seed=2)
    t = torch.tensor([[0.9, 0.5, 0.0]])
    wanted = opensora_plain.transformer(weights, x[0], 1000 * t[0], text[0], 24.0)
    return error(-net(x, t, Doors(tokens=text, vector=torch.tensor([[24.0]])))[0], wanted)


@torch.no_grad()
def opensora_vae_error() -> float:
    """Latents of a chunk of 17 frames of latents, and the chunk again, against a plain second derivation."""
    net, weights = opensora_plain.autoencoder_along_time()
    x = _random(1, 4, 17, 2, 3, seed=17)
    z = net.posterior(x)[0]
    return max(error(z, opensora_plain.encoded(weights, x)), error(net.frames(z, 17), opensora_plain.decoded(weights, z, 17)))


# ---------------------------------------------------------------- both


def latents(system: Any, conditions: list[Condition], **asked: Any) -> Tensor:
    """Our final latents (1, C, T, h, w) in float32."""
    settings = settle(system, **asked)
    request = resolve(tuple(conditions), settings.size, system.conditions)
    return sample_latents(prepare(system, dtype="float32"), [request], settings, [SEED])


def error(got: Tensor, wanted: Tensor) -> float:
    """The largest absolute difference."""
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    return float((got - wanted).abs().max())


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
