"""Single-file checkpoints under the names of their authors, as systems: Stable Diffusion 1.x and 2.x, VideoCrafter 1 and 2, LaVie's three.

A file holds weights and nothing else, so part of a model stands `beside` it, in the folder of a Stable Diffusion pipeline: the tokenizer for
all, the scheduler for Stable Diffusion, autoencoder and text encoder for LaVie (for its upscaler, those of Stable Diffusion's). AnimateDiff's
motion modules go with `motion_adapter`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flipbook.interop.encoders import filled, read_encoder, read_tokenizer
from flipbook.interop.keys import (
    autoencoder_kl,
    picture_rows,
    single_file,
    unet_lavie,
    unet_lavie_vsr,
    unet_videocrafter,
)
from flipbook.interop.keys.single_file import AUTOENCODER, TEXT, UNET
from flipbook.interop.keys_apply import KeysDoNotFit, Rule, inverted, listed, translate
from flipbook.interop.public import read_network, read_scheduler
from flipbook.interop.schedulers import SchedulerPlan
from flipbook.interop.weights import BadWeights, read_weights
from flipbook.systems.base import System

Weights = Mapping[str, Tensor]


def load_single_file(
    path: str | Path, *, beside: str | Path | None = None, head_dim: int = 64, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> System:
    """A system from one safetensors file, ready for inference.

    beside:   folder of a Stable Diffusion pipeline with what the file lacks; None: the folder in which the file lies.
    head_dim: channels per head of VideoCrafter's networks, which no file tells.
    Raises ValueError, with the file's name, for files that are damaged or none of these, and for keys that do not fit.
    """
    path = Path(path)
    weights, origin = read_weights(path, dtype=dtype)
    folder = path.parent if beside is None else Path(beside)
    kind = kind_of(weights, origin)
    parts = {"videocrafter": _videocrafter, "lavie": _lavie, "stable-diffusion": _stable_diffusion}[kind](weights, origin, folder, head_dim, dtype)
    named = {"name": path.stem, **{name: parts.pop(name) for name in ("name",) if name in parts}}
    from flipbook.systems import SYSTEMS

    parts = {name: part.to(device) if isinstance(part, nn.Module) else part for name, part in parts.items()}
    system: System = importlib.import_module(SYSTEMS[kind]).compose(**named, card={"title": path.stem, "layout": f"{kind}, one file"}, **parts)
    return system.eval()


def kind_of(weights: Weights, origin: str) -> str:
    """Whose file this is. Raises ValueError for files that are none of those that are known."""
    if f"{UNET}init_attn.0.norm.weight" in weights:
        return "videocrafter"
    if f"{UNET}input_blocks.0.0.weight" in weights:
        return "stable-diffusion"
    if any(unet_lavie.TEMPORAL in key or unet_lavie_vsr.TEMPORAL in key for key in weights):
        return "lavie"
    if any(".motion_modules." in key for key in weights):
        raise ValueError(f"{origin} holds motion modules alone. Give it as motion_adapter, with an image model.")
    first = ", ".join(sorted(weights)[:3])
    raise ValueError(
        f"{origin} is no checkpoint that is known here (it holds {first}, ...). Known: Stable Diffusion 1.x and 2.x, VideoCrafter 1 and 2, LaVie's three, "
        "each in one file. Of other models give the folder in diffusers' layout."
    )


def single_file_weights(system: System) -> dict[str, Tensor]:
    """The weights of a VideoCrafter or a LaVie as their authors' files hold them: VideoCrafter's network, autoencoder and scale, LaVie's network.

    Text and image encoders are not written: they are CLIP's own. Raises ValueError for systems that have no such file.
    """
    if system.method == "lavie":
        layout = unet_lavie_vsr.UPSCALER if any(system.denoiser.config.text_alone) else unet_lavie.LAVIE
        return layout.write(system.denoiser)[1]
    if system.method != "videocrafter":
        raise ValueError(f"{system.method or system.name} has no single-file layout here. Try write_network, which writes diffusers' folders.")
    autoencoder = system.autoencoder
    levels = len(autoencoder.config.dims)
    between = translate(autoencoder.state_dict(), inverted(tuple(replace(rule, unit_axes=False) for rule in autoencoder_kl.RULES)), None)
    names = translate(between, inverted(autoencoder_kl.original_rules(levels)), None)
    shaped = {key: value[..., None, None] if ".attn_1." in key and value.ndim == 2 else value for key, value in names.items()}
    path: Any = system.process.path
    scale: dict[str, Tensor] = {}
    if hasattr(path, "scale"):
        scale["scale_arr"] = path.scale((torch.arange(path.base.num_levels) + 1.0) / path.base.num_levels)
    return {**unet_videocrafter.write(system.denoiser)[1], **shaped, **scale}


# ---------------------------------------------------------------- the kinds


def _videocrafter(weights: Weights, origin: str, folder: Path, head_dim: int, dtype: torch.dtype) -> dict[str, Any]:
    from flipbook.denoisers.unet import UNet
    from flipbook.interop.folder import unfilled
    from flipbook.systems.videocrafter import PLAN, PLAN_1

    own = (picture_rows.TOWER, picture_rows.RESAMPLER)
    parts = _by_prefix(weights, (UNET, AUTOENCODER, TEXT, *own), origin, optional=own)
    with unfilled():
        net = UNet(unet_videocrafter.config_of(unet_videocrafter.seen(parts[UNET], head_dim=head_dim)))
    found: dict[str, Any] = {
        "denoiser": unet_videocrafter.load(net, parts[UNET], origin), "autoencoder": _autoencoder(parts[AUTOENCODER], origin),
        "text_encoder": _text_encoder(parts[TEXT], origin, folder), "plan": PLAN_1,
    }  # fmt: skip
    scale = weights.get("scale_arr")
    if scale is not None:
        found["plan"] = replace(PLAN, process=replace(PLAN.process, path=_scaled(scale)))
    if net.config.picture_dim is not None:
        missing = [f"{prefix}*" for prefix in own if not parts[prefix]]
        if missing:
            raise KeysDoNotFit("\n".join([f"{origin} reads a picture, and lacks its encoder:", *listed({"missing": missing})]))
        found["image_encoder"] = _picture_encoder(parts[picture_rows.TOWER], parts[picture_rows.RESAMPLER], origin, head_dim)
    return found


def _lavie(weights: Weights, origin: str, folder: Path, head_dim: int, dtype: torch.dtype) -> dict[str, Any]:
    from flipbook.denoisers.unet import UNet
    from flipbook.interop.folder import unfilled

    larger = any(unet_lavie_vsr.TEMPORAL in key for key in weights)
    names, layout = (unet_lavie_vsr, unet_lavie_vsr.UPSCALER) if larger else (unet_lavie, unet_lavie.LAVIE)
    with unfilled():
        net = UNet(names.config_of(names.seen(weights)))
    kind = "upscaler" if larger else "base" if net.config.kv_frames == "own" else "interpolation"
    door = {"base": 0, "interpolation": net.config.in_channels, "upscaler": 3}[kind]
    if net.config.channel_door != door:
        raise ValueError(f"{origin} is LaVie's {kind} and reads {net.config.channel_door} channels beside the latents; known is the one with {door}.")
    return {
        "name": f"lavie-{kind}", "denoiser": layout.load(net, weights, origin), "autoencoder": read_network(_there(folder, "vae", origin), dtype=dtype),
        "text_encoder": read_encoder(_there(folder, "text_encoder", origin).parent, "text_encoder", dtype=dtype),
    }  # fmt: skip


def _stable_diffusion(weights: Weights, origin: str, folder: Path, head_dim: int, dtype: torch.dtype) -> dict[str, Any]:
    from flipbook.denoisers.unet import UNet
    from flipbook.interop.folder import unfilled
    from flipbook.interop.keys.unet_image import IMAGE

    plan: SchedulerPlan = read_scheduler(_there(folder, "scheduler", origin))
    json = single_file.seen(weights, origin)
    parts = single_file.stable_diffusion(weights, origin, levels=len(json["block_out_channels"]), depth=json["layers_per_block"])
    with unfilled():
        net = UNet(IMAGE.config(json))
    text = {f"{TEXT}{key.removeprefix(TEXT)}": value for key, value in weights.items() if key.startswith(TEXT)}
    first = {key: value for key, value in weights.items() if key.startswith(AUTOENCODER) and not key.startswith(single_file.UNUSED)}
    return {
        "denoiser": IMAGE.load(net, parts["unet"], origin), "autoencoder": _autoencoder(first, origin), "plan": plan,
        "text_encoder": _text_encoder(text, origin, folder),
    }  # fmt: skip


# ---------------------------------------------------------------- the parts


def _by_prefix(weights: Weights, prefixes: tuple[str, ...], origin: str, optional: tuple[str, ...] = ()) -> dict[str, dict[str, Tensor]]:
    """The weights of each part. Raises KeysDoNotFit for keys of none, and for a part that is not there."""
    parts: dict[str, dict[str, Tensor]] = {prefix: {} for prefix in prefixes}
    strangers = []
    for key, value in weights.items():
        prefix = next((prefix for prefix in prefixes if key.startswith(prefix)), None)
        if prefix is not None:
            parts[prefix][key] = value
        elif not key.startswith((*single_file.UNUSED, "scale_arr")):
            strangers.append(key)
    missing = [f"{prefix}*" for prefix, part in parts.items() if not part and prefix not in optional]
    if strangers or missing:
        raise KeysDoNotFit("\n".join([f"{origin} is not what its network's names say:", *listed({"of no known name": strangers, "missing": missing})]))
    return parts


def _autoencoder(weights: Weights, origin: str) -> nn.Module:
    from flipbook.autoencoders.kl import KLAutoencoder, KLAutoencoderConfig
    from flipbook.interop.folder import unfilled

    down = f"{AUTOENCODER}encoder.down."
    levels = 1 + max((int(key.removeprefix(down).split(".")[0]) for key in weights if key.startswith(down)), default=0)
    blocks = 1 + max((int(key.split(".block.")[1].split(".")[0]) for key in weights if key.startswith(f"{down}0.block.")), default=0)
    between = translate(weights, autoencoder_kl.original_rules(levels), None, origin)
    dims = tuple(between[f"encoder.down_blocks.{i}.resnets.0.conv1.weight"].shape[0] for i in range(levels))
    with unfilled():
        net = KLAutoencoder(KLAutoencoderConfig(dims=dims, blocks=blocks, latent_channels=between["quant_conv.weight"].shape[0] // 2))
    net.load_state_dict(translate(between, autoencoder_kl.RULES, net.state_dict(), origin), assign=True)
    return net


def _text_encoder(weights: Weights, origin: str, folder: Path) -> nn.Module:
    from flipbook.encoders.hub import ClipTextEncoder

    transformers = importlib.import_module("transformers")
    open_clip = not any(key.startswith(f"{TEXT}transformer.") for key in weights)
    last = single_file._last_layer(weights)
    rules: tuple[Rule, ...] = single_file.open_clip_rules(last) if open_clip else single_file.CLIP_RULES
    theirs = {key.removeprefix("text_model."): value for key, value in translate(weights, rules, None, origin).items()}
    width = theirs["embeddings.token_embedding.weight"].shape
    config = transformers.CLIPTextConfig(
        vocab_size=width[0], hidden_size=width[1], intermediate_size=theirs["encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=1 + max(int(key.split(".")[2]) for key in theirs if key.startswith("encoder.layers.")),
        num_attention_heads=max(width[1] // 64, 1), max_position_embeddings=theirs["embeddings.position_embedding.weight"].shape[0],
        hidden_act="gelu" if open_clip else "quick_gelu",
    )  # fmt: skip
    model = filled(transformers.CLIPTextModel, config, theirs, origin)
    return ClipTextEncoder(model, read_tokenizer(_there(folder, "tokenizer", origin)))


def _picture_encoder(tower: Weights, resampler: Weights, origin: str, head_dim: int) -> nn.Module:
    from flipbook.encoders.resampler import QueryResampler, ResampledClipEncoder

    transformers = importlib.import_module("transformers")
    config = transformers.CLIPVisionConfig(**picture_rows.tower_config(tower))
    model = filled(transformers.CLIPVisionModelWithProjection, config, translate(tower, picture_rows.tower_rules(), None, origin), origin)
    rows = QueryResampler(**picture_rows.resampler_config(resampler, head_dim=head_dim))
    rows.load_state_dict(translate(resampler, picture_rows.RESAMPLER_RULES, rows.state_dict(), origin), assign=True)
    return ResampledClipEncoder(model, rows)


def _scaled(scale: Tensor) -> Any:
    """VideoCrafter's path from its array of scales: straight down from 1, then level."""
    from flipbook.process.vp import VP
    from flipbook.process.x0_scale import X0Scale

    last = float(scale[-1])
    levels = 1 + int((scale.float() > last + 1e-6).sum())
    return X0Scale(VP(), last=round(last, 6), levels=levels) if levels > 1 else VP()


def _there(folder: Path, part: str, origin: str) -> Path:
    if not (folder / part).is_dir():
        raise BadWeights(f"{origin} holds no {part}, and {folder} has no folder of that name. Give beside=FOLDER, a Stable Diffusion pipeline's.")
    return folder / part
