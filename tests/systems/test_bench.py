"""The bench: an image model first, then inserts that leave every bit of it alone and can be switched off again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import flipbook
from flipbook import systems
from flipbook.checkpoint import load_newest
from flipbook.conditions import FirstFrame, Text
from flipbook.data.labels import LABELS
from flipbook.denoisers.unet import parameter_group
from flipbook.generate import generate
from flipbook.interop.folder import from_pretrained, save_pretrained, shipped_models, weights_hash
from flipbook.nn.doors import Doors
from flipbook.objectives.base import build_objective
from flipbook.objectives.telling import Teller
from flipbook.systems.image_weights import start_from_image_model, without_inserts
from flipbook.train import train
from flipbook.training.optim import is_hidden_matrix
from flipbook.training.plan import make_objective
from flipbook.training.recipe import load_recipe, parse_recipe

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
DATA = [{"world": "shapes", "labels": True}]


def image_model(seed=0):
    """Random weights, silent branches too, so that everything matters."""
    torch.manual_seed(seed)
    return loud(systems.build("bench", tiny=True, denoiser={"inserts": []}))


def video_model(image, seed=1):
    """Inserts with random weights on an image model's."""
    torch.manual_seed(seed)
    system = systems.build("bench", tiny=True)
    start_from_image_model(system.denoiser, image.denoiser.state_dict())
    system.text_encoder, system.autoencoder = image.text_encoder, image.autoencoder
    return loud(system, "temporal")


@torch.no_grad()
def loud(system, *groups):
    for name, parameter in system.denoiser.named_parameters():
        if not groups or parameter_group(name) in groups:
            parameter.add_(0.1 * torch.randn_like(parameter))
    return system.eval()


def asked(system, frames=3, seed=2):
    g = torch.Generator().manual_seed(seed)
    tokens, mask = system.text_encoder.encode(["a red star falls", "a blue circle"])
    return torch.randn(2, 4, frames, 8, 8, generator=g), torch.rand(2, frames, generator=g), Doors(tokens=tokens, token_mask=mask)


def test_inserts_switched_off_give_back_the_image_model_exactly(tmp_path):
    image = image_model()
    video = video_model(image)
    call = asked(image)
    want = image.denoiser(*call)
    folder = save_pretrained(video, tmp_path / "video")
    assert torch.equal(from_pretrained(folder, inserts="off").denoiser(*call), want)
    assert torch.equal(video.denoiser(*call, image_only=torch.ones(2, 3, dtype=torch.bool)), want)
    assert (from_pretrained(folder).denoiser(*call) - want).abs().max() > 0.01
    assert weights_hash(without_inserts(video)) == weights_hash(image)


def test_the_image_model_inside_shares_the_weights_and_leaves_their_freezing_alone():
    video = video_model(image_model())
    inside = without_inserts(video)
    own = dict(video.denoiser.named_parameters())
    assert all(p.data_ptr() == own[name].data_ptr() for name, p in inside.denoiser.named_parameters())
    assert not any(p.requires_grad for p in own.values())


def test_switching_off_what_is_not_there_is_an_error(tmp_path):
    folder = save_pretrained(image_model(), tmp_path / "image")
    with pytest.raises(ValueError, match="has none"):
        from_pretrained(folder, inserts="off")
    with pytest.raises(ValueError, match="inserts='away'"):
        from_pretrained(folder, inserts="away")


def recipe(tmp_path, **changes):
    return parse_recipe({
        "system": "bench", "output": str(tmp_path / "run"), "data": DATA, "num_frames": 4, "frame_stride": 5, "height": 32, "width": 32,
        "batch_size": 2, "steps": 2, "num_workers": 0, "threads": 1, "optimizer": {"name": "muon", "lr": 0.01, "weight_decay": 0.1}, "warmup": 0,
        "schedule": "constant", "ema": 0.5, "validation": {"every": 0}, "samples": {"every": 0}, "log": {"tensorboard": False}, **changes,
    })  # fmt: skip


def test_training_the_inserts_keeps_every_bit_of_the_image_model_in_weights_average_and_folder(tmp_path):
    image = image_model()
    objective = build_objective("denoising", video_model(image), {"train": {"denoiser": "temporal"}, "labels": 0.2})
    before = {name: p.detach().clone() for name, p in objective.system.denoiser.named_parameters()}
    train(recipe(tmp_path), objective=objective)
    saved = from_pretrained(tmp_path / "run/model")                         # the averaged weights
    for made in (objective.system.denoiser, saved.denoiser):
        for name, p in made.named_parameters():
            assert torch.equal(p, before[name]) == (parameter_group(name) != "temporal"), name
    assert all(torch.equal(a, b) for a, b in zip(saved.text_encoder.parameters(), image.text_encoder.parameters(), strict=True))
    tensors = load_newest(tmp_path / "run").tensors
    for kind in ("ema", "optimizer"):
        assert all(".inserts" in key or key.startswith("teller.") for key in tensors[kind])
    call = asked(image)
    assert torch.equal(without_inserts(saved).denoiser(*call), image.denoiser(*call))


def test_muon_moves_every_matrix_of_the_motion_modules():
    for name, p in systems.build("bench", tiny=True).denoiser.named_parameters():
        if parameter_group(name) == "temporal" and p.ndim > 1:
            assert is_hidden_matrix(name, p), name


@pytest.mark.parametrize("stage", ["bench-1-stills", "bench-2-inserts"])
def test_a_recipe_trains_the_groups_of_its_stage(stage, tmp_path):
    image = image_model()
    folder = str(save_pretrained(image, tmp_path / "image"))
    changes = [f"output={tmp_path / 'run'}", "parts={}"] + ([f"image={folder}"] if stage == "bench-2-inserts" else [])
    made = load_recipe(RECIPES / f"{stage}.yaml", changes)
    tiny = {"depths": [1, 1], "widths": [16, 32], "transformers": [0, 1], "head_dim": 16, "text_dim": 32, "groups": 8}
    config = {"denoiser": {**tiny, **made.system_config.get("denoiser", {})}, "text_encoder": {"dim": 32, "depth": 1, "num_heads": 2}}
    objective = make_objective(made.model_copy(update={"system_config": config}), Alone())
    learning = {name for name, p in objective.trainable().named_parameters() if p.requires_grad}
    groups = {parameter_group(name.removeprefix("denoiser.")) for name in learning if name.startswith("denoiser.")}
    parts = {name.split(".")[0] for name in learning}
    assert groups == ({"spatial"} if stage == "bench-1-stills" else {"temporal"})
    assert parts == ({"denoiser", "text_encoder", "teller"} if stage == "bench-1-stills" else {"denoiser", "teller"})
    if stage == "bench-2-inserts":
        call = asked(image)
        assert torch.equal(objective.system.denoiser(*call), image.denoiser(*call))   # identity at birth


class Alone:
    """A group of one process."""

    device = torch.device("cpu")


def test_a_given_first_frame_stays_what_it_is():
    system = video_model(image_model())
    picture = np.full((64, 64, 3), 90, np.uint8)
    [video] = generate(system, [[Text("a red star falls"), FirstFrame(picture)]], num_frames=2, num_inference_steps=1)
    kept = system.autoencoder.decode(system.autoencoder.encode(torch.full((1, 3, 1, 64, 64), 90 / 127.5 - 1.0)))
    want = ((kept[0, :, 0].permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255).byte().numpy()
    assert np.abs(video.frames[0].astype(int) - want.astype(int)).max() <= 1


def test_the_shipped_sizes_stay_below_24_megabytes():
    with torch.device("meta"):
        system = systems.build("bench")
    assert sum(p.numel() for part in system.parts.values() for p in part.parameters()) * 2 < 24e6


def test_labels_are_read_from_a_u_nets_map_and_teach_it():
    system = image_model()
    objective = build_objective("denoising", system, {"given": 0.0, "labels": 1.0})
    features = system.denoiser.features
    assert features.dim == 32
    x, t, doors = asked(system)
    system.denoiser(x, t, doors)
    teller = objective._teller
    assert teller._tokens.shape == (2, 3, (8 // features.cell) ** 2, features.dim)
    maps = [{"kinds": np.ones((3, 8, 8), np.uint8)}, {}]
    told = teller.loss(maps)
    told.sum().backward()
    assert told[0] > 0
    assert told[1] == 0
    assert system.denoiser.conv_in.weight.grad.abs().max() > 0
    assert system.denoiser.conv_out.weight.grad is None                     # behind the features


def test_when_a_thing_moves_the_told_map_moves_with_it():
    """A head that has learnt to tell a patch at some places tells it at places where it never was."""
    system = image_model()
    net, features = system.denoiser, system.denoiser.features
    torch.manual_seed(3)
    teller = Teller(net, features.cell)
    optimiser = torch.optim.Adam(teller.parameters(), lr=0.02)
    tokens, mask = system.text_encoder.encode([""])

    def seen(places):
        x, truth = torch.zeros(len(places), 4, 1, 16, 16), np.zeros((len(places), 1, 16, 16), np.uint8)
        for n, (y, left) in enumerate(places):
            x[n, :, 0, y : y + 3, left : left + 3] = 3.0
            truth[n, 0, y : y + 3, left : left + 3] = 1
        with torch.no_grad():
            net(x, torch.zeros(len(places)), Doors(tokens=tokens.expand(len(places), -1, -1), token_mask=mask.expand(len(places), -1)))
        return truth

    learnt = [(y, left) for y in range(1, 12) for left in range(1, 6)]
    truth = seen(learnt)
    for _ in range(100):
        optimiser.zero_grad()
        teller.loss([{"kinds": one} for one in truth]).mean().backward()
        optimiser.step()
    truth = seen(elsewhere := [(2, 9), (9, 8), (4, 10), (8, 7)])
    s = features.cell
    logits = teller.heads["kinds"](teller._tokens)[:, 0].view(len(elsewhere), 16 // s, 16 // s, LABELS["kinds"], s, s)
    told = logits.argmax(3).permute(0, 1, 3, 2, 4).reshape(-1, 16, 16).numpy() == 1
    for n, (y, left) in enumerate(elsewhere):                               # as far as a cell of the features tells
        assert np.abs(np.argwhere(told[n]).mean(0) - (y + 1, left + 1)).max() < s, (y, left)


@pytest.mark.skipif("bench" not in shipped_models(), reason="this checkout ships no bench")
@pytest.mark.parametrize("inserts", [None, "off"])
def test_frames_of_the_shipped_model_know_each_other_by_its_inserts_alone(inserts):
    net = flipbook.load("bench", inserts=inserts).system.denoiser
    generator = torch.Generator().manual_seed(0)
    x, tokens = torch.randn(1, 4, 2, 8, 8, generator=generator), torch.randn(1, 3, 192, generator=generator)
    other = torch.cat([x[:, :, :1], torch.randn(1, 4, 1, 8, 8, generator=generator)], dim=2)
    t = torch.tensor([0.7])
    with torch.inference_mode():
        change = (net(other, t, Doors(tokens=tokens)) - net(x, t, Doors(tokens=tokens)))[:, :, 0].abs().max().item()
    assert (change == 0) if inserts == "off" else change > 1e-2
