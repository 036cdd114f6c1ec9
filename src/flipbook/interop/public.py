"""Pipelines and networks in the folders of diffusers, read into our parts and written from them.

A folder only ever names classes; what they mean stands in the tables below, and nothing is imported because a file says so.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import save_file
from torch import nn

from flipbook.hints import nearest
from flipbook.interop.config_read import read_json as _read_json
from flipbook.interop.encoders import TOWERS, read_encoder
from flipbook.interop.keys_apply import inverted, translate
from flipbook.interop.schedulers import SchedulerPlan, scheduler_plan
from flipbook.interop.weights import BadWeights, read_weights
from flipbook.systems import SYSTEMS
from flipbook.systems.base import System

WEIGHTS = "diffusion_pytorch_model.safetensors"

AUTOENCODERS: dict[str, tuple[str, str, str]] = {
    "AutoencoderKL": ("flipbook.autoencoders.kl", "KLAutoencoder", "autoencoder_kl"),
    "AutoencoderKLTemporalDecoder": ("flipbook.autoencoders.temporal_decoder", "TemporalDecoderAutoencoder", "autoencoder_temporal_decoder"),
    "AutoencoderKLWan": ("flipbook.autoencoders.wan", "WanAutoencoder", "autoencoder_wan"),
    "VideoAutoencoderPipeline": ("flipbook.autoencoders.stacked", "StackedAutoencoder", "autoencoder_opensora"),
    "AutoencoderTiny": ("flipbook.autoencoders.tiny", "TinyAutoencoder", "autoencoder_tiny"),
}
"""Public class to our module and class, and to the key map in `interop/keys`."""

TRANSFORMERS: dict[str, tuple[str, str, str]] = {
    "LatteTransformer3DModel": ("flipbook.denoisers.latte", "Latte", "transformer_latte"),
    "PixArtTransformer2DModel": ("flipbook.denoisers.latte", "Latte", "transformer_latte"),
    "STDiT3": ("flipbook.denoisers.stdit", "STDiT", "opensora"),
    "WanTransformer3DModel": ("flipbook.denoisers.wan", "Wan", "transformer_wan"),
}
"""The same of video transformers."""

UNETS: dict[str, tuple[str, str]] = {
    "UNet2DConditionModel": ("unet_image", "IMAGE"),
    "UNet3DConditionModel": ("unet_modelscope", "MODELSCOPE"),
    "UNetSpatioTemporalConditionModel": ("unet_svd", "SVD"),
    "UNetMotionModel": ("unet_animatediff", "MOTION"),
}
"""Public class to the module in `interop/keys` and its layout."""


Like = Literal["original", "diffusers"]
"""Where diffusers computes something else than the authors of a network did: follow these (the default) or that."""

AS_DIFFUSERS: dict[str, dict[str, Any]] = {
    "UNetMotionModel": {"norm": "clip"},                    # the motion module's first norm spans the clip there
    "MotionAdapter": {"norm": "clip"},
    "UNetSpatioTemporalConditionModel": {"eps": "diffusers"},   # of the norms on the way down: 1e-6 there
}
"""What the readers of configs are told for `like="diffusers"`."""

PIPELINES = {
    "StableDiffusionPipeline": "stable-diffusion",
    "TextToVideoSDPipeline": "modelscope",
    "VideoToVideoSDPipeline": "modelscope",
    "AnimateDiffPipeline": "animatediff",
    "StableVideoDiffusionPipeline": "svd",
}
"""Public pipelines to the system that they are. Parts of any other folder are read one by one with `read_network`."""

READERS = {
    "LattePipeline": "pipeline_latte",
    "WanPipeline": "pipeline_wan",
    "WanImageToVideoPipeline": "pipeline_wan",
}
"""Public pipelines that a module of `interop` reads by its `load`."""


def load_pipeline(
    folder: str | Path,
    *,
    motion_adapter: str | Path | None = None,
    like: Like = "original",
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    variant: str | None = None,
) -> System:
    """A system from the folder of a public pipeline, ready for inference.

    motion_adapter: folder of a motion adapter that sets an image pipeline in motion (AnimateDiff).
    Raises ValueError for a pipeline or class that is not known, and for parts that are missing or do not fit, by name.
    """
    if like not in get_args(Like):
        raise ValueError(f"like={like!r} is unknown. Try {' or '.join(map(repr, get_args(Like)))}.")
    folder = Path(folder)
    index = _read_json(folder / "model_index.json")
    name = str(index.get("_class_name"))
    if name not in PIPELINES and name not in READERS:
        known = nearest(name, [*PIPELINES, *READERS])
        raise ValueError(f"{folder / 'model_index.json'}: pipeline {name!r} is not known to this version of flipbook. {known}")
    if name in READERS:
        if motion_adapter is not None:
            raise ValueError(f"{folder} is a {name}: a motion adapter sets image pipelines of Stable Diffusion in motion. Leave it out.")
        return importlib.import_module(f"flipbook.interop.{READERS[name]}").load(folder, index, dtype=dtype, device=device, variant=variant)
    method = PIPELINES[name]
    adapter = Path(motion_adapter) if motion_adapter is not None else folder / "motion_adapter" if (folder / "motion_adapter").is_dir() else None
    if motion_adapter is not None and method not in ("stable-diffusion", "animatediff"):
        raise ValueError(f"{folder} is a {name}: a motion adapter sets image pipelines of Stable Diffusion in motion. Leave it out.")
    method = "animatediff" if adapter else method
    plan = read_scheduler(folder / "scheduler")
    net: Any = read_network(folder / "unet", dtype=dtype, variant=variant, like=like)
    if adapter is not None and _read_json(folder / "unet/config.json").get("_class_name") == "UNet2DConditionModel":
        net = _with_motion(net, adapter, dtype, variant, like)
    autoencoder: Any = read_network(folder / "vae", dtype=dtype, variant=variant)
    compose = importlib.import_module(SYSTEMS[method]).compose
    return compose(
        name=folder.name,
        denoiser=net.to(device),
        autoencoder=autoencoder.to(device),
        **{part: encoder.to(device) for part, encoder in _encoders(folder, dtype, variant).items()},
        plan=plan,
        defaults=_default_size(folder, autoencoder.stride),
        card={"title": folder.name, "layout": name} | ({"note": plan.note} if plan.note else {}),
    ).eval()


def read_scheduler(folder: str | Path) -> SchedulerPlan:
    """What the scheduler_config.json in a folder means. Raises ValueError for what we cannot do, by name."""
    path = Path(folder) / "scheduler_config.json"
    return scheduler_plan(_read_json(path), str(path))


def read_network(
    folder: str | Path, *, dtype: torch.dtype | None = None, variant: str | None = None, like: Like = "original"
) -> nn.Module:
    """An autoencoder, a transformer or a U-Net from its folder: config.json and weights, which must fit in every key.

    dtype: of floating weights; None: as stored. variant: "fp16", "bf16" or None, see `read_weights`.
    Raises ValueError, with the file's name, for an unknown class or field, and for weights that are damaged or do not fit.
    """
    from flipbook.interop.folder import unfilled

    folder = Path(folder)
    path = folder / "config.json"
    config = _read_json(path)
    name = str(config.get("_class_name") or (config.get("architectures") or [None])[0])
    if name in UNETS:
        from flipbook.denoisers.unet import UNet

        layout = _unet_layout(name)
        with unfilled():
            unet = UNet(_named(path, partial(layout.config, **(AS_DIFFUSERS.get(name, {}) if like == "diffusers" else {})), config))
        weights, origin = read_weights(folder, variant=variant, dtype=dtype)
        return layout.load(unet, weights, origin)
    known = AUTOENCODERS | TRANSFORMERS
    if name not in known:
        raise ValueError(f"{path}: class {name!r} is not known to this version of flipbook. {nearest(name, [*known, *UNETS])}")
    module, ours, keys_name = known[name]
    keys: Any = importlib.import_module(f"flipbook.interop.keys.{keys_name}")
    with unfilled():
        net: nn.Module = getattr(importlib.import_module(module), ours)(keys.config(config, str(path)))
    weights, origin = read_weights(folder, variant=variant, dtype=dtype)
    net.load_state_dict(translate(weights, keys.RULES, net.state_dict(), origin), assign=True)
    return keys.converted(net) if hasattr(keys, "converted") else net


def write_network(net: nn.Module, folder: str | Path, *, dtype: torch.dtype | None = None) -> Path:
    """Write an autoencoder or a U-Net as diffusers reads it, in place of an older folder; whole or not at all. Returns the folder.

    dtype: of floating weights in the file; None: as they are. Raises ValueError for a network that has no public layout.
    """
    folder = Path(folder)
    config, weights = _public(net)
    temporary = folder.with_name(f".{folder.name}.unfinished-{os.getpid()}")
    replaced = folder.with_name(f".{folder.name}.replaced-{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
        (temporary / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        stored = {key: value.detach().cpu().to(dtype if dtype and value.is_floating_point() else value.dtype) for key, value in weights.items()}
        save_file({key: value.contiguous() for key, value in stored.items()}, temporary / WEIGHTS, metadata={"format": "pt"})
        if folder.exists():
            os.replace(folder, replaced)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
    return folder


def _public(net: nn.Module) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """config.json and weights of a network under public names."""
    from flipbook.denoisers.unet import UNet

    if isinstance(net, UNet):
        reasons = []
        for name in UNETS:
            try:
                return _unet_layout(name).write(net)
            except (ValueError, LookupError) as error:
                reasons.append(f"{name}: {error}")
        raise ValueError("no public layout holds this U-Net:\n  " + "\n  ".join(reasons))
    for _, ours, keys_name in (AUTOENCODERS | TRANSFORMERS).values():
        if type(net).__name__ == ours:
            keys: Any = importlib.import_module(f"flipbook.interop.keys.{keys_name}")
            if not hasattr(keys, "their_config"):
                raise ValueError(f"{ours} is read from public folders and not written as one. Try save_pretrained of the whole system.")
            config: Any = net.config
            return keys.their_config(config), translate(net.state_dict(), inverted(keys.RULES), _shapes_there(keys, net), "this network")
    raise ValueError(f"{type(net).__name__} has no public layout. Known: {', '.join(ours for _, ours, _ in AUTOENCODERS.values())} and UNet.")


def _shapes_there(keys: Any, net: nn.Module) -> dict[str, torch.Size]:
    """Names and shapes there: ours, but for the convolutions over frames, which have all three axes there."""
    plain = tuple(replace(rule, unit_axes=False) for rule in inverted(keys.RULES))
    made = translate(net.state_dict(), plain, None, "this network")
    if hasattr(keys, "shape_there"):
        return {key: torch.Size(keys.shape_there(key, v.shape)) for key, v in made.items()}
    return {key: torch.Size((*v.shape, 1)) if v.ndim == 4 and tuple(v.shape[2:]) == (3, 1) else v.shape for key, v in made.items()}


def _with_motion(image: Any, adapter: Path, dtype: torch.dtype, variant: str | None, like: Like) -> nn.Module:
    """An image U-Net with the motion modules of an adapter's folder; the image weights are the same tensors."""
    from flipbook.denoisers.unet import UNet
    from flipbook.interop.folder import unfilled
    from flipbook.interop.keys.unet_animatediff import adapter_config, load_adapter

    path = adapter / "config.json"
    options = AS_DIFFUSERS["MotionAdapter"] if like == "diffusers" else {}
    with unfilled():
        net = UNet(_named(path, lambda json: adapter_config(json, image.config, **options), _read_json(path)))
    net.load_state_dict(image.state_dict(), strict=False, assign=True)
    weights, origin = read_weights(adapter, variant=variant, dtype=dtype)
    return load_adapter(net, weights, origin)


def _encoders(folder: Path, dtype: torch.dtype, variant: str | None) -> dict[str, Any]:
    """The encoders that a pipeline's index names, by the part of a system that they are."""
    found = [part for part in TOWERS if (folder / part).is_dir()]
    if not found:
        raise BadWeights(f"{folder} holds neither text_encoder nor image_encoder: the model folder is not whole. Copy or download it again.")
    return {part: read_encoder(folder, part, dtype=dtype, variant=variant) for part in found}


def _default_size(folder: Path, stride: int) -> dict[str, Any]:
    """Frames, height and width that a U-Net's config names as what it was trained for."""
    config = _read_json(folder / "unet/config.json")
    size, frames = config.get("sample_size"), config.get("num_frames")
    rows, columns = size if isinstance(size, list) else (size or 0, size or 0)
    return ({"height": rows * stride, "width": columns * stride} if size else {}) | ({"num_frames": frames} if frames else {})


def _unet_layout(name: str) -> Any:
    module, layout = UNETS[name]
    return getattr(importlib.import_module(f"flipbook.interop.keys.{module}"), layout)


def _named(path: Path, read: Any, config: dict[str, Any]) -> Any:
    """Errors of a reader of configs, with the file's name in front."""
    try:
        return read(config)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path}: {error}") from error
