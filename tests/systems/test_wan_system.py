"""Wan 2.1: its public folders run as the reference runs them, and what its condition recipe does."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from flipbook import systems
from flipbook.conditions import Draft, FirstFrame, LastFrame, Text, branches, empty_inputs, resolve
from flipbook.generate import generate
from flipbook.interop.folder import from_pretrained, save_pretrained
from flipbook.process.noise import initial_noise
from flipbook.sampling import latent_shape, prepare, sample_latents, settle
from flipbook.systems import wan
from wan_folders import SIDE, write_wan

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("transformers")

PROMPT, NEGATIVE, SEED, FRAMES = "a red  ball &amp; more", "blue", 7, 9
SIZE = {"num_frames": FRAMES, "height": 2 * SIDE, "width": SIDE, "num_inference_steps": 5}


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (2 * SIDE, SIDE, 3), dtype=np.uint8)


def latents(system, conditions, **changes):
    settings = settle(system, **SIZE | changes)
    request = resolve(tuple(conditions), settings.size, system.conditions)
    return sample_latents(prepare(system, dtype="float32"), [request], settings, [SEED])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("wan")
    write_wan(root / "text")
    write_wan(root / "euler", euler=True)
    write_wan(root / "one", pictures=1)
    write_wan(root / "two", pictures=2)
    return root


def reference(folder, *pictures, **changes):
    """The latents of diffusers' own pipeline from the noise that ours begins with."""
    from PIL import Image

    name = "WanImageToVideoPipeline" if pictures else "WanPipeline"
    pipeline = getattr(diffusers, name).from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    noise = initial_noise((4, 3, 2 * SIDE // 8, SIDE // 8), [SEED])
    images = dict(zip(("image", "last_image"), map(Image.fromarray, pictures), strict=False))
    asked = SIZE | {"prompt": PROMPT, "negative_prompt": NEGATIVE, "guidance_scale": 5.0, "latents": noise, "output_type": "latent"} | changes
    with pytest.MonkeyPatch.context() as patch:                             # its file of pictures forgets to ask whether ftfy is there
        patch.setattr("diffusers.pipelines.wan.pipeline_wan_i2v.prompt_clean", diffusers.pipelines.wan.pipeline_wan.prompt_clean)
        return pipeline(**images, **asked).frames


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["text", "euler"])
def test_text_to_video_ends_at_the_latents_of_the_reference(folders, name):
    system = from_pretrained(folders / name)
    assert system.defaults["sampler"] == ("euler" if name == "euler" else "unipc")
    got, wanted = latents(system, [Text(PROMPT, NEGATIVE)]), reference(folders / name)
    assert wanted.abs().max() > 0.5
    torch.testing.assert_close(got, wanted, atol=1e-3, rtol=0)
    assert (latents(system, [Text(PROMPT, "")]) - wanted).abs().max() > 1e-2


@pytest.mark.filterwarnings("ignore")
def test_image_to_video_ends_at_the_latents_of_the_reference(folders):
    system, other = from_pretrained(folders / "one"), picture(1)
    got = latents(system, [Text(PROMPT, NEGATIVE), FirstFrame(picture())])
    torch.testing.assert_close(got, reference(folders / "one", picture()), atol=1e-3, rtol=0)
    assert (got - latents(system, [Text(PROMPT, NEGATIVE), FirstFrame(other)])).abs().max() > 1e-2


@pytest.mark.filterwarnings("ignore")
def test_between_two_pictures_ends_at_the_latents_of_the_reference(folders):
    system = from_pretrained(folders / "two")
    got = latents(system, [Text(PROMPT, NEGATIVE), FirstFrame(picture()), LastFrame(picture(1))])
    torch.testing.assert_close(got, reference(folders / "two", picture(), picture(1)), atol=1e-3, rtol=0)
    with pytest.raises(ValueError, match="it needs both"):
        latents(system, [Text(PROMPT), FirstFrame(picture())])


def test_a_folder_makes_a_video_whose_length_the_autoencoder_allows(folders):
    system = from_pretrained(folders / "text")
    (video,) = generate(system, PROMPT, **SIZE | {"num_inference_steps": 1, "dtype": "float32"})
    assert video.frames.shape == (FRAMES, 2 * SIDE, SIDE, 3)
    with pytest.raises(ValueError, match=r"num_frames=10.* Try num_frames=9 or 13"):
        generate(system, PROMPT, **SIZE | {"num_frames": 10})
    with pytest.raises(ValueError, match="multiples of 16 pixels"):
        generate(system, PROMPT, **SIZE | {"height": 24})


@pytest.mark.parametrize(
    ("path", "changes", "message"),
    [
        ("model_index.json", {"boundary_ratio": 0.9}, "boundary_ratio=0.9 is for Wan 2.2"),
        ("model_index.json", {"expand_timesteps": True}, "expand_timesteps=True is for Wan 2.2"),
        ("model_index.json", {"_class_name": "WanImageToVideoPipeline"}, "do not belong together"),
        ("model_index.json", {"_class_name": "WanVideoPipeline"}, "'WanVideoPipeline' is not known.*Did you mean 'Wan"),
        ("transformer/config.json", {"num_layers": 3}, "transformer/diffusion_pytorch_model.safetensors does not fit"),
        ("transformer/config.json", {"_class_name": "WanVACETransformer3DModel"}, "'WanVACETransformer3DModel' is not known"),
        ("vae/config.json", {"is_residual": True}, "vae/config.json: is_residual=True"),
        ("text_encoder/config.json", {"architectures": ["BertModel"]}, "text_encoder/config.json: class 'BertModel'"),
        ("text_encoder/config.json", {"d_ff": 16}, "text_encoder/model.safetensors does not fit"),
        ("scheduler/scheduler_config.json", {"solver_type": "bh1"}, "scheduler_config.json: solver_type"),
    ],
)
def test_folders_that_are_not_what_they_claim_are_refused_by_file(folders, tmp_path, path, changes, message):
    folder = shutil.copytree(folders / "text", tmp_path / "model")
    (folder / path).write_text(json.dumps(json.loads((folder / path).read_text()) | changes))
    with pytest.raises(ValueError, match=message):
        from_pretrained(folder)


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder", "tokenizer", "image_encoder", "image_processor"])
def test_a_folder_with_a_part_missing_or_cut_short_is_refused_by_name(folders, tmp_path, part):
    folder = shutil.copytree(folders / "one", tmp_path / "model")
    for weights in (folder / part).glob("*.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-10])
        with pytest.raises(ValueError, match=f"{part}/{weights.name} has .* bytes: half-downloaded"):
            from_pretrained(folder)
    shutil.rmtree(folder / part)
    with pytest.raises(ValueError, match=rf"{part}(/\w+\.json)? is missing"):
        from_pretrained(folder)


@pytest.mark.filterwarnings("ignore")
def test_networks_written_by_us_are_read_by_the_reference(folders, tmp_path):
    from flipbook.interop.public import read_network, write_network

    for part, name in (("transformer", "WanTransformer3DModel"), ("vae", "AutoencoderKLWan")):
        theirs = getattr(diffusers, name).from_pretrained(folders / "two" / part)
        again = getattr(diffusers, name).from_pretrained(write_network(read_network(folders / "two" / part), tmp_path / part))
        assert again.state_dict().keys() == theirs.state_dict().keys()
        assert all(torch.equal(value, again.state_dict()[key]) for key, value in theirs.state_dict().items())


# ---------------------------------------------------------------- our own tiny ones


def tiny(config=wan.TINY):
    torch.manual_seed(0)
    system = wan.build(config)
    with torch.no_grad():
        system.denoiser.head.weight.normal_(std=0.1)
    return system.eval()


@pytest.mark.parametrize("config", [wan.TINY, wan.TINY_I2V], ids=["text", "picture"])
def test_a_saved_system_is_composed_again(config, tmp_path):
    system = tiny(config)
    asked = [Text("a red circle falls"), *([FirstFrame(picture())] if config is wan.TINY_I2V else [])]
    again = from_pretrained(save_pretrained(system, tmp_path / "model"))
    assert (again.method, again.conditions, again.process) == ("wan", system.conditions, system.process)
    assert torch.equal(latents(again, asked), latents(system, asked))


def test_a_picture_is_known_in_the_first_latent_frame_and_gray_stands_behind_it():
    system = tiny(wan.TINY_I2V)
    settings = settle(system, **SIZE)
    request = resolve((Text("a ball"), FirstFrame(picture())), settings.size, system.conditions)
    with torch.no_grad():
        _, doors = branches(system.conditions, system, [request], empty_inputs(settings.size, latent_shape(system, settings.size), [0]))
        alone = system.autoencoder.encode(torch.from_numpy(picture()).permute(2, 0, 1)[None, :, None] / 127.5 - 1)
    for branch in doors.values():                                           # guidance leaves the picture on
        mask, z = branch.channels.split([4, 4], dim=1)
        assert mask[:, :, 0].all()
        assert not mask[:, :, 1:].any()
        torch.testing.assert_close(z[:, :, :1], alone, atol=1e-5, rtol=1e-5)
        assert branch.picture_tokens.shape == (1, 1, 16)
    assert not torch.equal(doors["text"].tokens, doors["null"].tokens)


def test_the_mask_tells_frames_by_latent_frame():
    mask = torch.zeros(1, 9)
    mask[0, [0, 3, 8]] = 1
    packed = wan.packed_mask(mask, 4)
    assert packed[0].T.tolist() == [[1, 1, 1, 1], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_a_sample_does_not_depend_on_its_batch_and_text_matters():
    system = tiny()
    settings = settle(system, **SIZE)
    requests = [resolve((Text(text),), settings.size, system.conditions) for text in ("a red circle falls", "a blue square")]
    ready = prepare(system, dtype="float32")
    both = sample_latents(ready, requests, settings, [1, 2])
    torch.testing.assert_close(sample_latents(ready, requests[1:], settings, [2]), both[1:], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(sample_latents(ready, requests[:1], settings, [2]), both[1:], atol=1e-3)


def test_a_draft_begins_from_its_own_latents():
    system = tiny()
    clip = np.random.default_rng(0).integers(0, 256, (FRAMES, 2 * SIDE, SIDE, 3), dtype=np.uint8)
    kept = latents(system, [Text("a ball"), Draft(clip, 0.0)])
    with torch.no_grad():
        z = system.autoencoder.encode(torch.from_numpy(clip).permute(3, 0, 1, 2)[None] / 127.5 - 1)
    torch.testing.assert_close(kept, z, atol=1e-5, rtol=1e-5)


def test_the_published_sizes():
    assert systems.SYSTEMS["wan"] == "flipbook.systems.wan"
    with torch.device("meta"):
        counts = [sum(p.numel() for p in wan.Wan(config).parameters()) for config in (wan.T2V_1_3B, wan.T2V_14B, wan.I2V_14B)]
    assert [round(count / 1e9, 2) for count in counts] == [1.42, 14.29, 16.39]
