"""LaVie's base checkpoint: read to the numbers of a second derivation, written again under the same names."""

from __future__ import annotations

import pytest
import torch

from flipbook.denoisers.unet import UNet
from flipbook.interop.keys.unet_image import IMAGE
from flipbook.interop.keys.unet_lavie import FREQUENCIES, LAVIE, config_of, json_of, seen
from flipbook.interop.keys.unet_layouts import PUBLIC
from flipbook.interop.keys_apply import KeysDoNotFit
from flipbook.nn.doors import Doors
from interop.lavie_plain import FRAMES, answered, checkpoint, image
from interop.unet_parity import close, draw

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
def read(weights):
    return LAVIE.load(UNet(config_of(seen(weights))), weights, "lavie.safetensors").eval().requires_grad_(False)


@pytest.fixture(scope="module")
def peer():
    net = image()
    return net, checkpoint(net)


def test_the_network_computes_what_the_second_derivation_does(peer):
    x, level, tokens = draw(2, 4, FRAMES, 4, 4), torch.tensor([37, 998]), draw(2, 5, 12, seed=2)
    expected = answered(*peer, x, level, tokens)
    net = read(peer[1])
    close(net(x, (level + 1) / 1000, Doors(tokens=tokens)), expected)
    assert (net(x.flip(2), (level + 1) / 1000, Doors(tokens=tokens)).flip(2) - expected).abs().mean() > 1e-3      # the order of frames counts


def test_it_is_written_under_the_names_and_in_the_shapes_that_were_read(peer):
    weights = peer[1]
    json, written = LAVIE.write(read(weights))
    assert {key: tuple(value.shape) for key, value in written.items()} == {key: tuple(value.shape) for key, value in weights.items()}
    assert all(torch.allclose(written[key], value, rtol=1e-6, atol=0) for key, value in weights.items())
    assert config_of(json) == config_of(seen(weights))


def test_the_authors_configuration_is_that_of_stable_diffusion_1_4_with_other_blocks():
    json = {
        "_class_name": "UNet3DConditionModel", "act_fn": "silu", "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280],
        "center_input_sample": False, "cross_attention_dim": 768, "down_block_types": ["CrossAttnDownBlock3D"] * 3 + ["DownBlock3D"],
        "downsample_padding": 1, "flip_sin_to_cos": True, "freq_shift": 0, "in_channels": 4, "layers_per_block": 2, "mid_block_scale_factor": 1,
        "norm_eps": 1e-05, "norm_num_groups": 32, "out_channels": 4, "sample_size": 64, "use_first_frame": False,
        "up_block_types": ["UpBlock3D"] + ["CrossAttnUpBlock3D"] * 3,
    }  # fmt: skip
    assert config_of(json_of(config_of(json))) == config_of(json)
    with torch.device("meta"):
        nets = [UNet(config) for config in (config_of(json), IMAGE.config(PUBLIC["stable-diffusion-1.5"]))]
    video, image = (sum(p.numel() for p in net.parameters()) for net in nets)
    widths = 5 * [320] + 5 * [640] + 6 * [1280]                             # of the transformer blocks
    assert video - image == sum(4 * c * c + 3 * c + 32 * 8 for c in widths)


def test_what_is_no_checkpoint_of_lavie_or_holds_more_is_refused_by_name(peer):
    net, weights = peer
    with pytest.raises(ValueError, match="no weights of LaVie's base network"):
        seen(net.state_dict())
    with pytest.raises(KeysDoNotFit, match=r"lavie.safetensors does not fit.*\n.*1 of no known name: stranger"):
        read(weights | {"stranger": torch.ones(1)})
    lost = next(key for key in weights if key.endswith("attn_temp.to_v.weight"))
    with pytest.raises(KeysDoNotFit, match=r"1 missing: .*inserts.temporal_attention.branch.attention.v.weight"):
        read({key: value for key, value in weights.items() if key != lost})
    turns = next(key for key in weights if key.endswith(FREQUENCIES))
    with pytest.raises(KeysDoNotFit, match="is not the frequencies of 32 channels"):
        read(weights | {turns: weights[turns] * 1.1})
    with pytest.raises(ValueError, match="with a value that this network cannot have: use_first_frame=True"):
        config_of(seen(weights) | {"use_first_frame": True})
