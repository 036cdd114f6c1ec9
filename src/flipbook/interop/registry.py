"""Classes by name, and objects to JSON and back.

A model folder can only name what stands in this table; nothing is imported because a file says so.
"""

from __future__ import annotations

import importlib
from dataclasses import asdict, fields, is_dataclass
from typing import Any

from flipbook.hints import nearest

CLASSES: dict[str, str] = {
    "BeginningEncoder": "flipbook.encoders.beginning",
    "ClipAutoencoder": "flipbook.autoencoders.clip",
    "CodeTransformer": "flipbook.baselines.code_transformer",
    "ConvLSTM": "flipbook.baselines.conv_lstm",
    "DiT": "flipbook.denoisers.dit",
    "FrameAutoencoder": "flipbook.autoencoders.frame",
    "GenTron": "flipbook.denoisers.gentron",
    "ImplicitVideo": "flipbook.baselines.implicit",
    "KLAutoencoder": "flipbook.autoencoders.kl",
    "Latte": "flipbook.denoisers.latte",
    "NextFrame": "flipbook.baselines.next_frame",
    "PictureEncoder": "flipbook.encoders.picture",
    "Pixels": "flipbook.autoencoders.pixels",
    "ResampledPictureEncoder": "flipbook.encoders.resampler",
    "TCN": "flipbook.baselines.tcn",
    "STDiT": "flipbook.denoisers.stdit",
    "StackedAutoencoder": "flipbook.autoencoders.stacked",
    "TemporalDecoderAutoencoder": "flipbook.autoencoders.temporal_decoder",
    "TextPrior": "flipbook.encoders.text_prior",
    "TinyAutoencoder": "flipbook.autoencoders.tiny",
    "UNet": "flipbook.denoisers.unet",
    "VQAutoencoder": "flipbook.autoencoders.vq",
    "WALT": "flipbook.denoisers.walt",
    "Wan": "flipbook.denoisers.wan",
    "WanAutoencoder": "flipbook.autoencoders.wan",
    "WordEncoder": "flipbook.encoders.words",
    "Process": "flipbook.process.process",
    "Cosine": "flipbook.process.path",
    "RectifiedFlow": "flipbook.process.path",
    "EDM": "flipbook.process.path",
    "NoNoise": "flipbook.process.none",
    "VP": "flipbook.process.vp",
    "X0Scale": "flipbook.process.x0_scale",
}
"""Class name to module. A network is built from the dataclass `<name>Config` beside it; the others are dataclasses."""


def to_config(thing: Any) -> dict[str, Any]:
    """What describes an object, JSON-able: its registered class name and its config's fields."""
    name = type(thing).__name__
    if name not in CLASSES:
        raise ValueError(f"{name} cannot be saved: it is not in flipbook.interop.registry.CLASSES. Add it there.")
    config = thing if is_dataclass(thing) else thing.config
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    return {"_class_name": name} | {
        k: to_config(v) if type(v).__name__ in CLASSES else _plain(v) for k, v in values.items()
    }


def from_config(config: dict[str, Any], origin: str) -> Any:
    """The object, networks with fresh weights. Raises ValueError for an unknown class or field, naming `origin`."""
    values = dict(config)
    name = values.pop("_class_name", None)
    if name not in CLASSES:
        raise ValueError(
            f"{origin}: class {name!r} is not known to this version of flipbook. {nearest(str(name), CLASSES)}"
        )
    module = importlib.import_module(CLASSES[name])
    made: Any = getattr(module, name)
    config_class: Any = made if is_dataclass(made) else getattr(module, f"{name}Config")
    known = {f.name for f in fields(config_class)}
    for key in values:
        if key not in known:
            raise ValueError(f"{origin}: {name} has no field {key!r}. {nearest(key, known)}")
    for key, value in values.items():
        if isinstance(value, dict) and "_class_name" in value:
            values[key] = from_config(value, origin)
    try:
        return made(**values) if config_class is made else made(config_class(**values))
    except TypeError as error:
        raise ValueError(f"{origin}: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
