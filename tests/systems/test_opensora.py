"""Open-Sora 1.2: its authors' folders compute what a second derivation does, and what its masks, levels and places are."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from autoencoder_peers import randomised
from clips import batch
from flipbook import systems
from flipbook.autoencoders.stacked import StackedAutoencoder, StackedAutoencoderConfig
from flipbook.conditions import FirstFrame, Frames, LastFrame, Size, Text, resolve
from flipbook.denoisers.latte import Latte, LatteConfig
from flipbook.denoisers.stdit import STDiT, STDiTConfig
from flipbook.generate import generate
from flipbook.interop.folder import from_pretrained, save_pretrained
from flipbook.interop.keys import autoencoder_opensora as vae_keys
from flipbook.interop.keys_apply import translate
from flipbook.interop.public import read_network, write_network
from flipbook.nn.doors import Doors
from flipbook.objectives.base import build_objective
from flipbook.objectives.known import masked_places
from flipbook.sampling import prepare, sample_latents, settle
from flipbook.systems import opensora
from interop import opensora_plain as plain

SMALL = STDiTConfig(text_dim=20, dim=32, depth=2, num_heads=2, mlp_dim=64, base_cells=8)
SEEDS = [11, 12, 13, 14]


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inputs(frames=3, side=8):
    mask = torch.arange(5) < torch.tensor([3, 5])[:, None]
    doors = Doors(tokens=random(2, 5, 20, seed=2), token_mask=mask, vector=torch.tensor([[24.0], [8.0]]))
    return random(2, 4, frames, side, side), torch.tensor([0.7, 0.2]), doors


@pytest.fixture(scope="module")
def net():
    return randomised(STDiT(SMALL))


@pytest.fixture(scope="module")
def weights():
    return plain.drawn(plain.transformer_shapes())


@pytest.fixture(scope="module")
def folder(weights, tmp_path_factory):
    return plain.write(tmp_path_factory.mktemp("opensora") / "stdit", plain.CONFIG, weights)


# ---------------------------------------------------------------- their folders


@pytest.mark.parametrize(("frames", "height", "width"), [(3, 4, 4), (1, 4, 4), (4, 4, 10)])
def test_the_folder_of_the_transformer_computes_what_a_second_derivation_does(folder, weights, frames, height, width):
    net = read_network(folder)
    assert net.config == replace(
        STDiTConfig(), dim=plain.WIDTH, num_heads=2, depth=2, text_dim=plain.TEXT, null_rows=plain.LENGTH, mlp_dim=4 * plain.WIDTH, base_cells=64,
    )  # fmt: skip
    x, text = random(1, 4, frames, height, width), random(1, 5, plain.TEXT, seed=2)
    t = torch.linspace(0.9, 0.0, frames)[None]                              # the last frame is given
    doors = Doors(tokens=text, vector=torch.tensor([[24.0]]))
    wanted = plain.transformer(weights, x[0], 1000 * t[0], text[0], 24.0)
    torch.testing.assert_close(-net(x, t, doors)[0], wanted, atol=1e-4, rtol=1e-4)
    wanted = plain.transformer(weights, x[0], 1000 * t[0, :1].expand(frames), text[0], 24.0)
    torch.testing.assert_close(-net(x, t[:, 0], doors)[0], wanted, atol=1e-4, rtol=1e-4)
    assert torch.equal(net.null_text, weights["y_embedder.y_embedding"])


def test_the_weights_along_time_of_the_autoencoder_compute_what_a_second_derivation_does():
    net, w = plain.autoencoder_along_time()
    for frames in (17, 1, 6):
        x = random(1, 4, frames, 2, 3, seed=frames)
        z = net.posterior(x)[0]
        assert z.shape[2] == -(-frames // 4)
        torch.testing.assert_close(z, plain.encoded(w, x), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(net.frames(z, frames), plain.decoded(w, z, frames), atol=1e-4, rtol=1e-4)


def test_every_weight_of_the_published_autoencoder_has_its_place():
    """Shapes alone, on a device that holds no weight: images by diffusers' class at the published size, time by the second derivation's names."""
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"):
        image = diffusers.AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        )  # fmt: skip
        theirs = {f"spatial_vae.module.{key}": value for key, value in image.state_dict().items()}
        theirs |= {f"temporal_vae.{key}": torch.empty(shape) for key, shape in plain.temporal_shapes(128).items()}
        theirs |= {"scale": torch.empty(1, 4, 1, 1, 1), "shift": torch.empty(1, 4, 1, 1, 1)}
        ours = StackedAutoencoder(StackedAutoencoderConfig()).state_dict()
    made = translate(theirs, vae_keys.RULES, ours)
    assert {key: value.shape for key, value in made.items()} == {key: value.shape for key, value in ours.items()}


def test_the_config_of_the_autoencoder_is_read_and_everything_else_refused_by_name(folder, tmp_path):
    theirs = {
        "architectures": ["VideoAutoencoderPipeline"], "micro_frame_size": 17, "shift": [-0.1, 0.34, 0.27, 0.98], "scale": [3.85, 2.32, 2.33, 3.06],
        "vae_2d": {"type": "VideoAutoencoderKL", "subfolder": "vae"}, "vae_temporal": {"type": "VAE_Temporal_SD"}, "cal_loss": False,
    }  # fmt: skip
    assert vae_keys.config(theirs, "config.json") == StackedAutoencoderConfig()
    with pytest.raises(ValueError, match=r"config.json: vae_temporal of type 'VAE_Temporal'"):
        vae_keys.config(theirs | {"vae_temporal": {"type": "VAE_Temporal"}}, "config.json")
    for change in ({"patch_size": [2, 2, 2]}, {"skip_y_embedder": True}, {"time_scale": 2}):
        path = tmp_path / next(iter(change))
        plain.write(path, plain.CONFIG | change, plain.drawn(plain.transformer_shapes()))
        with pytest.raises(ValueError, match=f"config.json: .*{next(iter(change))}"):
            read_network(path)
    config = json.loads((folder / "config.json").read_text())
    plain.write(tmp_path / "cut", config, {key: v for key, v in plain.drawn(plain.transformer_shapes()).items() if "blocks.1.mlp" not in key})
    with pytest.raises(ValueError, match="missing"):
        read_network(tmp_path / "cut")
    with pytest.raises(ValueError, match="not written as one"):
        write_network(read_network(folder), tmp_path / "out")


# ---------------------------------------------------------------- the transformer


def test_at_birth_time_is_silent_and_the_network_is_the_image_transformer_of_pixart_frame_by_frame():
    """Check A, with every other weight random: the network of Latte's image blocks, which is held against PixArt's own class elsewhere."""
    born = STDiT(replace(SMALL, qk_norm=False, out_channels=4))
    video = randomised(STDiT(replace(SMALL, qk_norm=False, out_channels=4)))
    for name, weight in video.temporal_parameters():
        weight.copy_(dict(born.named_parameters())[name])
    image = Latte(LatteConfig(text_dim=20, out_channels=4, dim=32, num_heads=2, mlp_dim=64, layout=("spatial",) * 2, places=4)).eval()
    state = {
        key.replace("spatial.", "blocks.spatial."): value for key, value in video.state_dict().items() if not key.startswith(("temporal.", "vector."))
    }
    image.load_state_dict(state)
    x, _, doors = inputs()
    level = torch.tensor([0.7, 0.2])
    told = doors.with_(vector=None)
    out = image(x, level + 1 / 1000, told)                                  # a table of 1000 levels has its first one at 1/1000
    torch.testing.assert_close(video(x, level, told), out, atol=1e-4, rtol=1e-4)
    randomly = randomised(STDiT(replace(SMALL, qk_norm=False, out_channels=4)))
    assert (randomly(x, level, told) - out).abs().max() > 1e-2


def test_after_one_step_from_birth_all_weights_along_time_learn():
    """Check E."""
    torch.manual_seed(0)
    net = STDiT(SMALL)
    torch.nn.init.normal_(net.head.weight, std=0.1)
    x, t, doors = inputs()
    grads = []
    for _ in range(2):
        net.zero_grad()
        (net(x, t, doors) - random(*x.shape, seed=9)).square().mean().backward()
        grads.append({name: float(p.grad.abs().max()) for name, p in net.temporal_parameters() if "k_norm" not in name and "qkv.bias" not in name})
        with torch.no_grad():
            for p in net.parameters():
                p -= 0.05 * p.grad
    assert 0 < sum(value > 0 for value in grads[0].values()) < len(grads[0])
    assert all(value > 0 for value in grads[1].values())


def test_images_are_apart_and_clips_are_not(net):
    """Checks B and C."""
    x, t, doors = inputs()
    stills = torch.ones(2, 3, dtype=torch.bool)
    apart = torch.cat([net(x[:, :, [f]], t, doors) for f in range(3)], dim=2)
    torch.testing.assert_close(net(x, t, doors, image_only=stills), apart, atol=1e-5, rtol=1e-5)
    assert (net(x, t, doors) - apart).abs().max() > 1e-2


def test_a_level_for_each_frame_equal_to_one_for_all_and_places_by_distance_alone(net):
    x, t, doors = inputs()
    out = net(x, t, doors)
    torch.testing.assert_close(net(x, t[:, None].expand(2, 3), doors), out, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(net(x, t, doors, frame_index=torch.arange(3.0).expand(2, 3) + 37), out, atol=1e-4, rtol=1e-4)
    for other in ({"t": torch.tensor([[0.7, 0.7, 0.0]] * 2)}, {"doors": doors.with_(vector=torch.tensor([[8.0], [24.0]]))}):
        assert (net(**{"x": x, "t": t, "doors": doors} | other) - out).abs().max() > 1e-4


def test_preparing_once_changes_nothing_and_a_sample_does_not_depend_on_its_batch(net):
    x, t, doors = inputs()
    prepared = net.prepare(doors)
    assert len(prepared.keys_values) == 4
    assert torch.equal(net(x, t, prepared), net(x, t, doors))
    for rows in (slice(0, 1), slice(1, 2)):
        torch.testing.assert_close(net(x[rows], t[rows], prepared.select(rows)), net(x, t, doors)[rows], atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="channels=None"):
        net(x, t, doors.with_(channels=x))


# ---------------------------------------------------------------- the autoencoder


@pytest.fixture(scope="module")
def autoencoder():
    return randomised(StackedAutoencoder(opensora.TINY.autoencoder))


@pytest.mark.parametrize("frames", [1, 5, 6, 10, 15])
def test_a_clip_is_its_chunks_and_comes_back_as_long_as_it_was(autoencoder, frames):
    x = random(1, 3, frames, 8, 8).clamp(-1, 1)
    z = autoencoder.encode(x)
    assert z.shape[2] == len(autoencoder.latent_ends(frames))
    parts = [autoencoder.encode(part) for part in x.split(5, dim=2)]
    torch.testing.assert_close(z, torch.cat(parts, dim=2), atol=1e-5, rtol=1e-5)
    out = autoencoder.decode(z)
    assert out.shape == x.shape
    torch.testing.assert_close(out, torch.cat([autoencoder.decode(part) for part in parts], dim=2), atol=1e-5, rtol=1e-5)


def test_other_lengths_come_back_where_their_length_is_told(autoencoder):
    """17 n + k frames, here 5 n + k, for any k."""
    for frames in (2, 3, 4, 7, 8, 9):
        z = autoencoder.encode(random(1, 3, frames, 8, 8).clamp(-1, 1))
        assert autoencoder.decode(z, num_frames=frames).shape[2] == frames
    with pytest.raises(ValueError, match="2 latent frames stand for 5 to 8 frames, and 9 are asked for"):
        autoencoder.temporal.frames(random(1, 4, 2, 4, 4), 9)


def test_legal_lengths_end_where_a_latent_frame_ends():
    published = StackedAutoencoder(StackedAutoencoderConfig(
        image=opensora.TINY.autoencoder.image, temporal=replace(opensora.TINY.autoencoder.temporal),
    ))  # fmt: skip
    assert published.latent_ends(17) == (0, 4, 8, 12, 16)
    assert published.latent_ends(22) == (0, 4, 8, 12, 16, 17, 21)
    assert [len(published.latent_ends(n)) for n in (1, 51, 102)] == [1, 15, 30]
    for frames, near in ((16, "13 or 17"), (20, "18 or 22"), (35 + 1, "35 or 39"), (0, "1 or 5")):
        with pytest.raises(ValueError, match=f"Try num_frames={near}"):
            published.latent_ends(frames)


def test_norms_over_all_frames_let_the_future_into_a_latent_as_in_the_public_weights(autoencoder):
    """Check F fails on purpose: this autoencoder is causal in its convolutions alone, and chunks part it for good."""
    x = random(1, 3, 10, 8, 8).clamp(-1, 1)
    other = x.clone()
    other[:, :, 4] *= -1.0
    moved = (autoencoder.encode(other) - autoencoder.encode(x)).abs().amax((0, 1, 3, 4))
    assert moved[0] > 1e-4
    assert not moved[2:].any()


def test_a_training_stage_may_leave_the_autoencoder_of_images_its_bits():
    torch.manual_seed(0)
    system = systems.build("opensora", tiny=True)
    stage = opensora.STAGES[0].recipe()
    o = build_objective(stage.pop("name"), system, stage)
    before = {name: p.detach().clone() for name, p in system.autoencoder.named_parameters()}
    optimiser = torch.optim.AdamW([p for p in o.trainable().parameters() if p.requires_grad], lr=1e-3, weight_decay=0.1)
    o.loss(batch(frames=10), SEEDS).loss.mean().backward()
    optimiser.step()
    for name, p in system.autoencoder.named_parameters():
        assert torch.equal(p, before[name]) == name.startswith("image."), name
    with pytest.raises(ValueError, match=r"only=\['time'\]"):
        build_objective("autoencoding", system, {"only": ["time"]})


# ---------------------------------------------------------------- the system


def awake(**changes):
    torch.manual_seed(0)
    system = opensora.build(replace(opensora.TINY, **changes)).eval()
    randomised(system.denoiser)
    return system


def test_levels_move_towards_noise_with_the_side_of_the_frame_and_the_root_of_latent_frames():
    assert opensora.shift(512, Size(num_frames=17, fps=24, height=512, width=512), 5) == pytest.approx(5**0.5)
    assert opensora.shift(512, Size(num_frames=1, fps=24, height=512, width=512), 1) == 1.0
    with torch.device("meta"):
        published = opensora.build()
    times, size = torch.linspace(0, 1, 31), Size(num_frames=51, fps=24, height=480, width=848)
    moved = published.shifted(times, size)
    r = (480 * 848 / 512**2 * 15) ** 0.5
    torch.testing.assert_close(moved, r * times / (1 + (r - 1) * times))
    assert moved[0] == 0
    assert moved[-1] == 1
    assert (moved.diff() > 0).all()
    assert torch.equal(published.shifted(times, Size(num_frames=1, fps=24, height=512, width=512)), times)


def test_training_and_sampling_run_through_the_same_moved_levels(monkeypatch):
    system = awake()
    heard = []
    real = system.denoiser.forward
    monkeypatch.setattr(system.denoiser, "forward", lambda x, t, *a, **k: (heard.append(t), real(x, t, *a, **k))[1])
    o = build_objective("conditioned", system, {"logit_normal": (0.0, 1.0), "drop_text": 0.0})
    b = batch(frames=10)
    o.loss(b, SEEDS)
    r = system.shift(Size(num_frames=10, fps=8, height=16, width=16), 4)
    plain_times = o._times(b, SEEDS)
    torch.testing.assert_close(heard[0][:, 0], r * plain_times / (1 + (r - 1) * plain_times))
    assert r != 1
    heard.clear()
    build_objective("conditioned", system, {"form": "separate", "stills": 1, "logit_normal": (0.0, 1.0)}).loss(b, SEEDS)
    one = system.shift(Size(num_frames=1, fps=8, height=16, width=16), 1)
    torch.testing.assert_close(heard[1][:, 0], (one * plain_times / (1 + (one - 1) * plain_times))[[1, 3]])     # the rows that give stills
    settings = settle(system, num_frames=10, height=16, width=16, num_inference_steps=2, guidance_scale=1.0)
    request = resolve((Text("a ball"),), settings.size, system.conditions)
    heard.clear()
    monkeypatch.undo()
    seen = []
    monkeypatch.setattr(STDiT, "forward", lambda net, x, t, *a, real=STDiT.forward, **k: (seen.append(t), real(net, x, t, *a, **k))[1])
    sample_latents(prepare(system, dtype="float32"), [request], settings, [1])
    halfway = r * 0.5 / (1 + (r - 1) * 0.5)
    assert [float(t.max()) for t in seen] == pytest.approx([1.0, halfway])


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def test_given_pictures_come_out_bit_for_bit_at_level_zero_in_the_latent_frames_that_pack_them():
    system = awake()
    settings = settle(system, num_frames=10, height=16, width=16, num_inference_steps=2)
    asked = (Text("a ball"), FirstFrame(picture(0)), Frames({5: picture(2)}), LastFrame(picture(1)))
    request = resolve(asked, settings.size, system.conditions)
    z = sample_latents(prepare(system, dtype="float32"), [request], settings, [1])
    with torch.no_grad():
        for place, seed in ((0, 0), (2, 2), (3, 1)):
            alone = system.autoencoder.encode(torch.from_numpy(picture(seed)).permute(2, 0, 1)[None, :, None] / 127.5 - 1)
            assert torch.equal(z[:, :, place], alone[:, :, 0])
    nothing = resolve((Text("a ball"),), settings.size, system.conditions)
    free = sample_latents(prepare(system, dtype="float32"), [nothing], settings, [1])
    assert (free - z)[:, :, 1].abs().max() > 1e-4
    crowded = resolve((Text("a ball"), Frames({2: picture(0), 4: picture(1)})), settings.size, system.conditions)
    with pytest.raises(ValueError, match="frame 4 and one before it are packed in one latent frame"):
        sample_latents(prepare(system, dtype="float32"), [crowded], settings, [1])


def test_masks_are_of_ten_kinds_and_hide_a_frame_always():
    generator = torch.Generator().manual_seed(0)
    for frames in (2, 5, 15):
        made = [masked_places(frames, (k % 10 + 0.5) / 10, generator) for k in range(200)]
        assert all(0 < len(places) < frames for places in made)
        assert all(len(places) <= max(1, frames // 4) * 2 for k, places in enumerate(made) if k % 10 >= 6)
        assert all(places == (0,) for k, places in enumerate(made) if k % 10 == 2)
        assert all(places == (frames - 1,) for k, places in enumerate(made) if k % 10 == 3)
    assert masked_places(6, 0.15, generator) == (0, 2, 4)


def test_in_training_known_latents_are_clean_at_level_zero_and_hidden_ones_alone_are_counted():
    rows = build_objective("conditioned", awake(), {"known": {"take": "masks"}, "drop_text": 0.0}).rows(
        batch(frames=10), range(4), SEEDS, torch.full((4,), 0.5), False
    )
    assert rows.is_given.any(1).all()
    assert torch.equal(rows.counts, ~rows.is_given)
    assert not rows.t[rows.is_given].any()
    assert (rows.t[~rows.is_given] == 0.5).all()


def test_the_rows_for_no_text_stand_for_it_in_guidance_and_in_training():
    system = awake(denoiser=replace(opensora.TINY.denoiser, null_rows=16))
    from flipbook.conditions import branches, empty_inputs

    size = Size(num_frames=1, fps=8, height=16, width=16)
    requests = [resolve((Text(words),), size, system.conditions) for words in ("a red circle falls", "")]
    _, doors = branches(system.conditions, system, requests, empty_inputs(size, (4, 1, 8, 8), [0, 1]))
    none, length = system.denoiser.null_text, doors["text"].tokens.shape[1]
    assert torch.equal(doors["null"].tokens, none[:length].expand(2, -1, -1))
    assert torch.equal(doors["text"].tokens[1], none[:length])
    assert not torch.equal(doors["text"].tokens[0], none[:length])
    assert torch.equal(doors["null"].token_mask[0], doors["text"].token_mask[0])
    assert doors["text"].token_mask[1].all()                                # all rows for no text are read
    assert not doors["text"].token_mask[0].all()
    said = [resolve((Text("a red circle falls", "blue"),), size, system.conditions)]
    _, doors = branches(system.conditions, system, said, empty_inputs(size, (4, 1, 8, 8), [0]))
    assert not torch.equal(doors["null"].tokens[0, 0], none[0])


def test_every_stage_is_a_recipe_that_moves_what_it_says():
    for stage in opensora.STAGES[2:]:
        system, recipe = awake(), stage.recipe()
        o = build_objective(recipe.pop("name"), system, recipe)
        before = {name: p.detach().clone() for name, p in system.denoiser.named_parameters()}
        optimiser = torch.optim.AdamW([p for p in o.trainable().parameters() if p.requires_grad], lr=0.01)
        o.loss(batch(frames=10), SEEDS).loss.mean().backward()
        optimiser.step()
        moved = {name.startswith("temporal.") for name, p in system.denoiser.named_parameters() if not torch.equal(p, before[name])}
        assert moved == {"images": {False}, "time": {True}, "joint": {False, True}}[stage.name]


def test_an_image_has_a_frame_rate_of_its_own():
    assert opensora.frame_rate((), Size(num_frames=1, fps=8, height=16, width=16)) == 120.0
    assert opensora.frame_rate((), Size(num_frames=10, fps=8, height=16, width=16)) == 8.0


def test_a_long_clip_goes_on_from_whole_chunks():
    (stage,) = opensora.cascade().stages
    plan = list(stage.plan())
    assert [len(step.observed) for step in plan] == [0, 17, 17]
    assert [len(step.generated) for step in plan] == [51, 34, 34]


def test_a_tiny_one_makes_a_video_and_comes_back_from_its_folder(tmp_path):
    system = awake()
    settings = {"num_frames": 6, "height": 16, "width": 16, "num_inference_steps": 2, "seed": 1, "dtype": "float32"}
    (video,) = generate(system, "a red circle", **settings)
    assert video.frames.shape == (6, 16, 16, 3)
    save_pretrained(system, tmp_path / "model")
    assert (generate(from_pretrained(tmp_path / "model"), "a red circle", **settings)[0].frames == video.frames).all()
    with pytest.raises(ValueError, match="Try num_frames=6 or 10"):
        generate(system, "a red circle", **settings | {"num_frames": 8})


def test_the_published_size():
    with torch.device("meta"):
        assert round(sum(p.numel() for p in opensora.build().denoiser.parameters()) / 1e9, 2) == 1.21
