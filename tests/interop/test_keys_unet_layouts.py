"""Key maps at full size, both ways, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flipbook.denoisers.unet import UNet, parameter_group
from flipbook.interop.keys.unet_animatediff import MOTION, adapter_config, load_adapter, position_table, write_adapter
from flipbook.interop.keys.unet_image import IMAGE
from flipbook.interop.keys.unet_layouts import LAYOUTS, PUBLIC
from flipbook.interop.keys.unet_svd import SVD
from flipbook.interop.keys_apply import KeysDoNotFit
from flipbook.nn.doors import Doors
from interop.unet_parity import close, draw, randomise

diffusers = pytest.importorskip("diffusers")
MILLIONS = {"stable-diffusion-1.5": 859.5, "stable-diffusion-2.1": 865.9, "modelscope-t2v": 1411, "stable-video-diffusion": 1524.6}


def on_meta(make, *args, **kwargs):
    with torch.device("meta"):
        return make(*args, **kwargs)


def shapes(weights):
    return {key: tuple(value.shape) for key, value in weights.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PUBLIC if not name.startswith("animatediff")])
def test_at_full_size_every_name_and_shape_is_the_references_both_ways(name):
    json = PUBLIC[name]
    theirs = on_meta(getattr(diffusers, json["_class_name"]).from_config, json)
    layout = LAYOUTS[json["_class_name"]]
    net = on_meta(UNet, layout.config(json))
    layout.load(net, theirs.state_dict())
    written, weights = layout.write(net, linear_projection=json.get("use_linear_projection", False))
    assert shapes(weights) == shapes(theirs.state_dict())
    assert layout.config(written) == layout.config(json)
    if name in MILLIONS:
        assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(MILLIONS[name], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["animatediff-v1", "animatediff-v2", "animatediff-v3"])
def test_at_full_size_a_motion_adapter_fits_stable_diffusion_both_ways(name):
    json = PUBLIC[name]
    theirs = on_meta(diffusers.MotionAdapter.from_config, json)
    image = IMAGE.config(PUBLIC["stable-diffusion-1.5"])
    net = load_adapter(on_meta(UNet, adapter_config(json, image)), theirs.state_dict())
    written, weights = write_adapter(net)
    assert shapes(weights) == shapes(theirs.state_dict())
    assert adapter_config(written, image) == net.config


def tiny(**changes):
    blocks = {f"{way.lower()}_block_types": (f"CrossAttn{way}Block2D", f"{way}Block2D")[:: 1 if way == "Down" else -1] for way in ("Down", "Up")}
    return randomise(diffusers.UNet2DConditionModel(
        **blocks, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, cross_attention_dim=12, attention_head_dim=2, **changes,
    ))  # fmt: skip


def adapter(**changes):
    config = {"block_out_channels": (16, 32), "motion_layers_per_block": 1, "motion_norm_num_groups": 8, "motion_num_attention_heads": 2}
    return randomise(diffusers.MotionAdapter(**{**config, "use_motion_mid_block": False, **changes}), seed=5)


def assembled(image, motion, norm="frame"):
    config = IMAGE.config(dict(image.config))
    net = UNet(adapter_config(dict(motion.config), config, norm=norm))
    net.load_state_dict(IMAGE.load(UNet(config), image.state_dict()).state_dict(), strict=False)
    return load_adapter(net, motion.state_dict()).eval().requires_grad_(False)


@pytest.mark.parametrize("middle", [False, True])
def test_an_image_model_and_a_motion_adapter_make_the_animatediff_model(middle):
    """As `UNetMotionModel.from_unet2d` puts them together."""
    image, motion = tiny(), adapter(use_motion_mid_block=middle)
    theirs = diffusers.UNetMotionModel.from_unet2d(image, motion).eval().requires_grad_(False)
    x, tokens, level = draw(2, 4, 3, 8, 8), draw(2, 5, 12), torch.tensor([37, 998])
    expected = theirs(x, level, tokens.repeat_interleave(3, 0)).sample
    net = assembled(image, motion, norm="clip")
    close(net(x, (level + 1) / 1000, Doors(tokens=tokens)), expected)


def test_the_authors_motion_module_norms_each_frame_and_diffusers_the_clip():
    """Measured where it shows: with attention among frames parted, a norm over the clip still lets frame 2 touch frame 0."""
    image, motion, x, doors = tiny(), adapter(), draw(1, 4, 3, 8, 8), Doors(tokens=draw(1, 5, 12))
    parted, changed = torch.eye(3, dtype=torch.bool), x.clone()
    changed[:, :, 2] += 1.0
    net = assembled(image, motion)
    out, other = (net(y, torch.tensor([0.5]), doors, frame_attends=parted) for y in (x, changed))
    assert torch.equal(out[:, :, 0], other[:, :, 0])
    with pytest.raises(ValueError, match="normalises over whole clips"):
        assembled(image, motion, norm="clip")(x, torch.tensor([0.5]), doors, frame_attends=parted)


def test_random_weights_survive_the_way_there_and_back():
    theirs = diffusers.UNetMotionModel.from_unet2d(tiny(use_linear_projection=True), adapter())
    net = MOTION.load(UNet(MOTION.config(dict(theirs.config))), theirs.state_dict())
    json, weights = MOTION.write(net, linear_projection=True)
    expected = theirs.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.allclose(weights[key], expected[key], atol=1e-6) for key in expected)
    assert MOTION.config(json) == net.config


def test_reading_image_weights_changes_spatial_weights_alone():
    image, motion = tiny(), adapter()
    before, after = assembled(image, motion).state_dict(), assembled(randomise(tiny(), seed=8), motion).state_dict()
    same = {key for key in before if torch.equal(before[key], after[key])}
    assert {parameter_group(key) for key in same} == {"temporal"}
    assert {parameter_group(key) for key in before.keys() - same} == {"spatial"}


def test_weights_that_do_not_fit_are_all_named():
    theirs = tiny()
    weights = theirs.state_dict()
    weights["text_model.weight"] = torch.zeros(1)
    weights["down_blocks.9.resnets.0.conv1.weight"] = torch.zeros(1)
    weights["conv_in.bias"] = torch.zeros(3)
    del weights["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"]
    with pytest.raises(KeysDoNotFit) as error:
        IMAGE.load(UNet(IMAGE.config(dict(theirs.config))), weights, "model.safetensors")
    message = str(error.value)
    assert "model.safetensors does not fit" in message
    assert "1 of no known name: text_model.weight" in message
    assert "1 missing: mid.0.transformer.blocks.0.cross.k.weight" in message
    assert "1 not used: down_blocks.9.resnets.0.conv1.weight" in message
    assert "1 of another shape: conv_in.bias (3,), not (16,)" in message


def test_a_position_table_that_is_not_the_formula_is_refused():
    image, motion = tiny(), adapter()
    weights = motion.state_dict()
    key = next(key for key in weights if key.endswith("pos_embed.pe"))
    torch.testing.assert_close(weights[key], position_table(32, 16))
    with pytest.raises(KeysDoNotFit, match="not the table of sines and cosines of 32 frames"):
        load_adapter(assembled(image, motion), weights | {key: weights[key] + 0.1})
    with pytest.raises(KeysDoNotFit, match="of 24 frames"):
        load_adapter(assembled(image, adapter(motion_max_seq_length=24)), weights)


def test_a_config_that_says_more_than_is_read_is_refused_with_every_entry():
    json = PUBLIC["stable-diffusion-1.5"]
    with pytest.raises(ValueError, match=r"1 of no known name: colour\n.*2 with a value.*: dual_cross_attention=True, mid_block_type=None"):
        IMAGE.config({**json, "colour": 1, "dual_cross_attention": True, "mid_block_type": None})
    with pytest.raises(ValueError, match="not mirror images"):
        IMAGE.config({**json, "up_block_types": ["UpBlock2D"] * 4})
    with pytest.raises(ValueError, match=r"block types \['AttnDownBlock2D'\] are unknown"):
        IMAGE.config({**json, "down_block_types": ["AttnDownBlock2D"] * 4})
    with pytest.raises(ValueError, match="made for another image network: widths"):
        adapter_config({**PUBLIC["animatediff-v2"], "block_out_channels": [16, 32, 64, 64]}, IMAGE.config(json))


def test_a_network_that_a_class_cannot_hold_is_not_written_as_one():
    image = IMAGE.config(PUBLIC["stable-diffusion-1.5"])
    with pytest.raises(ValueError, match="image network: it cannot hold inserts"):
        IMAGE.json(adapter_config(PUBLIC["animatediff-v2"], image))
    with pytest.raises(ValueError, match="one insert called 'motion'"):
        MOTION.json(image)
    with pytest.raises(ValueError, match="SVD's inserts"):
        SVD.json(replace(image, clock="edm"))
