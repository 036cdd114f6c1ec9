"""What the parity table measures: for each public layout and component, the largest difference from diffusers' own classes.

A row is a function from a folder of folders to (error, bound): the test suite holds every row to its bound, `scripts/parity` writes the table.
References are followed by `like="diffusers"`; where the authors' code differs, that is the default of flipbook and not measured here.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import parity_transformers
import public_folders
from flipbook.conditions import Draft, FirstFrame, Motion, NoiseAugmentation, Text
from flipbook.conditions.entrances import augmentation_noise
from flipbook.interop.folder import from_pretrained
from flipbook.nn.doors import Doors
from flipbook.process.noise import initial_noise
from flipbook.systems.base import System
from interop import lavie_plain, videocrafter_plain
from parity_transformers import error
from public_folders import FRAMES, SIDE

PROMPT, NEGATIVE, SEED, STEPS, SCALE = "a red ball", "blue", 7, 5, 6.0
FORWARD, PIPELINE = 1e-4, 1e-3


@dataclass(frozen=True)
class Layout:
    """A public layout: the name in the table, the system that reads it, the folder, the reference pipeline's class, and how it is read."""

    name: str
    system: str
    folder: str
    pipeline: str
    options: tuple[tuple[str, str], ...] = ()

    @cache  # noqa: B019 (five layouts, for as long as the process lives)
    def ours(self, root: Path) -> System:
        """Read by flipbook."""
        options = {key: str(root / value) if key == "motion_adapter" else value for key, value in self.options}
        return from_pretrained(root / self.folder, **options)

    @cache  # noqa: B019
    def theirs(self, root: Path) -> Any:
        """Read by diffusers."""
        import diffusers

        adapter = dict(self.options).get("motion_adapter")
        parts = {"motion_adapter": diffusers.MotionAdapter.from_pretrained(root / adapter)} if adapter else {}
        return _quiet(getattr(diffusers, self.pipeline).from_pretrained(root / self.folder, **parts))


LAYOUTS = (
    Layout("Stable Diffusion, per frame", "stable-diffusion", "image", "StableDiffusionPipeline"),
    Layout("AnimateDiff, one network", "animatediff", "motion", "AnimateDiffPipeline", (("like", "diffusers"),)),
    Layout(
        "AnimateDiff, adapter apart", "animatediff", "image", "AnimateDiffPipeline", (("like", "diffusers"), ("motion_adapter", "adapter")),
    ),
    Layout("ModelScope, Zeroscope", "modelscope", "modelscope", "TextToVideoSDPipeline"),
    Layout("Stable Video Diffusion", "svd", "svd", "StableVideoDiffusionPipeline", (("like", "diffusers"),)),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of the table. `measure` gives the largest absolute difference."""

    system: str
    layout: str
    component: str
    bound: float
    measure: Callable[[Path], float]


def write_folders(root: Path) -> Path:
    """All folders that the rows read."""
    public_folders.write_image_pipeline(root / "image")
    public_folders.write_motion_adapter(root / "adapter")
    public_folders.write_motion_pipeline(root / "motion", root / "image", root / "adapter")
    public_folders.write_modelscope_pipeline(root / "modelscope")
    public_folders.write_svd_pipeline(root / "svd")
    parity_transformers.write_folders(root)
    return root


def rows() -> Iterator[Row]:
    """Every line of the table."""
    for layout in LAYOUTS:
        named = (layout.system, layout.name)
        yield Row(*named, "U-Net forward", FORWARD, lambda root, layout=layout: forward_error(layout, root))
        yield Row(*named, "VAE encode", FORWARD, lambda root, layout=layout: encode_error(layout, root))
        yield Row(*named, "VAE decode", FORWARD, lambda root, layout=layout: decode_error(layout, root))
        yield Row(*named, f"pipeline latents, {STEPS} steps", PIPELINE, lambda root, layout=layout: pipeline_error(layout, root))
    for name in videocrafter_plain.NETWORKS:
        yield Row("videocrafter", f"VideoCrafter, {name}", "U-Net forward", FORWARD, lambda root, name=name: videocrafter_error(name))
    for kind in lavie_plain.HEADS:
        yield Row("lavie", f"LaVie, {kind}", "U-Net forward", FORWARD, lambda root, kind=kind: lavie_error(kind))
    yield Row("modelscope", "ModelScope, Zeroscope", "video to video latents, strength 0.6", PIPELINE, draft_error)
    for kind in ("keyframes", "interpolation"):
        yield Row("show1", f"Show-1, {kind}", "U-Net forward", FORWARD, lambda root, kind=kind: show1_error(kind))
    for row in parity_transformers.rows():
        yield Row(*row)


# ---------------------------------------------------------------- components


@dataclass(frozen=True)
class Call:
    """What a U-Net is called with: x (1, 4, T, H, W), tokens (1, L, D), and for Stable Video Diffusion channels like x and its numbers (1, 3)."""

    x: Tensor
    tokens: Tensor
    beside: Tensor
    numbers: Tensor


def call(text_dim: int, *, length: int, frames: int, side: int) -> Call:
    """Random inputs, the same for the same sizes."""
    shape = (1, 4, frames, side, side)
    return Call(_random(*shape, seed=1), _random(1, length, text_dim, seed=2), _random(*shape, seed=3), torch.tensor([[6.0, 127.0, 0.02]]))


@torch.no_grad()
def forward_here(net: Any, given: Call, level: float) -> Tensor:
    """Our U-Net's answer. level: of 1000, or the EDM sigma for a network with that clock."""
    frames = given.x.shape[2]
    if net.config.clock == "edm":
        angle = torch.atan(torch.tensor(level, dtype=torch.float64))
        doors = Doors(tokens=given.tokens[:, :1], channels=given.beside, vector=given.numbers)
        return net(given.x, (angle * 2 / torch.pi).expand(1, frames), doors)
    return net(given.x, torch.full((1, frames), (level + 1) / 1000), Doors(tokens=given.tokens))


@torch.no_grad()
def forward_there(unet: Any, given: Call, level: float) -> Tensor:
    """The answer of diffusers' class, in our order of axes."""
    x, tokens, frames = given.x, given.tokens, given.x.shape[2]
    name = type(unet).__name__
    if name == "UNetSpatioTemporalConditionModel":                          # its timestep is ln(sigma) / 4
        both = torch.cat([x, given.beside], dim=1).transpose(1, 2)
        return unet(both, torch.tensor(level).log() / 4, tokens[:, :1], added_time_ids=given.numbers).sample.transpose(1, 2)
    if name == "UNet2DConditionModel":
        return unet(x[0].transpose(0, 1), level, tokens.expand(frames, -1, -1)).sample.transpose(0, 1)[None]
    return unet(x, level, tokens.expand(frames, -1, -1) if name == "UNetMotionModel" else tokens).sample


def forward_error(layout: Layout, root: Path) -> float:
    """U-Net outputs at three noise levels."""
    net, unet, given = layout.ours(root).denoiser, layout.theirs(root).unet, call(32, length=16, frames=FRAMES, side=SIDE // 8)
    levels = (0.05, 1.0, 300.0) if net.config.clock == "edm" else (1, 500, 981)
    return max(error(forward_here(net, given, level), forward_there(unet, given, level)) for level in levels)


@torch.no_grad()
def videocrafter_error(name: str) -> float:
    """U-Net outputs of a checkpoint under its authors' names, against a plain second derivation."""
    from flipbook.denoisers.unet import UNet
    from flipbook.interop.keys.unet_videocrafter import config_of, load, seen

    plain = videocrafter_plain.NETWORKS[name]
    given, wanted, weights = videocrafter_plain.answered(plain)
    net = load(UNet(config_of(seen(weights, head_dim=plain.head_dim))), weights, name).eval()
    return error(net(given.x, (given.level + 1) / 1000, given.doors), wanted)


@torch.no_grad()
def lavie_error(kind: str) -> float:
    """U-Net outputs of a checkpoint under its authors' names, against a second derivation."""
    from flipbook.denoisers.unet import UNet
    from flipbook.interop.keys import unet_lavie, unet_lavie_vsr

    image = lavie_plain.image(kind)
    weights = lavie_plain.checkpoint(image, kind)
    x, level, tokens, beside, doors = lavie_plain.asked(kind)
    names, layout = (unet_lavie_vsr, unet_lavie_vsr.UPSCALER) if kind == "upscaler" else (unet_lavie, unet_lavie.LAVIE)
    net = layout.load(UNet(names.config_of(names.seen(weights))), weights).eval()
    return error(net(x, (level + 1) / 1000, doors), lavie_plain.answered(image, weights, x, level, tokens, beside, kind))


@torch.no_grad()
def show1_error(kind: str) -> float:
    """U-Net outputs, prediction and variance, of a pixel network as the system composes it, at three noise levels."""
    from diffusers import UNet3DConditionModel

    from flipbook.denoisers.unet import UNet, UNetConfig
    from flipbook.denoisers.unet_tables import modelscope
    from flipbook.interop.keys.unet_modelscope import MODELSCOPE
    from flipbook.systems.show1 import Show1Config

    image = UNetConfig(in_channels=3, widths=(16, 32), depths=(1, 1), transformers=(1, 0), heads=(2, 4), text_dim=32, groups=8)
    config = Show1Config(kind=kind, image=image, inserts=modelscope(head_dim=8, dropout=0.0)).denoiser
    theirs = public_folders.randomised(UNet3DConditionModel(
        in_channels=3 + config.channel_door, out_channels=6, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, cross_attention_dim=32,
        attention_head_dim=8, down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"), up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
    )).eval()  # fmt: skip
    net = MODELSCOPE.load(UNet(config), theirs.state_dict()).eval()
    x, beside, tokens = _random(1, 3, FRAMES, 8, 8, seed=1), _random(1, config.channel_door, FRAMES, 8, 8, seed=3), _random(1, 16, 32, seed=2)
    doors = Doors(tokens=tokens, channels=beside if config.channel_door else None)
    return max(
        error(net(x, torch.tensor([(level + 1) / 1000]), doors), theirs(torch.cat([x, beside], dim=1), level, tokens).sample) for level in (1, 500, 981)
    )  # fmt: skip


@torch.no_grad()
def encode_error(layout: Layout, root: Path) -> float:
    """Normalised latents of a clip."""
    system, vae = layout.ours(root), layout.theirs(root).vae
    pixels = _random(1, 3, FRAMES, SIDE, SIDE, seed=4).clamp(-1, 1)
    wanted = vae.encode(pixels[0].transpose(0, 1)).latent_dist.mode() * vae.config.scaling_factor
    return error(system.autoencoder.encode(pixels), wanted.transpose(0, 1)[None])


@torch.no_grad()
def decode_error(layout: Layout, root: Path) -> float:
    """Pixels of a clip's latents."""
    system, vae = layout.ours(root), layout.theirs(root).vae
    z = _random(1, 4, FRAMES, SIDE // 8, SIDE // 8, seed=5)
    frames = z[0].transpose(0, 1) / vae.config.scaling_factor
    wanted = vae.decode(frames, **({"num_frames": FRAMES} if layout.folder == "svd" else {})).sample
    return error(system.autoencoder.decode(z), wanted.transpose(0, 1)[None])


# ---------------------------------------------------------------- whole pipelines


def pipeline_error(layout: Layout, root: Path) -> float:
    """Final latents from the same first noise, with the same steps and guidance."""
    if layout.folder == "svd":
        return svd_error(layout, root)
    noise = initial_noise((4, FRAMES, SIDE // 8, SIDE // 8), [SEED])
    common = {
        "prompt": PROMPT, "negative_prompt": NEGATIVE, "num_inference_steps": STEPS, "guidance_scale": SCALE, "output_type": "latent",
        "height": SIDE, "width": SIDE,
    }  # fmt: skip
    pipeline = layout.theirs(root)
    if layout.pipeline == "StableDiffusionPipeline":
        frames = [pipeline(**common, latents=noise[:, :, i]).images for i in range(FRAMES)]
        wanted = torch.stack(frames, dim=2)
    else:
        wanted = pipeline(**common, num_frames=FRAMES, latents=noise).frames
    return error(latents(layout.ours(root), [Text(PROMPT, NEGATIVE)], guidance_scale=SCALE), wanted)


def svd_error(layout: Layout, root: Path, scale: float = 3.0) -> float:
    """Final latents of an animated picture: guidance ramp, picture noise and numbers included."""
    from PIL import Image

    picture = np.random.default_rng(6).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    noise = initial_noise((4, FRAMES, SIDE // 8, SIDE // 8), [SEED])
    wanted = layout.theirs(root)(
        Image.fromarray(picture), height=SIDE, width=SIDE, num_frames=FRAMES, num_inference_steps=STEPS, max_guidance_scale=scale, fps=6,
        motion_bucket_id=90, noise_aug_strength=0.1, generator=augmentation_noise(SEED), latents=noise.transpose(1, 2), output_type="latent",
    ).frames  # fmt: skip
    conditions = [FirstFrame(picture), Motion(90), NoiseAugmentation(0.1)]
    return error(latents(layout.ours(root), conditions, guidance_scale=scale, fps=6.0), wanted.transpose(1, 2))


def draft_error(root: Path) -> float:
    """Final latents of Zeroscope's second stage: a clip noised to a strength and denoised again."""
    from diffusers import VideoToVideoSDPipeline
    from PIL import Image

    clip = np.random.default_rng(8).integers(0, 256, (FRAMES, SIDE, SIDE, 3), dtype=np.uint8)
    pipeline = _quiet(VideoToVideoSDPipeline.from_pretrained(root / "modelscope"))
    vae = pipeline.vae
    drawn = initial_noise((4, FRAMES, SIDE // 8, SIDE // 8), [SEED])

    def prepared(video: Tensor, timestep: Tensor, *_: Any) -> Tensor:
        """Their start, with the mean of the autoencoder where they draw from it, and our noise."""
        z = vae.encode(video[0].transpose(0, 1)).latent_dist.mode() * vae.config.scaling_factor
        return pipeline.scheduler.add_noise(z.transpose(0, 1)[None], drawn, timestep)

    pipeline.prepare_latents = prepared
    wanted = pipeline(
        prompt=PROMPT, negative_prompt=NEGATIVE, output_type="latent", video=[Image.fromarray(frame) for frame in clip],
        strength=0.6, num_inference_steps=STEPS, guidance_scale=SCALE,
    ).frames  # fmt: skip
    system = from_pretrained(root / "modelscope")
    return error(latents(system, [Text(PROMPT, NEGATIVE), Draft(clip, 0.6)], guidance_scale=SCALE), wanted)


def latents(system: System, conditions: list[Any], **asked: Any) -> Tensor:
    """Our final latents (1, C, T, h, w) in float32."""
    return parity_transformers.latents(system, conditions, num_frames=FRAMES, height=SIDE, width=SIDE, num_inference_steps=STEPS, **asked)


def _quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def measured(root: Path) -> Iterator[tuple[Row, float]]:
    """Every row with its error, references' own warnings left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for row in rows():
            yield row, row.measure(root)


def page(results: Iterable[tuple[Row, float]]) -> str:
    """docs/parity.md of measured rows."""
    lines = [f"| {row.layout} | {row.component} | {error:.1e} | {row.bound:.0e} |" for row, error in results]
    return "\n".join([
        "# Parity with the reference classes",
        "",
        "Largest absolute difference between flipbook and diffusers on the same random weights, float32 on a CPU: folders in the exact public layout,",
        f"written by diffusers at tiny sizes ({FRAMES} frames of {SIDE} x {SIDE} pixels; the transformers', {parity_transformers.WAN_FRAMES} or fewer of",
        f"{parity_transformers.SIDE} x {2 * parity_transformers.SIDE}), read by `flipbook`. Pipelines start from the same noise and take the same steps with",
        "the same guidance; Stable Video Diffusion with its guidance ramp and its noised picture, Wan's image to video with its picture by both doors.",
        "",
        "AnimateDiff and Stable Video Diffusion are read with `like=\"diffusers\"`: there diffusers computes a norm otherwise than the authors' code,",
        "which flipbook follows unless told so. Of VideoCrafter, LaVie and Open-Sora no class can be installed: their checkpoints, under the authors' names,",
        "are held against a second derivation from the papers (`tests/interop/videocrafter_plain.py`, `lavie_plain.py`, `opensora_plain.py`).",
        "",
        f"Written by `scripts/parity`; {', '.join(f'{name} {version}' for name, version in versions().items())}.",
        "",
        "| layout | component | largest difference | bound |",
        "|---|---|---|---|",
        *lines,
        "",
    ])  # fmt: skip


def record(results: Iterable[tuple[Row, float]]) -> str:
    """The same figures for programs: flipbook/systems/parity.json."""
    lines = [
        {"system": row.system, "layout": row.layout, "component": row.component, "difference": float(f"{error:.1e}"), "bound": row.bound}
        for row, error in results
    ]
    return json.dumps({"command": "scripts/parity", "versions": versions(), "rows": lines}, indent=1) + "\n"


def versions() -> dict[str, str]:
    """Of the libraries that were compared."""
    import diffusers
    import transformers

    return {module.__name__: module.__version__ for module in (torch, diffusers, transformers)}


def main(markdown: Path, data: Path) -> int:
    """Measure, write both files, say which rows are beyond their bounds."""
    with tempfile.TemporaryDirectory() as folder:
        results = list(measured(write_folders(Path(folder))))
    for path, text in ((markdown, page(results)), (data, record(results))):
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    beyond = [f"{row.layout}, {row.component}: {error:.1e}, not below {row.bound:.0e}" for row, error in results if not error < row.bound]
    print("\n".join(beyond) or f"{len(results)} rows, all within their bounds")
    return 1 if beyond else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), Path(sys.argv[2])))
