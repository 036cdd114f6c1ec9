"""Networks that look at clips for the metrics: one face, and a hash that tells them apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from flipbook.metrics.protocols import SetProtocol
from flipbook.metrics.resize import resize_clips
from flipbook.metrics.torchscript import file_hash, fill, load_state_dict, load_torchscript


@dataclass(frozen=True)
class Extractor:
    """name: what it is.   sha256: of its weights.   encode: clips (B, 3, T, H, W) in [-1, 1], as the protocol sizes them, to (B, D)."""

    name: str
    sha256: str
    encode: Callable[[Tensor], Tensor]


def build_extractor(protocol: SetProtocol, weights: str | Path | None = None, *, allow_torchscript: bool = False) -> Extractor:
    """The network of a protocol. weights: the file that the user brings; only the project's own network needs none.

    Raises ValueError if the file is missing or does not fit, CodeRefused for TorchScript that nobody allowed.
    """
    if protocol.extractor == "world-features":
        if weights is not None:
            raise ValueError(f"{protocol.name} looks with flipbook's own network and takes no weights. Leave {weights} out.")
        return world_features()
    if weights is None:
        raise ValueError(f"{protocol.name} needs weights that flipbook may not ship: {NEEDS[protocol.extractor]}. Give their file.")
    if protocol.extractor == "i3d":
        return i3d_features(weights)
    if protocol.extractor == "inception":
        return inception_features(weights)
    return torchscript_features(weights, protocol.extractor, allow=allow_torchscript)


NEEDS = {
    "i3d": "a state dict of the PyTorch I3D with 400 Kinetics classes",
    "i3d-torchscript": "the TorchScript I3D of StyleGAN-V",
    "i3d-torchscript-plain": "the TorchScript I3D of StyleGAN-V",
    "inception": "a state dict of the Inception-v3 of FID, from TensorFlow's graph of December 2015",
    "torchscript": "a TorchScript file that maps clips (B, 3, T, H, W) in [-1, 1] to (B, D)",
}
"""What a user has to bring, by kind of extractor."""


def world_features() -> Extractor:
    """The network shipped with flipbook, 64 features."""
    from flipbook.metrics.worldnet import shipped_world_net

    net = shipped_world_net()
    return Extractor("world-features", network_hash(net), net)


def random_world_features(seed: int = 0) -> Extractor:
    """The same network untrained: a control. What holds in one of the two only is flagged by whoever reports it."""
    from flipbook.metrics.worldnet import WorldNet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = WorldNet().eval().requires_grad_(False)
    return Extractor(f"world-features-untrained-{seed}", network_hash(net), net)


def i3d_features(path: str | Path) -> Extractor:
    """400 logits of I3D, from a state dict of the PyTorch port."""
    from flipbook.metrics.i3d import I3D

    net = fill(I3D(), load_state_dict(path), path)
    return Extractor("i3d-k400-logits", network_hash(net), net)


def inception_features(path: str | Path) -> Extractor:
    """2048 pooled features of the Inception-v3 of FID, of each clip's only frame."""
    from flipbook.metrics.inception import FidInception

    net = fill(FidInception(), load_state_dict(path), path)
    scale = 255 / 256                          # the graph of FID sees (v - 128) / 128 where our frames are v / 127.5 - 1
    return Extractor("inception-2015-pool", network_hash(net), lambda x: net(x[:, :, 0] * scale - 1 / 256))


def torchscript_features(path: str | Path, kind: str = "torchscript", *, allow: bool = False) -> Extractor:
    """A TorchScript network. kind "i3d-torchscript": it scales and resizes bytes itself, as StyleGAN-V calls it; "...-plain": it is given
    prepared frames; "torchscript": it is simply called.
    """
    net = load_torchscript(path, allow=allow)
    calls: dict[str, Callable[[Tensor], Tensor]] = {
        "i3d-torchscript": lambda x: net((x + 1) * 127.5, rescale=True, resize=True, return_features=True),
        "i3d-torchscript-plain": lambda x: net(x, rescale=False, resize=False, return_features=True),
        "torchscript": net,
    }
    return Extractor(kind, file_hash(path), calls[kind])


def network_hash(net: nn.Module) -> str:
    """SHA-256 over names, shapes and float32 values of a network's weights: equal for equal weights, however they are stored."""
    digest = hashlib.sha256()
    for key, value in sorted(net.state_dict().items()):
        if key.endswith("num_batches_tracked"):
            continue
        digest.update(f"{key}{tuple(value.shape)}".encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@torch.inference_mode()
def extract(clips: Iterable[Tensor], extractor: Extractor, protocol: SetProtocol, batch_size: int = 8) -> np.ndarray:
    """Features float64 (N, D) of clips (3, T, H, W), which need not have one size. Sizing is done clip by clip, so batches are invisible."""
    rows: list[np.ndarray] = []
    waiting: list[Tensor] = []

    def flush() -> None:
        if waiting:
            features = extractor.encode(torch.stack(waiting))
            rows.append(features.flatten(1).double().cpu().numpy())
            waiting.clear()

    resizes = protocol.extractor != "i3d-torchscript"                            # that one resizes inside
    for clip in clips:
        sized = resize_clips(clip[None], protocol.input_rule, protocol.input_size)[0] if resizes else clip
        if waiting and (len(waiting) == batch_size or waiting[0].shape != sized.shape):
            flush()
        waiting.append(sized)
    flush()
    if not rows:
        raise ValueError("no clip was long enough to be looked at. Try longer clips, or a protocol with fewer frames.")
    return np.concatenate(rows)
