"""Model folders in the layout of diffusers, written whole and read strictly.

model_index.json                            which class each part is, and the settings `generate` starts from
denoiser/config.json                        + diffusion_pytorch_model.safetensors
vae/config.json                             + diffusion_pytorch_model.safetensors
text_encoder/config.json                    + model.safetensors
scheduler/scheduler_config.json             noise path and prediction
card.json                                   where the weights come from and what they can do
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from flipbook.hints import nearest
from flipbook.interop.registry import from_config, to_config
from flipbook.long.streaming import Streaming
from flipbook.systems.base import System

INDEX, CARD, SCHEDULER = "model_index.json", "card.json", "scheduler/scheduler_config.json"
PARTS: dict[str, tuple[str, str]] = {
    "denoiser": ("denoiser", "diffusion_pytorch_model.safetensors"),
    "autoencoder": ("vae", "diffusion_pytorch_model.safetensors"),
    "text_encoder": ("text_encoder", "model.safetensors"),
    "image_encoder": ("image_encoder", "model.safetensors"),
}
"""Part of a system to its sub-folder and weights file."""
OPTIONAL = ("text_encoder", "image_encoder")
"""Parts that some systems do not have."""

SHIPPED = Path(__file__).parent.parent / "weights"


def save_pretrained(system: System, folder: str | Path, *, dtype: torch.dtype | None = None) -> Path:
    """Write a system as a model folder, in place of an older one; it appears whole or not at all. Returns the folder.

    dtype: store floating parameters in it (`torch.bfloat16` halves the file); buffers keep theirs. None: as they are.
    Raises ValueError if the folder exists and is no model folder, or a part is of a class that is not registered.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / INDEX).is_file():
        raise ValueError(f"{folder} exists and is not a model folder. Try another name, or remove it first.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.unfinished-{os.getpid()}")
    replaced = folder.with_name(f".{folder.name}.replaced-{os.getpid()}")
    try:
        temporary.mkdir()
        _write_folder(system, temporary, dtype)
        if folder.exists():
            os.replace(folder, replaced)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
    return folder


def from_pretrained(
    folder: str | Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu", inserts: str = "on", **public: Any
) -> System:
    """Read a model folder, ours or that of a public pipeline, or one file, ready for inference. Floating weights come in `dtype`.

    inserts: "off": the image model alone that a video U-Net was made of, frame by frame.
    public: options of `flipbook.interop.public.load_pipeline`, for folders of public pipelines: motion_adapter, like, variant.
            For a checkpoint in one file `beside`: see `flipbook.interop.single.load_single_file`.
    Raises ValueError, with the file's name, for anything missing, unknown, damaged or left over, keys included.
    """
    if inserts not in ("on", "off"):
        raise ValueError(f"inserts={inserts!r}: they are on or off. Try inserts='off' for the image model alone.")
    system = _system(Path(folder), dtype, device, public)
    if inserts == "off":
        from flipbook.systems.image_weights import without_inserts

        system = without_inserts(system)
    return system.eval()


def _system(folder: Path, dtype: torch.dtype, device: torch.device | str, public: dict[str, Any]) -> System:
    if folder.is_file():
        from flipbook.interop.single import load_single_file

        other = sorted(set(public) - {"beside"})
        if other:
            raise ValueError(f"{folder} is one file: {', '.join(other)} is for folders of public pipelines. Leave it out.")
        return load_single_file(folder, dtype=dtype, device=device, **public)
    if "beside" in public:
        raise ValueError(f"{folder} is a folder: `beside` is for single files, which lack a tokenizer. Leave it out.")
    index = _read_json(folder / INDEX)
    if index.get("_class_name") != "System":
        from flipbook.interop.public import load_pipeline

        return load_pipeline(folder, dtype=dtype, device=device, **public)
    if public:
        raise ValueError(f"{folder} is a folder of flipbook's own: {', '.join(public)} is for folders of public pipelines. Leave it out.")
    parts: dict[str, Any] = {
        part: _read_part(folder / sub, weights, dtype).to(device) for part, (sub, weights) in PARTS.items() if sub in index or part not in OPTIONAL
    }
    if "streaming" in index:
        parts["streaming"] = _streaming(index["streaming"], folder)
    if "classes" in index:
        parts["classes"] = tuple(map(str, index["classes"]))
    return composed(
        str(index.get("method", "")),
        name=str(index.get("name", folder.name)),
        process=from_config(_read_json(folder / SCHEDULER), str(folder / SCHEDULER)),
        defaults=dict(index.get("defaults", {})),
        card=_read_json(folder / CARD) if (folder / CARD).is_file() else {},
        **parts,
    )


def composed(method: str, *, process: Any, **fields: Any) -> System:
    """A system of parts that were read: wired by the file of its method, or plainly where it names none.

    Raises ValueError for a method that is not known.
    """
    from flipbook.systems import SYSTEMS

    if not method:
        return System(process=process, **fields)
    if method not in SYSTEMS:
        raise ValueError(f"method {method!r} is not known to this version of flipbook. {nearest(method, SYSTEMS)}")
    module: Any = importlib.import_module(SYSTEMS[method])
    system: System = module.compose(**fields)
    system.process = process
    return system


def _streaming(values: dict[str, Any], folder: Path) -> Streaming:
    try:
        return Streaming(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / INDEX}: streaming={values!r} does not say how a causal model streams ({error}). Copy the folder again.") from error


def model_folder(name_or_folder: str | Path) -> Path:
    """The folder that a shipped name or a path means. Raises ValueError if there is none."""
    path = Path(name_or_folder)
    if (path / INDEX).is_file() or path.is_file():
        return path
    if (SHIPPED / path / INDEX).is_file() and len(path.parts) == 1:
        return SHIPPED / path
    if path.exists():
        raise ValueError(
            f"{path} holds no {INDEX}: it is not a model folder. Try the `model` folder of a training's output."
        )
    shipped = shipped_models()
    if len(path.parts) == 2 and not str(name_or_folder).startswith((".", "/", "~")):
        return _downloaded(str(name_or_folder))
    if not shipped and len(path.parts) == 1:
        raise ValueError(
            f"model {str(path)!r}: this installation carries no weights. Train them with `flipbook train recipes/...`, "
            "or install flipbook again from a release."
        )
    raise ValueError(
        f"model {str(path)!r} is neither a folder nor shipped with flipbook. {nearest(str(path), shipped)}"
    )


def _downloaded(hub_id: str) -> Path:
    """The folder of a hub's model, from its cache or the network; weights in safetensors files alone."""
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise ValueError(f"model {hub_id!r} is no folder, and as a hub id it needs huggingface_hub. Try pip install 'flipbook[hub]'.") from error
    try:
        return Path(hub.snapshot_download(hub_id, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"]))
    except Exception as error:                                              # the hub's own errors are many, and change
        raise ValueError(
            f"model {hub_id!r} is neither a folder nor could it be read from the hub ({type(error).__name__}). "
            "Try the path of a folder that is there, or the same again when the network is."
        ) from error


def shipped_models() -> list[str]:
    """Names of the models inside this installation."""
    return sorted(p.parent.name for p in SHIPPED.glob(f"*/{INDEX}"))


def weights_hash(system: System) -> str:
    """SHA-256 over names, shapes and float32 values of all weights: equal for equal weights, however they are stored."""
    digest = hashlib.sha256()
    for part, network in sorted(system.parts.items()):
        for key, value in sorted(network.state_dict().items()):
            digest.update(f"{part}.{key}{tuple(value.shape)}".encode())
            value = value.detach().cpu()
            value = value.float() if value.is_floating_point() else value
            digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def card_hash(card: dict[str, Any]) -> str:
    """SHA-256 of a card's content, whatever its layout in the file."""
    return hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()


def describe(folder: str | Path) -> dict[str, Any]:
    """What a model folder holds, from its headers alone: parts with class, parameters, dtypes, bytes; defaults; card."""
    folder = Path(folder)
    index, parts = _read_json(folder / INDEX), {}
    for part, (sub, weights) in PARTS.items():
        if part in OPTIONAL and sub not in index:
            continue
        config = _read_json(folder / sub / "config.json")
        with _opened(folder / sub / weights) as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 (a safetensors file is no dict)
            sizes = [torch.Size(s.get_shape()).numel() for s in slices.values()]
            dtypes = sorted({s.get_dtype() for s in slices.values()})
        parts[part] = {
            "class": config.pop("_class_name"),
            "parameters": sum(sizes),
            "dtypes": dtypes,
            "bytes": (folder / sub / weights).stat().st_size,
            "config": config,
        }
    return {
        "name": index.get("name", folder.name),
        "folder": str(folder),
        "parameters": sum(p["parameters"] for p in parts.values()),
        "bytes": sum(p["bytes"] for p in parts.values()),
        "parts": parts,
        "process": _read_json(folder / SCHEDULER),
        "defaults": index.get("defaults", {}),
        "streaming": index.get("streaming"),
        "card": _read_json(folder / CARD) if (folder / CARD).is_file() else {},
    }


def _write_folder(system: System, folder: Path, dtype: torch.dtype | None) -> None:
    from flipbook import __version__

    index: dict[str, Any] = {"_class_name": "System", "_flipbook_version": __version__, "name": system.name}
    index |= {"method": system.method} if system.method else {}
    index |= {"streaming": asdict(system.streaming)} if system.streaming else {}
    index |= {"classes": list(system.classes)} if system.classes else {}
    for part, network in system.parts.items():
        sub, weights = PARTS[part]
        (folder / sub).mkdir()
        config = to_config(network)
        _write_json(folder / sub / "config.json", config)
        save_file(_stored(network, dtype), folder / sub / weights, metadata={"format": "pt"})
        (folder / sub / weights).chmod(
            (folder / sub / "config.json").stat().st_mode
        )  # safetensors writes for the owner alone
        index[sub] = ["flipbook", config["_class_name"]]
    (folder / SCHEDULER).parent.mkdir()
    _write_json(folder / SCHEDULER, to_config(system.process))
    index["scheduler"] = ["flipbook", "Process"]
    _write_json(folder / CARD, system.card)
    _write_json(folder / INDEX, index | {"defaults": system.defaults})


def _stored(network: nn.Module, dtype: torch.dtype | None) -> dict[str, Tensor]:
    parameters = {name for name, _ in network.named_parameters()}
    return {
        key: value.detach()
        .cpu()
        .to(dtype if dtype and key in parameters and value.is_floating_point() else value.dtype)
        .contiguous()
        for key, value in network.state_dict().items()
    }


def _read_part(folder: Path, weights: str, dtype: torch.dtype) -> nn.Module:
    with unfilled():
        network: nn.Module = from_config(_read_json(folder / "config.json"), str(folder / "config.json"))
    path = folder / weights
    with _opened(path):
        pass  # a named error before the real reading
    found, wanted = load_file(path), network.state_dict()
    problems = {
        "missing": sorted(wanted.keys() - found.keys()),
        "not used": sorted(found.keys() - wanted.keys()),
        "of another shape": [
            f"{k} {tuple(found[k].shape)}, not {tuple(wanted[k].shape)}"
            for k in sorted(found.keys() & wanted.keys())
            if found[k].shape != wanted[k].shape
        ],
    }
    if any(problems.values()):
        lines = [
            f"  {len(keys)} {what}: {', '.join(keys[:6])}{', ...' if len(keys) > 6 else ''}"
            for what, keys in problems.items()
            if keys
        ]
        raise ValueError("\n".join([f"{path} does not fit {folder / 'config.json'}:", *lines]))
    found = {key: value.to(dtype) if value.is_floating_point() else value for key, value in found.items()}
    network.load_state_dict(found, assign=True)
    return network


@contextmanager
def unfilled() -> Iterator[None]:
    """Networks that are built in this block have weights of any value, quickly, and no random number is drawn."""
    with torch.random.fork_rng(devices=[]), _Unfilled():
        yield


class _Unfilled(TorchFunctionMode):
    """Leaves new weights unset: they are about to be read. (The meta device would do as well, but imports for a second.)"""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__ in ("normal_", "uniform_", "kaiming_uniform_", "xavier_uniform_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise ValueError(f"{path} is missing: the model folder is not whole. Copy or download it again.")
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}). Copy or download it again.") from error


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path} is missing: the model folder is not whole. Copy or download it again.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}). Copy or download it again.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds {type(value).__name__}: it should hold an object.")
    return value


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
