"""The systems with public checkpoints: what each does to a request, by exact checks on random weights."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from flipbook import systems
from flipbook.conditions import (
    Draft,
    FirstFrame,
    Motion,
    NoiseAugmentation,
    Text,
    branches,
    empty_inputs,
    from_json,
    resolve,
    to_json,
)
from flipbook.generate import generate
from flipbook.interop.folder import from_pretrained, save_pretrained
from flipbook.process import VP, Process
from flipbook.process.x0_scale import X0Scale
from flipbook.samplers import sample_ddim
from flipbook.sampling import first_state, latent_shape, prepare, sample_latents, settle
from flipbook.systems import lavie, modelscope, svd
from flipbook.systems.base import Card, Stage

NAMES = ("stable-diffusion", "animatediff", "modelscope", "svd", "videocrafter", "lavie")
SIZE = {"num_frames": 3, "height": 16, "width": 16, "num_inference_steps": 2}


def tiny(name: str, seed: int = 0):
    """A tiny system in which no weight is zero, so that everything that enters matters."""
    torch.manual_seed(seed)
    system = systems.build(name, tiny=True)
    with torch.no_grad():
        for parameter in system.denoiser.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return system.eval()


def pictures(number: int = 1, side: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (number, side, side, 3), dtype=np.uint8)


def asked(name: str, *more):
    return [FirstFrame(pictures()[0]), *more] if name == "svd" else [Text("a red circle falls"), *more]


def latents(system, conditions, seed: int = 5, **changes):
    settings = settle(system, **SIZE | changes)
    request = resolve(tuple(conditions), settings.size, system.conditions)
    return sample_latents(prepare(system, dtype="float32"), [request], settings, [seed])


def doors_of(system, conditions, seed: int = 5, **changes):
    settings = settle(system, **SIZE | changes)
    request = resolve(tuple(conditions), settings.size, system.conditions)
    inputs = empty_inputs(settings.size, latent_shape(system, settings.size), [seed])
    with torch.no_grad():
        return branches(system.conditions, system, [request], inputs)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_has_a_card_stages_and_a_tiny_variant(name):
    module = importlib.import_module(systems.SYSTEMS[name])
    assert isinstance(module.CARD, Card)
    assert module.CARD.name == name
    assert module.CARD.arxiv in module.CARD.citation or "title={" in module.CARD.citation
    assert all(isinstance(stage, Stage) for stage in module.STAGES)
    assert len(module.STAGES) >= 1


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_system_is_composed_again(name, tmp_path):
    system = tiny(name)
    again = from_pretrained(save_pretrained(system, tmp_path / "model"))
    assert (again.method, again.conditions, again.guidance, again.index_fps) == (name, system.conditions, system.guidance, None)
    assert again.process == system.process
    assert torch.equal(latents(again, asked(name)), latents(system, asked(name)))


def test_what_a_request_gives_changes_the_video():
    for name in NAMES:
        system = tiny(name)
        other = [FirstFrame(pictures(seed=1)[0])] if name == "svd" else [Text("a blue square")]
        assert not torch.equal(latents(system, asked(name)), latents(system, other)), name


def test_a_replayed_recipe_says_all_that_was_asked():
    (video,) = generate(tiny("svd"), [FirstFrame(pictures()[0]), Motion(200.0)], **SIZE, dtype="float32")
    kinds = {one["kind"]: one for one in video.recipe["conditions"]}
    assert (kinds["Motion"]["bucket"], kinds["NoiseAugmentation"]["level"]) == (200.0, 0.02)
    (again,) = generate(tiny("svd"), [from_json(video.recipe["conditions"])], **SIZE, dtype="float32")
    assert again.frames.tobytes() == video.frames.tobytes()


# ---------------------------------------------------------------- Stable Video Diffusion


def test_svd_leads_a_picture_to_its_doors():
    """One row to the tokens; the raw latent, unscaled and noised, beside every frame; fps - 1, motion and noise in the vector."""
    system = tiny("svd")
    _, doors = doors_of(system, asked("svd", Motion(90), NoiseAugmentation(0.0)), fps=6.0)
    on, off = doors["picture"], doors["null"]
    assert on.vector.tolist() == off.vector.tolist() == [[5.0, 90.0, 0.0]]
    image = torch.from_numpy(pictures()[0]).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        raw, _ = system.autoencoder.posterior(image)
    for frame in range(3):
        torch.testing.assert_close(on.channels[:, :, frame], raw, atol=1e-6, rtol=1e-5)
    assert on.tokens.shape == off.tokens.shape == (1, 1, 32)
    assert not off.tokens.any()
    assert not off.channels.any()


def test_svd_noises_the_picture_for_the_autoencoder_alone_and_by_the_seed():
    system = tiny("svd")
    clean, noisy, other = (doors_of(system, asked("svd", NoiseAugmentation(level)), seed)[1]["picture"] for level, seed in ((0.0, 5), (0.5, 5), (0.5, 6)))
    assert torch.equal(clean.tokens, noisy.tokens)
    assert not torch.equal(clean.channels, noisy.channels)
    assert not torch.equal(noisy.channels, other.channels)
    assert noisy.vector[0, 2] == 0.5


def test_svd_guides_no_first_frame_and_the_last_one_in_full():
    """With one step and no mixing between frames, the ramp can be read off each frame."""
    system = tiny("svd")
    with torch.no_grad():
        for name, parameter in system.denoiser.named_parameters():
            if ".inserts." in name:
                parameter.zero_() if not name.endswith("mixer.p") else parameter.fill_(50.0)
    run = lambda scale, **how: latents(system, asked("svd"), guidance_scale=scale, num_inference_steps=1, **how)
    ramp = run(4.0)
    system.guidance = lambda scale, num_frames: scale
    torch.testing.assert_close(ramp[:, :, 0], run(1.0)[:, :, 0])
    torch.testing.assert_close(ramp[:, :, 1], run(2.5)[:, :, 1])
    torch.testing.assert_close(ramp[:, :, 2], run(4.0)[:, :, 2])
    assert not torch.allclose(run(1.0)[:, :, 2], run(4.0)[:, :, 2], atol=1e-3)


def test_an_edm_network_that_says_nothing_shrinks_the_state():
    """D(x; sigma) with F = 0 is x / (sigma^2 + 1), in the units of EDM."""
    process, sigma = svd.PLAN.process, torch.tensor([0.3], dtype=torch.float64)
    t = process.path.time_at(sigma)
    edm_state = torch.randn(1, 2, 1, 2, 2, dtype=torch.float64)
    x0 = process.to_x0(torch.zeros_like(edm_state), edm_state * process.path.alpha(t), t)
    torch.testing.assert_close(x0, edm_state / (sigma**2 + 1))


def test_svd_says_what_it_needs():
    system = tiny("svd")
    for conditions, message in (([], "frame 0"), ([Text("a ball")], "takes FirstFrame, Frames"), ([FirstFrame(pictures()[0]), Motion(1), Motion(2)], "twice")):
        with pytest.raises(ValueError, match=message):
            latents(system, conditions)


# ---------------------------------------------------------------- a draft


def test_strength_zero_gives_the_draft_back_and_strength_one_keeps_what_pure_noise_holds_of_it():
    system = tiny("modelscope")
    clip, other = pictures(3, seed=1), pictures(3, seed=2)
    kept = latents(system, [Text("a ball"), Draft(clip, 0.0)])
    with torch.no_grad():
        z = system.autoencoder.encode(torch.from_numpy(clip).permute(3, 0, 1, 2)[None] / 127.5 - 1)
    torch.testing.assert_close(kept, z, atol=1e-5, rtol=1e-5)
    half = [latents(system, [Text("a ball"), Draft(c, 0.5)]) for c in (clip, other)]
    assert not torch.allclose(*half, atol=1e-3)
    inputs = empty_inputs(settle(system, **SIZE).size, tuple(z.shape[1:]), [5])
    start = lambda draft: first_state(system, replace(inputs, draft=draft), torch.ones(3, dtype=torch.float64), torch.zeros_like(z))
    left = VP().alpha(torch.ones(1)).item()                                  # what this schedule's last level still holds
    assert left < 0.07
    torch.testing.assert_close(start(z) - start(2 * z), -left * z)


def test_the_enlarging_stage_is_a_request(tmp_path):
    system = tiny("modelscope")
    (small,) = generate(system, "a ball", **SIZE, dtype="float32")
    conditions, settings = modelscope.vid2vid(small, "a ball", height=32, width=32)
    (large,) = generate(system, [conditions], **settings, num_inference_steps=2, dtype="float32")
    assert large.frames.shape == (3, 32, 32, 3)
    assert from_json(to_json(resolve(tuple(conditions), settle(system, **settings).size, system.conditions)))[1].strength == 0.75


# ---------------------------------------------------------------- VideoCrafter


def test_videocrafter_is_told_the_frame_rate():
    system = tiny("videocrafter")
    _, doors = doors_of(system, asked("videocrafter"), fps=12.0)
    assert doors["null"].vector.tolist() == doors["text"].vector.tolist() == [[12.0]]
    assert not torch.equal(latents(system, asked("videocrafter"), fps=12.0), latents(system, asked("videocrafter"), fps=4.0))


def test_the_scale_on_x0_lowers_what_the_last_level_holds_and_nothing_else():
    plain, scaled = VP(), X0Scale(VP())
    t = torch.tensor([1 / 1000, 0.1, 0.4, 0.7, 1.0], dtype=torch.float64)
    torch.testing.assert_close(scaled.sigma(t), plain.sigma(t))
    ratio = scaled.alpha(t) / plain.alpha(t)
    expected = torch.tensor([1.0, 1 - 0.3 * 99 / 399, 0.7, 0.7, 0.7], dtype=torch.float64)       # level k = 1000 t - 1 of 0..399
    torch.testing.assert_close(ratio, expected, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(scaled.time_at(scaled.sigma(t) / scaled.alpha(t)), t)
    assert scaled.alpha(torch.zeros(1)) == 1.0


def test_ddim_with_the_scale_is_the_authors_update():
    """x0 is divided by the scale at the level it was predicted at, and enters multiplied by the next one."""
    matrix = torch.tensor([[0.381], [0.181], [0.0]], dtype=torch.float64)
    path, eps = X0Scale(VP()), torch.randn(1, 1, 1, 2, 2, dtype=torch.float64)
    x = torch.randn(1, 1, 1, 2, 2, dtype=torch.float64)
    process = Process(path, "eps")
    got = sample_ddim(process.denoiser(lambda x, t: eps), x, path, matrix[:2])
    s, s_next = 1 - 0.3 * 380 / 399, 1 - 0.3 * 180 / 399
    now, then = (VP().alpha(matrix[i]) ** 2 for i in (0, 1))
    x0 = (x - (1 - now).sqrt() * eps) / now.sqrt() / s
    torch.testing.assert_close(got, then.sqrt() * x0 * s_next + (1 - then).sqrt() * eps)
    torch.testing.assert_close(sample_ddim(Process(X0Scale(VP(), last=1.0), "eps").denoiser(lambda x, t: eps), x, X0Scale(VP(), last=1.0), matrix),
                               sample_ddim(Process(VP(), "eps").denoiser(lambda x, t: eps), x, VP(), matrix))


# ---------------------------------------------------------------- LaVie


def test_lavie_lays_each_key_beside_its_neighbours():
    """Key k fills frames 4k - 1 to 4k + 2: latents whose value is the key's number."""
    known, mask = torch.zeros(1, 1, 61, 1, 1), torch.zeros(1, 1, 61, 1, 1)
    known[:, :, ::4] = torch.arange(16.0)[None, None, :, None, None]
    mask[:, :, ::4] = 1.0
    laid = lavie.beside_its_key(known, mask).flatten()
    for k in range(16):
        assert (laid[max(0, 4 * k - 1) : 4 * k + 3] == k).all()


def test_lavies_cascade_makes_four_times_the_frames_and_the_size():
    from flipbook.long.cascade import run_cascade

    loaded = {kind: lavie.build(lavie.tiny_stage(kind)).eval() for kind in lavie.PLANS}
    plan = lavie.cascade(models={kind: kind for kind in loaded}, num_frames=2, height=16, width=16)
    for stage in plan.stages:
        plan = plan.with_stage(stage.name, num_inference_steps=1)
    assert [(s.num_frames, s.height) for s in plan.stages] == [(2, 16), (5, 16), (5, 64)]
    assert callable(run_cascade)


def test_lavies_bias_must_be_zero_as_well_for_the_clip_to_be_the_image_model():
    """The published code zeroes the weight of the last layer alone; torch's own start of its bias then moves every frame."""
    from flipbook.denoisers.unet import UNet
    from flipbook.nn.doors import Doors
    from flipbook.nn.inserts import InsertTable

    torch.manual_seed(0)
    config = lavie.UNETS["base"]
    video = tiny("lavie").denoiser
    for name, p in video.named_parameters():
        if name.endswith("attention.out.weight") or name.endswith("attention.out.bias"):
            p.data.zero_() if "inserts" in name else None
    image = UNet(replace(video.config, inserts=InsertTable())).eval()
    image.load_state_dict({key: value for key, value in video.state_dict().items() if "inserts" not in key})
    x, t, doors = torch.randn(1, 4, 3, 8, 8), torch.tensor([0.4]), Doors(tokens=torch.randn(1, 5, 32))
    frames = lambda: torch.cat([image(x[:, :, [i]], t, doors) for i in range(3)], dim=2)
    assert config.inserts.rows[0].at == "before_mlp"
    with torch.no_grad():
        torch.testing.assert_close(video(x, t, doors), frames(), atol=1e-5, rtol=1e-5)
        for name, p in video.named_parameters():
            if "inserts" in name and name.endswith("attention.out.bias"):
                p.uniform_(-0.1, 0.1)
        assert (video(x, t, doors) - frames()).abs().max() > 1e-3


# ---------------------------------------------------------------- Stable Video Diffusion's mixers


def test_svd_with_mixers_at_the_image_is_the_run_of_each_frame_whatever_its_temporal_weights():
    """The mixers' share of the image goes to one as their parameter grows; at one half the clip is another one."""
    from flipbook.nn.doors import Doors

    system = tiny("svd")
    net, g = system.denoiser, torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if ".inserts." in name and "mixer" not in name:
                p.normal_(std=0.3, generator=g)
        x, t = torch.randn(1, 4, 3, 8, 8, generator=g), torch.tensor([0.4])
        doors = Doors(tokens=torch.randn(1, 1, 32, generator=g), channels=torch.randn(1, 4, 3, 8, 8, generator=g), vector=torch.tensor([[6.0, 127.0, 0.02]]))
        mixed = net(x, t, doors)
        for name, p in net.named_parameters():
            if name.endswith("mixer.p"):
                p.fill_(50.0)
        alone = torch.cat([net(x[:, :, [i]], t, doors.with_(channels=doors.channels[:, :, [i]])) for i in range(3)], dim=2)
        torch.testing.assert_close(net(x, t, doors), alone, atol=1e-5, rtol=1e-5)
        assert (mixed - alone).abs().max() > 1e-3


def test_edm_returns_the_state_itself_as_its_noise_vanishes():
    process = svd.PLAN.process
    x, said = torch.randn(1, 2, 1, 2, 2, dtype=torch.float64), torch.randn(1, 2, 1, 2, 2, dtype=torch.float64)
    errors = [(process.to_x0(said, x, process.path.time_at(torch.tensor([s], dtype=torch.float64))) - x).abs().max().item() for s in (1e-1, 1e-3, 1e-5)]
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert errors[2] < 1e-4
