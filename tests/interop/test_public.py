"""Folders of public pipelines: recognised, run, written again, and refused by name when they are not what they claim."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from autoencoder_peers import randomised
from clip_folder import write_clip
from flipbook.autoencoders.kl import KLAutoencoder
from flipbook.autoencoders.temporal_decoder import TemporalDecoderAutoencoder, TemporalDecoderAutoencoderConfig
from flipbook.autoencoders.tiny import TinyAutoencoder, TinyAutoencoderConfig
from flipbook.encoders.hub import CLIP_MEAN
from flipbook.generate import generate
from flipbook.interop.encoders import read_encoder
from flipbook.interop.folder import from_pretrained, model_folder
from flipbook.interop.public import _default_size, read_network, read_scheduler, write_network
from flipbook.process import VP

WEIGHTS = "diffusion_pytorch_model.safetensors"
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
SIZES = {"block_out_channels": (32, 64), "layers_per_block": 1, "norm_num_groups": 32, "cross_attention_dim": 32, "sample_size": 8}


def unet(name: str):
    import diffusers

    if name == "UNet3DConditionModel":
        kinds = {"down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"), "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D")}
    elif name == "UNetMotionModel":
        kinds = {"down_block_types": ("CrossAttnDownBlockMotion", "DownBlockMotion"), "up_block_types": ("UpBlockMotion", "CrossAttnUpBlockMotion")}
        kinds["motion_num_attention_heads"] = 4
    else:
        kinds = {"down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}
    heads = {"num_attention_heads": 4} if name == "UNetMotionModel" else {"attention_head_dim": 8}
    return getattr(diffusers, name)(**SIZES, **kinds, **heads)


def write_pipeline(folder: Path, pipeline: str, unet_name: str) -> Path:
    from diffusers import AutoencoderKL, DDIMScheduler

    write_clip(folder)
    torch.manual_seed(0)
    unet(unet_name).save_pretrained(folder / "unet")
    vae = AutoencoderKL(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=8
    )
    randomised(vae).save_pretrained(folder / "vae")
    DDIMScheduler(**SD).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline, "unet": ["diffusers", unet_name], "vae": ["diffusers", "AutoencoderKL"]}))
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return write_pipeline(tmp_path_factory.mktemp("public") / "text-to-video", "TextToVideoSDPipeline", "UNet3DConditionModel")


@pytest.fixture
def folder(shared, tmp_path):
    return shutil.copytree(shared, tmp_path / "model")


def change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_text_to_video_folder_makes_a_video(folder):
    system = from_pretrained(model_folder(folder))
    assert system.process.path == VP()
    assert (system.defaults["height"], system.defaults["sampler"]) == (16, "ddim")
    settings = {"num_frames": 3, "num_inference_steps": 2, "dtype": "float32"}
    (red,), (blue,) = (generate(system, text, **settings) for text in ("a red ball", "a blue ball"))
    assert red.frames.shape == (3, 16, 16, 3)
    assert (red.frames != blue.frames).any()
    assert red.recipe["model"]["name"] == "model"


@pytest.mark.parametrize(("pipeline", "name"), [("StableDiffusionPipeline", "UNet2DConditionModel"), ("AnimateDiffPipeline", "UNetMotionModel")])
def test_image_and_motion_folders_are_recognised(tmp_path, pipeline, name):
    system = from_pretrained(write_pipeline(tmp_path / "m", pipeline, name))
    (video,) = generate(system, "a ball", num_inference_steps=1, dtype="float32", num_frames=2)
    assert video.frames.shape == (2, 16, 16, 3)
    assert system.card["layout"] == pipeline


def test_autoencoders_written_by_us_are_read_by_diffusers_and_by_us(folder, tmp_path):
    from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder, AutoencoderTiny

    torch.manual_seed(0)
    ours = {
        AutoencoderKL: read_network(folder / "vae"),
        AutoencoderKLTemporalDecoder: TemporalDecoderAutoencoder(TemporalDecoderAutoencoderConfig(dims=(32, 32))),
        AutoencoderTiny: TinyAutoencoder(TinyAutoencoderConfig(dim=8, encoder_blocks=(1, 1), decoder_blocks=(1, 1))),
    }
    assert isinstance(ours[AutoencoderKL], KLAutoencoder)
    for theirs, net in ours.items():
        peer = theirs.from_pretrained(write_network(net, tmp_path / theirs.__name__))
        written = load_file(tmp_path / theirs.__name__ / WEIGHTS)
        assert {key: value.shape for key, value in written.items()} == {key: value.shape for key, value in peer.state_dict().items()}
        again = read_network(tmp_path / theirs.__name__)
        assert again.config == net.config
        assert all(torch.equal(value, net.state_dict()[key]) for key, value in again.state_dict().items())


def test_a_u_net_written_by_us_is_read_by_diffusers(folder, tmp_path):
    from diffusers import UNet3DConditionModel

    net = read_network(folder / "unet")
    peer = UNet3DConditionModel.from_pretrained(write_network(net, tmp_path / "unet", dtype=torch.bfloat16))
    before = load_file(folder / "unet" / WEIGHTS)
    assert all(torch.equal(value, before[key].bfloat16().float()) for key, value in peer.state_dict().items())


def test_reading_draws_no_random_numbers(folder):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    read_network(folder / "unet")
    read_network(folder / "vae")
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(
    ("path", "changes", "message"),
    [
        ("model_index.json", {"_class_name": "TextToVideoPipeline"}, "'TextToVideoPipeline' is not known.*TextToVideoSDPipeline"),
        ("vae/config.json", {"_class_name": "os.system"}, "vae/config.json: class 'os.system' is not known"),
        ("unet/config.json", {"_class_name": "UNet4D"}, "unet/config.json: class 'UNet4D' is not known"),
        ("unet/config.json", {"fancy_flag": True}, "unet/config.json.*\n.*fancy_flag"),
        ("scheduler/scheduler_config.json", {"_class_name": "LCM"}, "scheduler_config.json: scheduler 'LCM' is not known"),
    ],
)
def test_unknown_classes_and_fields_are_refused_by_name(folder, path, changes, message):
    change(folder / path, **changes)
    with pytest.raises(ValueError, match=message):
        from_pretrained(folder)


def test_parts_that_are_not_what_they_claim_are_refused_by_file_and_key(folder):
    path = folder / "vae" / WEIGHTS
    weights = load_file(path)
    save_file(weights | {"stranger.weight": torch.ones(1), "post_quant_conv.bias": torch.ones(9)}, path)
    with pytest.raises(ValueError, match=rf"vae/{WEIGHTS} does not fit") as error:
        from_pretrained(folder)
    assert "1 of no known name: stranger.weight" in str(error.value)
    assert "1 of another shape: post_quant_conv.bias (9,), not (4,)" in str(error.value)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=rf"vae/{WEIGHTS} has .* bytes: half-downloaded"):
        from_pretrained(folder)
    path.rename(folder / "vae/diffusion_pytorch_model.bin")
    with pytest.raises(ValueError, match=r"diffusion_pytorch_model.bin: a pickle"):
        from_pretrained(folder)
    shutil.rmtree(folder / "vae")
    with pytest.raises(ValueError, match=r"vae/config.json is missing"):
        from_pretrained(folder)


def write_adapter(folder: Path) -> Path:
    from diffusers import MotionAdapter

    adapter = MotionAdapter(block_out_channels=(32, 64), motion_layers_per_block=1, motion_num_attention_heads=4, use_motion_mid_block=False)
    keep = {key: value.clone() for key, value in adapter.state_dict().items() if key.endswith(".pe")}
    randomised(adapter).load_state_dict(keep, strict=False)
    adapter.save_pretrained(folder)
    return folder


def test_a_motion_adapter_beside_an_image_folder_or_inside_it_sets_it_in_motion(tmp_path):
    folder, adapter = write_pipeline(tmp_path / "m", "StableDiffusionPipeline", "UNet2DConditionModel"), write_adapter(tmp_path / "adapter")
    still, moving = from_pretrained(folder), from_pretrained(folder, motion_adapter=adapter)
    assert (still.method, moving.method) == ("stable-diffusion", "animatediff")
    weights = moving.denoiser.state_dict()
    assert all(torch.equal(weights[key], value) for key, value in still.denoiser.state_dict().items())
    first = next(key for key in weights if ".inserts.motion." in key and key.endswith("first.q.weight"))
    assert torch.equal(weights[first], load_file(adapter / WEIGHTS)["down_blocks.0.motion_modules.0.transformer_blocks.0.attn1.to_q.weight"])
    shutil.copytree(adapter, folder / "motion_adapter")
    inside = from_pretrained(folder)
    assert inside.method == "animatediff"
    assert all(torch.equal(weights[key], value) for key, value in inside.denoiser.state_dict().items())
    for path in (*folder.rglob("*.safetensors"), adapter / WEIGHTS):
        path.rename(path.with_suffix(".fp16.safetensors"))
    assert from_pretrained(folder, motion_adapter=adapter, variant="fp16").method == "animatediff"


def test_a_motion_adapter_and_a_likeness_that_make_no_sense_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="is a TextToVideoSDPipeline: a motion adapter sets image pipelines of Stable Diffusion in motion"):
        from_pretrained(folder, motion_adapter=tmp_path)
    with pytest.raises(ValueError, match=r"like='hub' is unknown. Try 'original' or 'diffusers'"):
        from_pretrained(folder, like="hub")


def test_the_size_that_a_network_was_trained_for_is_the_default(folder):
    change(folder / "unet/config.json", sample_size=[5, 7])
    system = from_pretrained(folder)
    assert (system.defaults["height"], system.defaults["width"]) == (10, 14)
    (folder / "unet/config.json").write_text(json.dumps({"num_frames": 25}))
    assert _default_size(folder, 8) == {"num_frames": 25}


def test_what_is_not_the_schedulers_own_is_noted_on_the_card(folder):
    change(folder / "scheduler/scheduler_config.json", _class_name="PNDMScheduler", skip_prk_steps=True)
    system = from_pretrained(folder)
    assert system.card["note"] == read_scheduler(folder / "scheduler").note != ""


def test_the_image_tower_is_told_the_colours_that_it_was_trained_on(tmp_path):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14, projection_dim=8)
    CLIPVisionModelWithProjection(config).save_pretrained(tmp_path / "image_encoder")
    plain = read_encoder(tmp_path, "image_encoder")
    assert plain.mean.flatten().tolist() == pytest.approx(CLIP_MEAN)
    (tmp_path / "feature_extractor").mkdir()
    (tmp_path / "feature_extractor/preprocessor_config.json").write_text(json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}))
    told = read_encoder(tmp_path, "image_encoder")
    assert (told.mean.flatten().tolist(), told.std.flatten().tolist()) == (pytest.approx([0.1, 0.2, 0.3]), pytest.approx([0.4, 0.5, 0.6]))
