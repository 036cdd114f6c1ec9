"""GenTron: an image model at birth, an image model again with its frames apart, and a guidance list of three entries."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autoencoder_peers import randomised
from clips import batch
from flipbook import systems
from flipbook.conditions import Text, resolve
from flipbook.denoisers.gentron import GenTron, GenTronConfig
from flipbook.generate import generate
from flipbook.interop.folder import from_pretrained, save_pretrained
from flipbook.nn.doors import Doors
from flipbook.objectives.base import build_objective
from flipbook.sampling import prepare, sample_latents, settle
from flipbook.systems import gentron

SIZE = {"num_frames": 3, "height": 16, "width": 16, "num_inference_steps": 2}
SMALL = GenTronConfig(text_dim=20, dim=32, depth=2, num_heads=2, mlp_dim=48, places=4)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inputs(frames=3):
    mask = torch.arange(5) < torch.tensor([3, 5])[:, None]
    return random(2, 4, frames, 8, 8), torch.tensor([0.7, 0.2]), Doors(tokens=random(2, 5, 20, seed=2), token_mask=mask)


@pytest.fixture(scope="module")
def net():
    return randomised(GenTron(SMALL))


def frame_by_frame(net, x, t, doors, **told):
    return torch.cat([net(x[:, :, [f]], t, doors, **told) for f in range(x.shape[2])], dim=2)


def test_with_the_weights_of_birth_along_time_the_network_is_its_image_model(net):
    """Check A: also with every other weight random."""
    video = randomised(GenTron(SMALL))
    for block in video.blocks:
        block.along_time.out.weight.zero_()
        block.along_time.out.bias.zero_()
    image = GenTron(replace(SMALL, temporal=False)).eval()
    weights = video.state_dict()
    temporal = {name for name, _ in video.temporal_parameters()}
    image.load_state_dict({key: value for key, value in weights.items() if key not in temporal})
    x, t, doors = inputs()
    torch.testing.assert_close(video(x, t, doors), frame_by_frame(image, x, t, doors), atol=1e-5, rtol=1e-5)
    torch.manual_seed(0)
    assert not GenTron(SMALL)(x, t, doors).any()


def test_frames_apart_are_images_with_whatever_weights_and_together_they_are_not(net):
    """Checks B and C: the mask of a branch, the switch of stills and single frames are one thing."""
    x, t, doors = inputs()
    alone = torch.eye(3, dtype=torch.bool)
    apart = net(x, t, doors, frame_attends=alone)
    torch.testing.assert_close(apart, frame_by_frame(net, x, t, doors), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(apart, net(x, t, doors, image_only=torch.ones(2, 3, dtype=torch.bool)), atol=1e-6, rtol=0)
    assert (net(x, t, doors) - apart).abs().max() > 1e-2
    other = x.clone()
    other[:, :, 2] += 1.0
    assert (net(other, t, doors) - net(x, t, doors))[:, :, 0].abs().max() > 1e-3


def test_with_frames_apart_queries_and_keys_along_time_learn_nothing_and_values_do():
    net = randomised(GenTron(SMALL)).requires_grad_(True)
    x, t, doors = inputs()
    net(x, t, doors, frame_attends=torch.eye(3, dtype=torch.bool)).square().mean().backward()
    for block in net.blocks:
        q, k, v = block.along_time.qkv.weight.grad.chunk(3)
        assert not q.any()
        assert not k.any()
        assert v.abs().max() > 0


def test_the_order_of_frames_is_told_by_their_places(net):
    """Check D: places alone tell frames apart, and only distances between them count."""
    x, t, doors = inputs()
    turned = net(x.flip(2), t, doors).flip(2)
    assert (turned - net(x, t, doors)).abs().max() > 1e-3
    still = torch.zeros(2, 3)
    torch.testing.assert_close(net(x.flip(2), t, doors, frame_index=still).flip(2), net(x, t, doors, frame_index=still), atol=1e-5, rtol=1e-5)
    clock = torch.arange(3.0).expand(2, 3)
    torch.testing.assert_close(net(x, t, doors, frame_index=clock + 37), net(x, t, doors), atol=1e-4, rtol=1e-4)


def test_after_one_step_from_birth_all_weights_along_time_learn():
    """Check E."""
    torch.manual_seed(0)
    net = GenTron(SMALL)
    torch.nn.init.normal_(net.head.weight, std=0.1)
    x, t, doors = inputs()
    grads = []
    for _ in range(2):
        net.zero_grad()
        (net(x, t, doors) - random(*x.shape, seed=9)).square().mean().backward()
        grads.append({name: float(p.grad.abs().max()) for name, p in net.temporal_parameters()})
        with torch.no_grad():
            for p in net.parameters():
                p -= 0.05 * p.grad
    assert all((value > 0) == (".out." in name) for name, value in grads[0].items())
    keys = [name for name in grads[1] if not name.endswith("qkv.bias")]
    assert all(grads[1][name] > 0 for name in keys)


def test_preparing_once_changes_nothing_and_a_sample_does_not_depend_on_its_batch(net):
    x, t, doors = inputs()
    prepared = net.prepare(doors)
    assert torch.equal(net(x, t, prepared), net(x, t, doors))
    for rows in (slice(0, 1), slice(1, 2)):
        torch.testing.assert_close(net(x[rows], t[rows], prepared.select(rows)), net(x, t, doors)[rows], atol=1e-5, rtol=1e-5)


def test_what_cannot_work_is_refused_by_name(net):
    x, t, doors = inputs()
    for changes, message in (
        ({"x": x[..., :3]}, "Try 8x2"), ({"doors": None}, "empty sentence"), ({"cache": {}}, "cache=None"),
        ({"doors": doors.with_(channels=x)}, "channels=None"), ({"doors": doors.with_(vector=torch.ones(2, 1))}, "vector=None"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            net(**{"x": x, "t": t, "doors": doors} | changes)
    with pytest.raises(ValueError, match="even number of channels"):
        GenTronConfig(dim=36, num_heads=4)


# ---------------------------------------------------------------- the system


def awake(**changes):
    torch.manual_seed(0)
    system = systems.build("gentron", tiny=True, **changes).eval()
    randomised(system.denoiser)
    return system


def latents(system, **changes):
    settings = settle(system, **SIZE | changes)
    request = resolve((Text("a red circle falls", "blue"),), settings.size, system.conditions)
    return sample_latents(prepare(system, dtype="float32"), [request], settings, [5])


class Calls:
    """Which branches a run asks: (frames together, words of the text)."""

    def __init__(self, system, monkeypatch):
        self.made = []
        real = system.denoiser.__class__.forward

        def forward(net, x, t, doors=None, **told):
            self.made.append((told.get("frame_attends") is None, float(doors.keys_values[0][0].sum())))
            return real(net, x, t, doors, **told)

        monkeypatch.setattr(system.denoiser.__class__, "forward", forward)


def test_the_guidance_list_goes_from_frames_apart_over_motion_to_text():
    system = awake()
    assert system.guidance_list(["null", "motion", "text"], 7.5, 3) == [("null", 1.0), ("motion", 1.2), ("text", 7.5)]


def test_with_both_weights_one_the_told_network_alone_is_run(monkeypatch):
    system = awake(motion_scale=1.0)
    calls = Calls(system, monkeypatch)
    latents(system, guidance_scale=1.0)
    assert len(calls.made) == 2
    assert len(set(calls.made)) == 1
    assert all(together for together, _ in calls.made)


def test_the_list_is_the_papers_equation_and_weight_zero_takes_exactly_the_motion_away():
    """g = e(0, free) + motion (e(0, moves) - e(0, free)) + text (e(text, moves) - e(0, moves)), on one step of a run."""
    from flipbook.guidance import guide

    system = awake()
    x, t = random(1, 4, 3, 8, 8), torch.tensor([0.6])
    empty, told = (Doors(*system.text_encoder.encode([words])) for words in ("blue", "a red circle falls"))
    net = lambda doors, **how: (lambda x, t: system.denoiser(x, t, doors, **how))
    branches = {"null": net(empty, frame_attends=torch.eye(3, dtype=torch.bool)), "motion": net(empty), "text": net(told)}
    free, moves, full = (branch(x, t) for branch in branches.values())
    for motion, text in ((1.2, 7.5), (0.0, 1.0), (1.0, 1.0), (0.5, 3.0)):
        entries = [("null", 1.0), ("motion", motion), ("text", text)]
        torch.testing.assert_close(guide(branches, entries)(x, t), free + motion * (moves - free) + text * (full - moves), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(guide(branches, [("null", 1.0), ("motion", 0.0), ("text", 1.0)])(x, t), free + (full - moves), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("scale", "asked"), [(1.0, 3), (7.5, 3)])
def test_a_run_asks_the_branch_without_motion_and_its_weight_matters(monkeypatch, scale, asked):
    system, other = awake(motion_scale=1.2), awake(motion_scale=2.0)
    assert (latents(system, guidance_scale=scale) - latents(other, guidance_scale=scale)).abs().max() > 1e-3
    calls = Calls(system, monkeypatch)
    latents(system, guidance_scale=scale)
    first = calls.made[:asked]
    assert [together for together, _ in first] == [False, True, True]
    assert first[0][1] == first[1][1] != first[2][1]


def test_clips_without_motion_and_stills_are_trained_by_one_switch(monkeypatch):
    system = awake()
    system.denoiser.requires_grad_(True)
    heard = []
    real = system.denoiser.forward
    monkeypatch.setattr(system.denoiser, "forward", lambda *a, image_only=None, **k: (heard.append(image_only), real(*a, image_only=image_only, **k))[1])
    o = build_objective("conditioned", system, {"motion_free": 0.5, "drop_text": 0.0})
    o.loss(batch(), [11, 12, 13, 14])
    (switch,) = heard
    assert switch.any()
    assert not switch.all()
    assert ((switch.sum(1) == 0) | (switch.sum(1) == 3)).all()
    build_objective("conditioned", system, {"motion_free": 0.0}).loss(batch(), [11, 12, 13, 14])
    assert heard[1] is None
    with pytest.raises(ValueError, match="motion_free=0"):
        build_objective("conditioned", systems.build("thumb", tiny=True), {"motion_free": 0.1})


def test_stills_behind_a_clip_lose_what_they_would_alone():
    system = awake()
    system.denoiser.requires_grad_(True)
    loss = {form: build_objective("conditioned", system, {"stills": 1, "form": form}).loss(batch(), [11, 12, 13, 14]).loss for form in ("append", "separate")}
    torch.testing.assert_close(loss["append"], loss["separate"], atol=1e-5, rtol=1e-5)


def test_a_stage_moves_its_groups_and_leaves_every_other_bit():
    """Check H."""
    for stage, moves in zip(gentron.STAGES, (False, True), strict=True):
        system = awake()
        options = stage.recipe()
        o = build_objective(options.pop("name"), system, options)
        before = {name: p.detach().clone() for name, p in system.denoiser.named_parameters()}
        temporal = {name for name, _ in system.denoiser.temporal_parameters()}
        optimiser = torch.optim.AdamW([p for p in o.trainable().parameters() if p.requires_grad], lr=0.01)
        o.loss(batch(), [11, 12, 13, 14]).loss.mean().backward()
        optimiser.step()
        moved = {name for name, p in system.denoiser.named_parameters() if not torch.equal(p, before[name])}
        assert moved - temporal
        assert bool(moved & temporal) == moves


def test_a_tiny_one_makes_a_video_and_comes_back_from_its_folder(tmp_path):
    system = awake()
    settings = {"num_frames": 3, "height": 32, "width": 32, "num_inference_steps": 2, "seed": 1, "dtype": "float32"}
    (video,) = generate(system, "a red circle", **settings)
    assert video.frames.shape == (3, 32, 32, 3)
    save_pretrained(system, tmp_path / "model")
    (again,) = generate(from_pretrained(tmp_path / "model"), "a red circle", **settings)
    assert (again.frames == video.frames).all()


def test_the_published_sizes():
    with torch.device("meta"):
        images = [GenTron(replace(config, temporal=False)) for config in (gentron.XL_2, gentron.G_2)]
    counts = [sum(p.numel() for p in net.parameters()) for net in images]
    assert [round(count / 1e9, 1) for count in counts] == [0.8, 2.9]
