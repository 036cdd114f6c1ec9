"""VideoCrafter's checkpoints: read to the numbers of a plain second derivation, written again under the same names."""

from __future__ import annotations

import pytest
import torch

from flipbook.denoisers.unet import UNet
from flipbook.interop.keys.single_file import UNET
from flipbook.interop.keys.unet_videocrafter import config_of, json_of, load, seen, write
from flipbook.interop.keys_apply import KeysDoNotFit
from interop.unet_parity import close
from interop.videocrafter_plain import NETWORKS, answered

COMMON = {
    "in_channels": 4, "out_channels": 4, "model_channels": 320, "attention_resolutions": [4, 2, 1], "num_res_blocks": 2, "channel_mult": [1, 2, 4, 4],
    "num_head_channels": 64, "transformer_depth": 1, "context_dim": 1024, "use_linear": True, "use_checkpoint": True, "temporal_attention": True,
    "temporal_selfatt_only": True, "use_causal_attention": False, "temporal_length": 16, "addition_attention": True,
}  # fmt: skip
PUBLISHED = {
    "t2v 512": {**COMMON, "temporal_conv": False, "use_relative_position": True},
    "t2v 1024": {**COMMON, "temporal_conv": False, "use_relative_position": True, "fps_cond": True},
    "i2v 512": {**COMMON, "temporal_conv": True, "use_relative_position": False, "fps_cond": True, "use_image_attention": True},
}
"""`unet_config.params` of the authors' configuration files."""


def read(weights):
    return load(UNet(config_of(seen(weights, head_dim=8))), weights, "model.safetensors").eval().requires_grad_(False)


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_computes_what_the_plain_derivation_does(name):
    given, expected, weights = answered(NETWORKS[name])
    close(read(weights)(given.x, (given.level + 1) / 1000, given.doors), expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_is_written_under_the_names_and_in_the_shapes_that_were_read(name):
    _, _, weights = answered(NETWORKS[name])
    json, written = write(read(weights))
    assert {key: tuple(value.shape) for key, value in written.items()} == {key: tuple(value.shape) for key, value in weights.items()}
    assert all(torch.equal(written[key], value) for key, value in weights.items())
    assert {key: json[key] for key in seen(weights, head_dim=8)} == seen(weights, head_dim=8)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_configurations_are_read_and_written(name):
    params = PUBLISHED[name]
    config = config_of(params)
    assert config_of(json_of(config)) == config
    assert {key: value for key, value in json_of(config).items() if key in params} == {
        **{key: value for key, value in params.items() if key != "use_checkpoint"}, "attention_resolutions": [1, 2, 4],
    }  # fmt: skip
    assert config.picture_dim == (1024 if name == "i2v 512" else None)


def test_a_picture_of_zeros_adds_nothing_and_any_other_something():
    given, _, weights = answered(NETWORKS["image to video"])
    net, x, t, doors = read(weights), given.x, (given.level + 1) / 1000, given.doors
    alone = net(x, t, doors.with_(picture_tokens=None))
    assert torch.equal(net(x, t, doors.with_(picture_tokens=torch.zeros_like(doors.picture_tokens))), alone)
    assert (net(x, t, doors) - alone).abs().mean() > 1e-3
    with pytest.raises(ValueError, match="reads text alone, and picture_tokens are given"):
        read(answered(NETWORKS["version 2"])[2])(x, t, doors)


def test_what_is_no_checkpoint_of_videocrafter_or_holds_more_is_refused_by_name():
    _, _, weights = answered(NETWORKS["version 2"])
    with pytest.raises(KeysDoNotFit, match=r"model.safetensors does not fit.*\n.*1 of no known name: model.diffusion_model.stranger"):
        read(weights | {f"{UNET}stranger": torch.ones(1)})
    lost = f"{UNET}middle_block.0.temopral_conv.conv3.3.bias"
    with pytest.raises(KeysDoNotFit, match=r"1 missing: mid.0.inserts.temporal_conv.branch.convs.2.bias"):
        read({key: value for key, value in weights.items() if key != lost})
    with pytest.raises(ValueError, match=r"no model.diffusion_model.init_attn"):
        seen({key: value for key, value in weights.items() if "init_attn" not in key})
    with pytest.raises(ValueError, match=r"with a value that this network cannot have: use_causal_attention=True"):
        config_of({**PUBLISHED["i2v 512"], "use_causal_attention": True})
    with pytest.raises(ValueError, match="Save this one in our own layout"):
        json_of(UNet(config_of({**PUBLISHED["i2v 512"], "model_channels": 64}).__class__(widths=(32,), depths=(1,), transformers=(1,), head_dim=8)).config)
