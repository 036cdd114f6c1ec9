"""Checkpoints in one file: recognised, run and written, with what no file holds taken from the folder beside; all else refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from autoencoder_peers import randomised
from encoders.test_resampler import resampler_file, tower, tower_file
from flipbook.cli import main
from flipbook.conditions import FirstFrame, Text
from flipbook.encoders.resampler import QueryResampler
from flipbook.generate import generate
from flipbook.interop.folder import from_pretrained, model_folder
from flipbook.interop.keys import autoencoder_kl, single_file
from flipbook.interop.keys_apply import inverted, translate
from flipbook.interop.single import load_single_file, single_file_weights
from flipbook.process import VP
from flipbook.process.x0_scale import X0Scale
from flipbook.systems import build
from flipbook.systems.videocrafter import PLAN, PLAN_1
from interop.videocrafter_plain import Plain, Weights
from public_folders import write_image_pipeline

SETTINGS = {"num_frames": 3, "height": 32, "width": 32, "num_inference_steps": 2, "dtype": "float32"}
TEXT, AUTOENCODER = single_file.TEXT, single_file.AUTOENCODER


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """A Stable Diffusion pipeline's folder; of it the tokenizer is read, and a scheduler, an autoencoder, a text encoder where a file has none."""
    return write_image_pipeline(tmp_path_factory.mktemp("beside") / "sd")


def text_tower(width=64):
    """OpenCLIP's text tower of three blocks, the last of which is never run."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=56, hidden_size=width, intermediate_size=32, num_hidden_layers=2, num_attention_heads=1, max_position_embeddings=16, hidden_act="gelu",
    )  # fmt: skip
    theirs = {f"text_model.{key.removeprefix('text_model.')}": value for key, value in randomised(CLIPTextModel(config)).state_dict().items()}
    kept = {key: value for key, value in theirs.items() if "position_ids" not in key}
    return translate(kept, inverted(single_file.open_clip_rules(2)), None) | {f"{TEXT}model.transformer.resblocks.2.ln_1.weight": torch.ones(1)}


def autoencoder():
    """A small latent diffusion autoencoder under the names of its authors, whose attention is of 1 x 1 convolutions."""
    from diffusers import AutoencoderKL

    vae = randomised(AutoencoderKL(
        block_out_channels=(32, 64), layers_per_block=1, down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ))  # fmt: skip
    named = translate(vae.state_dict(), inverted(autoencoder_kl.original_rules(2)), None)
    return {key: value[..., None, None] if ".attn_1." in key and value.ndim == 2 else value for key, value in named.items()}


def videocrafter(*, rows=0, last=0.7):
    """A whole file: network, autoencoder, text tower, the scale of version 2, what training left, and with rows the picture's encoder."""
    plain = Plain(conv=True, reach=None, fps=True, rows=rows, context=64)
    weights = Weights(single_file.UNET)
    plain(weights, torch.zeros(1, 4, 2, 8, 8), torch.tensor([5]), torch.zeros(1, 4 + rows, 64), torch.tensor([8.0]))
    file = {**weights, **autoencoder(), **text_tower(), "betas": torch.ones(3)}
    if last < 1:
        file["scale_arr"] = torch.cat([torch.linspace(1.0, last, 400), torch.full((1000,), last)])
    if rows:
        file |= tower_file(tower()) | resampler_file(randomised(QueryResampler(64, 16, 64, queries=rows, depth=1, heads=2, head_dim=8)))
    return file


def written(file, path):
    save_file({key: value.contiguous().clone() for key, value in file.items()}, path)
    return path


def test_a_text_to_video_file_runs_on_the_path_that_it_holds(tmp_path, beside):
    path = written(videocrafter(), tmp_path / "vc2.safetensors")
    system = load_single_file(path, beside=beside, head_dim=8)
    assert system.process.path == X0Scale(VP(), last=0.7, levels=400) == PLAN.process.path
    assert system.text_encoder.model.config.hidden_act == "gelu"                # OpenCLIP's
    assert (system.method, system.name, system.card["layout"]) == ("videocrafter", "vc2", "videocrafter, one file")
    red, blue = (generate(system, text, **SETTINGS)[0].frames for text in ("a red ball", "a blue ball"))
    assert red.shape == (3, 32, 32, 3)
    assert (red != blue).any()
    first = load_single_file(written(videocrafter(last=1.0), tmp_path / "vc1.safetensors"), beside=beside, head_dim=8)
    assert first.process == PLAN_1.process


def test_an_image_to_video_file_reads_its_picture(tmp_path, beside):
    system = load_single_file(written(videocrafter(rows=3), tmp_path / "i2v.safetensors"), beside=beside, head_dim=8)
    first, second = (
        generate(system, [[Text("a ball"), FirstFrame(np.full((32, 32, 3), gray, np.uint8))]], **SETTINGS)[0].frames for gray in (0, 255)
    )
    assert (first != second).any()
    assert system.image_encoder.encode(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 64)


def test_the_network_the_autoencoder_and_the_scale_are_written_as_they_were_read(tmp_path, beside):
    file = videocrafter()
    system = load_single_file(written(file, tmp_path / "vc2.safetensors"), beside=beside, head_dim=8)
    again = single_file_weights(system)
    assert again.keys() == {key for key in file if not key.startswith(TEXT)} - {"betas"}
    assert all(torch.equal(again[key], file[key]) for key in again if key != "scale_arr")
    torch.testing.assert_close(again["scale_arr"], file["scale_arr"][:1000], atol=1e-6, rtol=0)


LAVIE = {"widths": (32, 64), "groups": 32, "text_dim": 32, "norm": "clip"}
"""What its authors' files hold: norms over the clip."""


def lavie_file(kind, folder, **changes):
    from flipbook.systems import changed, lavie

    torch.manual_seed(0)
    tiny = lavie.build(changed(lavie.tiny_stage(kind), {"denoiser": {**LAVIE, **changes}}))
    randomised(tiny.denoiser)
    return tiny, written(single_file_weights(tiny), folder / f"lavie-{kind}.safetensors")


def test_the_base_of_lavie_takes_autoencoder_and_text_from_beside(tmp_path, beside):
    tiny, path = lavie_file("base", tmp_path)
    system = load_single_file(path, beside=beside)
    assert (system.method, system.name, system.process.path.schedule) == ("lavie", "lavie-base", "linear")
    (video,) = generate(system, "a red ball", **SETTINGS)
    assert video.frames.shape == (3, 32, 32, 3)
    assert all(torch.equal(value, tiny.denoiser.state_dict()[key]) for key, value in system.denoiser.state_dict().items())


def test_lavies_three_files_are_a_cascade_from_the_command_line_that_goes_on_where_it_stopped(tmp_path, beside, capsys):
    """Files as stages; then the last stage alone with another level, which leaves the two before it as they are."""
    import yaml

    from flipbook.long.cascade import to_data
    from flipbook.systems import lavie

    for part in ("vae", "text_encoder", "tokenizer"):
        (tmp_path / part).symlink_to(beside / part)
    shapes = {"base": {}, "interpolation": {"heads": (8, 8)}, "upscaler": {}}
    files = {kind: str(lavie_file(kind, tmp_path, **changes)[1]) for kind, changes in shapes.items()}
    plan = lavie.cascade(files, num_frames=2, height=16, width=16)
    for stage in plan.stages:
        plan = plan.with_stage(stage.name, num_inference_steps=1)
    (tmp_path / "lavie.yaml").write_text(yaml.safe_dump(to_data(plan)))

    def run(*more):
        with pytest.raises(SystemExit, match=r"^0$"):
            main(["cascade", str(tmp_path / "lavie.yaml"), "a ball", "--folder", str(tmp_path / "run"), *more])

    run("--json")
    assert '"frames": 5' in capsys.readouterr().out
    kept = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.safetensors")}
    assert sorted(kept) == ["1-base.safetensors", "2-interpolation.safetensors", "3-upscaler.safetensors"]
    run("--set", "upscaler.level=0.3")
    told = capsys.readouterr().err
    assert "upscaler" in told
    assert "base" not in told
    again = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.safetensors")}
    assert [again[name] == kept[name] for name in sorted(kept)] == [True, True, False]


def test_lavies_interpolation_that_reads_a_mask_is_refused_by_its_channels(tmp_path, beside):
    _, path = lavie_file("interpolation", tmp_path, channel_door=5, heads=(8, 8))
    with pytest.raises(ValueError, match="LaVie's interpolation and reads 5 channels beside the latents; known is the one with 4"):
        load_single_file(path, beside=beside)


def stable_diffusion():
    """A version 1 file, with all that training leaves in one: CLIP's own names for the text, a text 768 wide."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    unet = randomised(UNet2DConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=768, attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ))  # fmt: skip
    text = randomised(CLIPTextModel(CLIPTextConfig(
        vocab_size=56, hidden_size=768, intermediate_size=16, num_hidden_layers=1, num_attention_heads=12, max_position_embeddings=16,
    )))  # fmt: skip
    file = translate(unet.state_dict(), inverted(single_file.unet_rules(2, 1, attends=(True, False))), None)
    file |= {f"{TEXT}transformer.text_model.{k.removeprefix('text_model.')}": v for k, v in text.state_dict().items()}
    left = {key: torch.ones(1) for key in (
        "model_ema.decay", "betas", "alphas_cumprod", "sqrt_recip_alphas_cumprod", "log_one_minus_alphas_cumprod", "posterior_variance", "logvar",
        "scale_factor", "lvlb_weights", "first_stage_model.loss.logvar",
    )}  # fmt: skip
    return unet, text, file | autoencoder() | left


@torch.no_grad()
def test_a_stable_diffusion_file_becomes_the_image_system_with_the_scheduler_beside_it(tmp_path, beside):
    unet, text, file = stable_diffusion()
    system = load_single_file(written(file, tmp_path / "sd.safetensors"), beside=beside)
    x, tokens = torch.randn(1, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.randn(1, 5, 768, generator=torch.Generator().manual_seed(1))
    from flipbook.nn.doors import Doors

    expected = unet(x[:, :, 0], 500, tokens).sample
    torch.testing.assert_close(system.denoiser(x, torch.tensor([0.501]), Doors(tokens=tokens))[:, :, 0], expected, atol=1e-4, rtol=1e-4)
    (video,) = generate(system, "a red ball", **{**SETTINGS, "num_frames": 1})
    assert video.frames.shape == (1, 32, 32, 3)
    assert system.method == "stable-diffusion"
    tower, ids = system.text_encoder.model, torch.arange(5)[None]
    assert tower.config.hidden_act == "quick_gelu"                              # CLIP's own
    torch.testing.assert_close(tower(ids).last_hidden_state, text.eval()(ids).last_hidden_state, atol=1e-5, rtol=1e-5)
    assert not tower.training
    assert not any(p.requires_grad for p in tower.parameters())


def test_what_no_file_holds_is_asked_for_by_name(tmp_path, beside):
    path = written(videocrafter(), tmp_path / "vc2.safetensors")
    with pytest.raises(ValueError, match=r"vc2.safetensors holds no tokenizer, and .* has no folder of that name. Give beside=FOLDER"):
        load_single_file(path, head_dim=8)
    (tmp_path / "tokenizer").symlink_to(beside / "tokenizer")
    assert load_single_file(path, head_dim=8).method == "videocrafter"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file | {"lora.down": torch.ones(1)}, r"1 of no known name: lora.down"),
        (lambda file: {k: v for k, v in file.items() if not k.startswith(AUTOENCODER)}, r"1 missing: first_stage_model.\*"),
        (lambda file: {k: v for k, v in file.items() if "decoder.conv_out.bias" not in k}, r"1 missing: decoder.conv_out.bias"),
        (lambda file: {k: v for k, v in file.items() if "resblocks.1.mlp.c_fc.bias" not in k}, r"1 missing: encoder.layers.1.mlp.fc1.bias"),
        (lambda file: file | {f"{single_file.UNET}out.2.bias": torch.ones(5)}, r"1 of another shape: conv_out.bias \(5,\), not \(4,\)"),
        (lambda file: {"a.weight": torch.ones(1)}, r"is no checkpoint that is known here \(it holds a.weight"),
        (lambda file: {"up_blocks.0.motion_modules.0.temporal_transformer.norm.bias": torch.ones(1)}, "holds motion modules alone. Give it as motion_adapter"),
    ],
)
def test_files_that_are_not_what_they_claim_are_refused_by_file_and_key(tmp_path, beside, change, message):
    path = written(change(videocrafter()), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=message) as error:
        load_single_file(path, beside=beside, head_dim=8)
    assert "model.safetensors" in str(error.value)


def test_an_image_to_video_file_without_its_encoder_is_refused(tmp_path, beside):
    file = {key: value for key, value in videocrafter(rows=3).items() if not key.startswith("image_proj_model.")}
    with pytest.raises(ValueError, match=r"reads a picture, and lacks its encoder:\n.*1 missing: image_proj_model.\*"):
        load_single_file(written(file, tmp_path / "i2v.safetensors"), beside=beside, head_dim=8)


def test_a_system_without_such_a_file_is_not_written_as_one():
    with pytest.raises(ValueError, match="svd has no single-file layout here"):
        single_file_weights(build("svd", tiny=True))


def test_the_command_line_takes_a_file_and_the_folder_beside_it(tmp_path, beside, capsys):
    *_, file = stable_diffusion()
    path = written(file, tmp_path / "sd.safetensors")
    assert model_folder(path) == path
    out = tmp_path / "clip.mp4"
    asked = ["generate", "a ball", "--model", str(path), "--num-inference-steps", "1", "--height", "32", "--width", "32", "--output", str(out)]
    with pytest.raises(SystemExit) as ended:
        main([*asked, "--beside", str(beside)])
    assert (ended.value.code, out.is_file()) == (0, True)
    with pytest.raises(SystemExit) as ended:
        main([*asked, "--motion-adapter", str(beside)])
    assert ended.value.code == 1
    assert "is one file: motion_adapter is for folders of public pipelines" in capsys.readouterr().err
    with pytest.raises(ValueError, match="`beside` is for single files"):
        from_pretrained(beside, beside=beside)
