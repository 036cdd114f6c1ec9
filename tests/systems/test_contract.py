"""What holds for every system, and for every network that one of them is made of: it is described, each condition that it declares
reaches the clip, and its folder gives it back."""

from __future__ import annotations

import importlib
import re
from dataclasses import replace
from functools import cache
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from flipbook import systems
from flipbook.conditions import (
    Choice,
    Condition,
    Draft,
    FirstFrame,
    Frames,
    LastFrame,
    Motion,
    MotionSeed,
    NoiseAugmentation,
    Text,
    resolve,
)
from flipbook.interop.folder import from_pretrained, save_pretrained
from flipbook.long.known import Known, Shown
from flipbook.sampling import Prepared, prepare, sample_latents, settle, side_multiple
from flipbook.streaming import stream_latents
from flipbook.systems.base import Card, System
from flipbook.systems.describe import about, module_of

OUR_OWN = ("thumb", "bench")                                               # nobody's paper


def configs(name: str) -> dict[str, Any]:
    """The tiny configs of a system's file: `TINY`, those beside it, and those of its other networks, by name."""
    module: Any = module_of(name)
    found = {key: value for key, value in vars(module).items() if key.startswith("TINY") and isinstance(value, type(module.TINY))}
    if hasattr(module, "Kind"):
        stage = getattr(module, "tiny_stage", lambda kind: replace(module.TINY, kind=kind))
        found |= {kind: stage(kind) for kind in get_args(module.Kind) if kind != module.TINY.kind}
    return found


NETWORKS = [(name, config) for name in systems.SYSTEMS for config in configs(name)]


@cache
def awake(name: str, config: str) -> Prepared:
    """A tiny system in which no weight is zero, so that everything that enters matters."""
    torch.manual_seed(0)
    system: System = module_of(name).build(configs(name)[config])
    with torch.no_grad():
        for part in system.parts.values():
            for parameter in part.parameters():
                if not parameter.any():
                    parameter.normal_(std=0.1)
    return prepare(system.eval(), dtype="float32")


def length(system: System) -> int:
    """A short legal length, of two latent frames if that can be."""
    for num_frames in (4, 5, 6):
        try:
            system.latent_ends(num_frames)
        except ValueError:
            continue
        return num_frames
    raise AssertionError("no short clip is legal")


def latents(ready: Prepared, request: tuple[Condition, ...]) -> Tensor:
    system = ready.system
    multiple = side_multiple(system)
    side = -(-8 // multiple) * multiple
    steps = {} if system.draws else {"num_inference_steps": 2}
    settings = settle(system, num_frames=length(system), height=side, width=side, **steps)
    resolved = [resolve(request, settings.size, system.conditions)]
    if system.streaming is None:
        return sample_latents(ready, resolved, settings, [5])
    return torch.cat(list(stream_latents(ready, resolved, settings, [5])), dim=2)


def two_of(system: System, kind: type[Condition]) -> list[Condition]:
    """Two conditions of a kind that say different things."""
    num_frames, whole = length(system), any(entrance.name == "low resolution" for entrance in system.conditions)
    clips = np.random.default_rng(0).integers(0, 256, (2, num_frames, 16, 16, 3), dtype=np.uint8)
    tensors = [torch.from_numpy(clip).permute(3, 0, 1, 2) / 127.5 - 1 for clip in clips]   # (3, T, H, W)
    made: dict[type[Condition], list[Condition]] = {
        Text: [Text("a red circle falls"), Text("a blue square spins")],
        FirstFrame: [FirstFrame(clip[0]) for clip in clips],
        LastFrame: [LastFrame(clip[0]) for clip in clips],
        Frames: [Frames({0: clip[0]}) for clip in clips],
        Draft: [Draft(clip, 0.5) for clip in clips],
        Motion: [Motion(20.0), Motion(200.0)],
        NoiseAugmentation: [NoiseAugmentation(0.0), NoiseAugmentation(0.5)],
        Choice: [Choice(temperature=0.0), Choice(temperature=1.0)],
        MotionSeed: [MotionSeed(1), MotionSeed(2)],
        Known: [Known(frames=clip) if whole else Known(frames=clip[:, :1], places=(0,)) for clip in tensors],
        Shown: [Shown(clip[:, 0]) for clip in tensors],
    }
    return made[kind]


def beside(system: System, kind: type[Condition]) -> tuple[Condition, ...]:
    """What a request needs besides a condition of this kind: the picture that the system starts from, or the small clip that it enlarges."""
    if kind is not Known and any(entrance.name == "low resolution" for entrance in system.conditions):
        return (Known(frames=torch.zeros(3, length(system), 4, 4)),)
    needed = any(entrance.places == (0,) for entrance in system.conditions) and kind not in (FirstFrame, Frames)
    return (FirstFrame(np.full((16, 16, 3), 90, np.uint8)),) if needed else ()


@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_every_system_says_what_it_is_and_what_of_its_paper_is_here(name):
    module = importlib.import_module(systems.SYSTEMS[name])
    assert len(about(module)) > 80
    if name in OUR_OWN:
        assert not hasattr(module, "CARD")
        return
    card = module.CARD
    assert isinstance(card, Card)
    assert card.name == name
    assert re.fullmatch(r"\d{4}\.\d{5}", card.arxiv)
    assert card.year - 2000 - int(card.arxiv[:2]) in (0, 1)                 # a conference may be the year after
    assert card.authors
    assert card.reproduces
    assert card.leaves_out
    assert re.match(r"@\w+\{", card.citation)
    assert card.citation.count("{") == card.citation.count("}")
    assert re.search(r"[^_]title ?= ?\{", card.citation)
    assert re.search(r"year ?= ?\{?20\d\d", card.citation)
    assert module.STAGES


@pytest.mark.parametrize(("name", "config"), NETWORKS)
def test_every_condition_that_a_system_declares_reaches_the_clip(name, config):
    ready, system = awake(name, config), awake(name, config).system
    kinds = dict.fromkeys(kind for entrance in system.conditions for kind in entrance.kinds)
    for kind in kinds:
        requests = [(*beside(system, kind), one) for one in two_of(system, kind)]
        if kind is LastFrame and system.streaming is not None:
            with pytest.raises(ValueError, match="sees only what came before"):
                latents(ready, requests[0])
            continue
        one, other = (latents(ready, request) for request in requests)
        assert one.isfinite().all(), kind.__name__
        assert not torch.equal(one, other), kind.__name__


@pytest.mark.parametrize(("name", "config"), NETWORKS)
def test_every_system_comes_back_from_its_folder(tmp_path, name, config):
    ready, system = awake(name, config), awake(name, config).system
    again = from_pretrained(save_pretrained(system, tmp_path / "model"))
    for same in ("name", "method", "process", "defaults", "sampler_options", "unit_noise", "index_fps", "streaming", "classes"):
        assert getattr(again, same) == getattr(system, same), same
    assert [(one.name, one.kinds, one.places) for one in again.conditions] == [(one.name, one.kinds, one.places) for one in system.conditions]
    back = prepare(again, dtype="float32")
    assert back.record["weights_sha256"] == ready.record["weights_sha256"]
    kind = next((kind for entrance in system.conditions for kind in entrance.kinds), None)
    request = (*beside(system, kind), two_of(system, kind)[0]) if kind else ()
    assert torch.equal(latents(back, request), latents(ready, request))
