"""W.A.L.T.: windows that are windows, images that are images, one modulation with thin parts, and a cascade of sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autoencoder_peers import randomised
from clips import batch
from flipbook import systems
from flipbook.conditions import Text, resolve
from flipbook.denoisers import walt as network
from flipbook.denoisers.walt import WALT, WALTConfig
from flipbook.generate import generate
from flipbook.interop.folder import from_pretrained, save_pretrained
from flipbook.long.cascade import run_cascade
from flipbook.long.known import Known
from flipbook.long.stage import sample_stage
from flipbook.nn import dit_block
from flipbook.nn.attention import attend_dense
from flipbook.nn.doors import Doors
from flipbook.objectives.base import build_objective
from flipbook.sampling import prepare, sample_latents, settle
from flipbook.systems import walt

SMALL = WALTConfig(in_channels=4, text_dim=20, dim=32, depth=4, num_heads=2, mlp_dim=48, windows=((1, 4, 4), (3, 2, 2)), places=(3, 4, 4))
SEEDS = [11, 12, 13, 14]


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inputs(frames=3, side=4, batch=2):
    mask = torch.arange(5) < torch.tensor([3, 5])[:batch, None]
    return random(batch, 4, frames, side, side), torch.tensor([0.7, 0.2])[:batch], Doors(tokens=random(batch, 5, 20, seed=2), token_mask=mask)


@pytest.fixture(scope="module")
def net():
    return randomised(WALT(SMALL))


def felt(net, x, where, **told):
    """How far the answer changes in each cell, (T, H, W), when x changes in the cells `where`."""
    other, (_, t, doors) = x.clone(), inputs(x.shape[2], x.shape[-1])
    other[(slice(None), slice(None), *where)] += 1.0
    return (net(other, t, doors, **told) - net(x, t, doors, **told)).abs().amax((0, 1))


@pytest.mark.parametrize(("frames", "side"), [(3, 4), (4, 6), (1, 4)])
def test_windows_compute_what_a_mask_of_windows_does(net, monkeypatch, frames, side):
    x, t, doors = inputs(frames, side)
    out = net(x, t, doors)
    monkeypatch.setattr(dit_block, "attend", attend_dense)
    torch.testing.assert_close(net(x, t, doors), out, atol=1e-5, rtol=1e-5)


def test_one_layer_stays_within_its_windows_and_two_kinds_of_them_join_the_whole_clip():
    x, _, _ = inputs()
    within_frames = randomised(WALT(replace(SMALL, depth=1)))
    assert (felt(within_frames, x, (1, 0, 0)) > 1e-6).tolist() == [[[frame == 1] * 4] * 4 for frame in range(3)]
    boxes = randomised(WALT(replace(SMALL, depth=1, windows=((3, 2, 2),))))
    assert (felt(boxes, x, (1, 0, 0)) > 1e-6).tolist() == [[[row < 2 and column < 2 for column in range(4)] for row in range(4)]] * 3
    assert (felt(randomised(WALT(SMALL)), x, (1, 0, 0)) > 1e-6).all()


def test_images_see_themselves_alone_in_layers_of_space_and_time_whether_by_the_switch_or_as_single_frames(net):
    x, t, doors = inputs()
    stills = torch.ones(2, 3, dtype=torch.bool)
    together = net(x, t, doors, image_only=stills, frame_index=torch.zeros(2, 3))
    apart = torch.cat([net(x[:, :, [f]], t, doors) for f in range(3)], dim=2)
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)
    behind = torch.tensor([[False, False, True]] * 2)
    x2, clip = x.clone(), net(x[:, :, :2], t, doors)
    torch.testing.assert_close(net(x, t, doors, image_only=behind)[:, :, :2], clip, atol=1e-5, rtol=1e-5)
    x2[:, :, 2] += 1.0
    assert torch.equal(net(x2, t, doors, image_only=behind)[:, :, :2], net(x, t, doors, image_only=behind)[:, :, :2])
    assert (net(x2, t, doors) - net(x, t, doors))[:, :, :2].abs().max() > 1e-3


def test_in_images_queries_and_keys_of_space_and_time_get_exactly_no_gradient():
    net = randomised(WALT(SMALL)).requires_grad_(True)
    x, t, doors = inputs(1)
    net(x, t, doors).square().mean().backward()
    for i, block in enumerate(net.blocks):
        q, k, v = block.attention.qkv.weight.grad.chunk(3)
        assert bool(q.any()) == bool(k.any()) == (i % 2 == 0)
        assert v.any()
        for norm in (block.attention.q_norm, block.attention.k_norm):
            assert bool(norm.gain.grad.any()) == (i % 2 == 0)


def scales(one, monkeypatch):
    """The scale of the attention of each layer, as its tokens meet it."""
    x, t, doors = inputs()
    seen, original = [], network.modulated
    with monkeypatch.context() as patch:
        patch.setattr(network, "modulated", lambda h, shift, scale, eps: (seen.append(scale[:, :, 0]), original(h, shift, scale, eps))[1])
        one(x, t, doors)
    return seen[::2]


def test_without_their_own_thin_part_all_layers_have_the_shared_modulation_and_with_it_they_have_not(net, monkeypatch):
    plain = randomised(WALT(SMALL))
    for block in plain.blocks:
        block.up.weight.zero_()
    shared = plain.modulation(torch.nn.functional.silu(plain.time(inputs()[1][:, None]))).unflatten(-1, (6, -1))[:, :, 1]
    assert shared.abs().max() > 0.01
    assert all(torch.equal(scale, shared) for scale in scales(plain, monkeypatch))
    assert not torch.allclose(*scales(net, monkeypatch)[:2], atol=1e-3)
    thin = [p.numel() for name, p in net.named_parameters() if ".up." in name or ".down." in name]
    assert sum(thin) == SMALL.depth * SMALL.rank * 7 * SMALL.dim


def test_at_birth_the_answer_is_zero_and_every_layer_the_identity():
    torch.manual_seed(0)
    net = WALT(SMALL)
    x, t, doors = inputs()
    assert not net(x, t, doors).any()
    tokens, shared, turns = random(2, 3, 16, 32), torch.zeros(2, 1, 6, 32), torch.ones(2, 48, 8, 2)
    text = net.prepare(doors).keys_values[0]
    for block in net.blocks:
        assert torch.equal(block(tokens, random(2, 1, 32), shared, text if block.cross else None, doors.token_mask, turns, 4, None, None), tokens)


def test_preparing_once_changes_nothing_and_a_sample_does_not_depend_on_its_batch(net):
    x, t, doors = inputs()
    prepared = net.prepare(doors)
    assert len(prepared.keys_values) == 2                                   # layers of space and time read no text
    assert torch.equal(net(x, t, prepared), net(x, t, doors))
    for rows in (slice(0, 1), slice(1, 2)):
        torch.testing.assert_close(net(x[rows], t[rows], prepared.select(rows)), net(x, t, doors)[rows], atol=1e-5, rtol=1e-5)


def test_longer_and_larger_clips_have_places_between_those_that_were_learned(net):
    for frames, side in ((3, 4), (7, 8)):
        x, t, doors = inputs(frames, side)
        assert torch.isfinite(net(x, t, doors)).all()
    x, t, doors = inputs()
    clock = torch.arange(3.0).expand(2, 3)
    torch.testing.assert_close(net(x, t, doors, frame_index=clock + 37), net(x, t, doors), atol=1e-4, rtol=1e-4)
    assert (net(x, t, doors, frame_index=clock / 2) - net(x, t, doors)).abs().max() > 1e-3


def test_what_cannot_work_is_refused_by_name(net):
    x, t, doors = inputs()
    for changes, message in (
        ({"doors": None}, "empty sentence"), ({"cache": {}}, "cache=None"), ({"doors": doors.with_(channels=x)}, "channels=None"),
        ({"doors": doors.with_(vector=torch.ones(2, 1))}, "vector=None"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            net(**{"x": x, "t": t, "doors": doors} | changes)
    with pytest.raises(ValueError, match="at least one frame"):
        WALTConfig(windows=((0, 4, 4),))
    with pytest.raises(ValueError, match="even number of channels"):
        WALTConfig(dim=30, num_heads=4)
    with pytest.raises(ValueError, match=r"no network of W.A.L.T.*base, upsampler"):
        walt.WALTSystemConfig(kind="middle")


# ---------------------------------------------------------------- the system


def awake(kind="base", **changes):
    torch.manual_seed(0)
    system = walt.build(replace(walt.TINY, kind=kind, **changes)).eval()
    randomised(system.denoiser)
    return system


def test_an_image_and_the_first_frame_of_a_clip_have_one_latent():
    system = awake()
    clip = random(1, 3, 9, 16, 16).clamp(-1, 1)
    torch.testing.assert_close(system.autoencoder.encode(clip[:, :, :1]), system.autoencoder.encode(clip)[:, :, :1], atol=1e-5, rtol=1e-5)


def test_training_tells_none_one_or_two_latent_frames_and_their_mask():
    system = awake()
    counts = []
    for share, expected in ((1.0, {1, 2}), (0.0, {0})):
        known = {"take": "first", "counts": (1, 2), "share": share}
        rows = build_objective("conditioned", system, {"known": known, "drop_text": 0.0}).rows(batch(frames=9), range(4), SEEDS, torch.full((4,), 0.5), False)
        mask = rows.doors.channels[:, -1].amax((2, 3))                      # (B, T)
        counts = mask.sum(1).int().tolist()
        assert set(counts) <= expected
        assert all(mask[i, : counts[i]].all() for i in range(4))
        assert torch.equal(rows.counts, mask == 0)
        hidden = rows.doors.channels[:, :-1] * (1 - rows.doors.channels[:, -1:])
        assert not hidden.any()


def test_every_stage_is_a_recipe_of_its_network():
    for stage, kind in zip(walt.STAGES, ("base", "base", "upsampler"), strict=True):
        system, recipe = awake(kind), stage.recipe()
        for part in system.parts.values():
            part.requires_grad_(True)
        o = build_objective(recipe.pop("name"), system, recipe)
        losses = o.loss(batch(frames=9), SEEDS)
        assert torch.isfinite(losses.loss).all()
        losses.loss.mean().backward()


def test_known_frames_are_kept_in_mind_and_have_a_weight_of_their_own():
    system, asked = awake(), {"num_frames": 9, "fps": 8.0, "height": 16, "width": 16, "seeds": [1], "num_inference_steps": 2}
    assert system.guidance_list(["null", "known", "text"], 7.5, 3) == [("null", 1.0), ("known", 1.0), ("text", 7.5)]
    clips = [random(3, 5, 16, 16, seed=seed).clamp(-1, 1) for seed in (1, 2)]
    made = [sample_stage(system, [(Text("a ball"), Known(frames=clip, places=(0, 1, 2, 3, 4)))], **asked) for clip in clips]
    assert (made[0] - made[1]).abs().max() > 1e-3
    assert (made[0] - sample_stage(awake(known_scale=3.0), [(Text("a ball"), Known(frames=clips[0], places=(0, 1, 2, 3, 4)))], **asked)).abs().max() > 1e-4


def test_the_published_cascade_and_a_longer_one_in_chunks():
    assert [(s.num_frames, s.height, s.width) for s in walt.cascade().stages] == [(17, 128, 224), (17, 256, 448), (17, 512, 896)]
    longer = walt.cascade(num_frames=41)
    assert [len(list(stage.plan())) for stage in longer.stages] == [3, 3, 3]
    assert all(len(step.observed) in (0, 5) for step in longer.stages[0].plan())


def test_a_tiny_cascade_goes_on_from_its_own_frames_and_grows(tmp_path):
    made = {"walt-base": awake(), "walt-upsampler": awake("upsampler")}
    plan = walt.cascade(num_frames=9, height=8, width=8, window=5, overlap=1)
    for stage in plan.stages:
        plan = plan.with_stage(stage.name, num_inference_steps=1, guidance_scale=1.0)
    video = run_cascade(plan, "a ball", 3, tmp_path, lambda name: (made[name], name))
    assert video.shape == (3, 9, 32, 32)
    assert torch.isfinite(video).all()


def test_a_tiny_one_makes_a_video_and_comes_back_from_its_folder(tmp_path):
    system = systems.build("walt", tiny=True).eval()
    randomised(system.denoiser)
    settings = {"num_frames": 5, "height": 16, "width": 16, "num_inference_steps": 2, "seed": 1, "dtype": "float32"}
    (video,) = generate(system, "a red circle", **settings)
    assert video.frames.shape == (5, 16, 16, 3)
    save_pretrained(system, tmp_path / "model")
    again = from_pretrained(tmp_path / "model")
    assert (generate(again, "a red circle", **settings)[0].frames == video.frames).all()
    with pytest.raises(ValueError, match="Try num_frames=5 or 9"):
        generate(system, "a red circle", **settings | {"num_frames": 6})


def test_sampling_begins_with_noise_alone():
    system = awake()
    settings = settle(system, num_frames=5, height=16, width=16, num_inference_steps=2)
    assert float(system.process.path.alpha(system.levels(2, 2)[0, 0])) == 0.0
    request = resolve((Text("a ball"),), settings.size, system.conditions)
    assert torch.isfinite(sample_latents(prepare(system, dtype="float32"), [request], settings, [1])).all()


def heard(system, monkeypatch):
    """What the denoiser was told of its own estimate, call by call, and what it answered."""
    calls, real = [], WALT.forward

    def forward(net, x, t, doors=None, **told):
        out = real(net, x, t, doors, **told)
        calls.append((x, t, doors.estimate, out, torch.is_grad_enabled()))
        return out

    monkeypatch.setattr(WALT, "forward", forward)
    return calls


def test_no_estimate_is_an_estimate_of_zeros_and_another_one_matters(net):
    told = randomised(WALT(replace(SMALL, self_conditioned=True)))
    x, t, doors = inputs()
    out = told(x, t, doors)
    torch.testing.assert_close(told(x, t, doors.with_(estimate=torch.zeros_like(x))), out)
    assert (told(x, t, doors.with_(estimate=x)) - out).abs().max() > 1e-3
    with pytest.raises(ValueError, match="estimate=None"):
        net(x, t, doors.with_(estimate=x))


def test_training_tells_some_rows_their_own_first_answer_without_a_gradient(monkeypatch):
    system = awake()
    calls = heard(system, monkeypatch)
    o = build_objective("conditioned", system, {"estimate": 0.5, "drop_text": 0.0})
    o.loss(batch(frames=9), SEEDS)
    (x, t, nothing, first, learns), (_, _, estimate, _, again) = calls
    assert nothing is None
    assert (learns, again) == (False, True)
    rows = estimate.flatten(1).any(1)
    assert rows.any()
    assert not rows.all()
    torch.testing.assert_close(estimate[rows], system.process.to_x0(first, x, t)[rows])
    for seed in range(4):                                                   # told or not: processes that share weights ask as often as each other
        calls.clear()
        o.loss(batch(1, frames=9), [seed])
        assert len(calls) == 2
    calls.clear()
    build_objective("conditioned", system, {}).loss(batch(frames=9), SEEDS)
    assert len(calls) == 1
    with pytest.raises(ValueError, match=r"estimate=0, or self_conditioned"):
        build_objective("conditioned", systems.build("thumb", tiny=True), {"estimate": 0.5})


@pytest.mark.parametrize("path", ["generate", "stage"])
def test_every_step_but_the_first_is_told_what_the_last_one_thought_in_all_branches(monkeypatch, path):
    system, thoughts = awake(), []
    calls = heard(system, monkeypatch)
    system.x0_hook = lambda x0, step: (thoughts.append(x0.clone()), x0)[1]
    size = {"num_frames": 5, "height": 16, "width": 16, "num_inference_steps": 3, "guidance_scale": 2.0}
    if path == "generate":
        settings = settle(system, **size)
        sample_latents(prepare(system, dtype="float32"), [resolve((Text("a ball"),), settings.size, system.conditions)], settings, [1])
    else:
        sample_stage(system, [(Text("a ball"),)], fps=8.0, seeds=[1], **size)
    assert len(calls) == 3
    told = [estimate for _, _, estimate, _, _ in calls]
    assert told[0] is None
    for step in (1, 2):
        assert torch.equal(told[step], torch.cat([thoughts[step - 1]] * 2))  # two branches
