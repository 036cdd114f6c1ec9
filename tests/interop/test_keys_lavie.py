"""LaVie's three checkpoints: read to the numbers of a second derivation, written again under the same names."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flipbook.denoisers.unet import UNet
from flipbook.interop.keys import unet_lavie, unet_lavie_vsr
from flipbook.interop.keys.unet_image import IMAGE
from flipbook.interop.keys.unet_lavie import FREQUENCIES, LAVIE, config_of, json_of
from flipbook.interop.keys.unet_layouts import PUBLIC
from flipbook.interop.keys_apply import KeysDoNotFit
from flipbook.systems import lavie
from interop.lavie_plain import answered, asked, checkpoint, image
from interop.unet_parity import close

pytest.importorskip("diffusers")
pytest.importorskip("transformers")


def read(weights, kind="base"):
    names, layout = (unet_lavie_vsr, unet_lavie_vsr.UPSCALER) if kind == "upscaler" else (unet_lavie, LAVIE)
    return layout.load(UNet(names.config_of(names.seen(weights))), weights, "lavie.safetensors").eval().requires_grad_(False)


@pytest.fixture(scope="module", params=["base", "interpolation", "upscaler"])
def peer(request):
    net = image(request.param)
    return request.param, net, checkpoint(net, request.param)


def test_each_network_computes_what_the_second_derivation_does(peer):
    kind, image_net, weights = peer
    x, level, tokens, beside, doors = asked(kind)
    expected = answered(image_net, weights, x, level, tokens, beside, kind)
    net, t = read(weights, kind), (level + 1) / 1000
    close(net(x, t, doors), expected)
    backwards = doors if beside is None else doors.with_(channels=beside.flip(2))
    assert (net(x.flip(2), t, backwards).flip(2) - expected).abs().mean() > 1e-3                    # the order of frames counts


def test_each_is_written_under_the_names_and_in_the_shapes_that_were_read(peer):
    kind, _, weights = peer
    net = read(weights, kind)
    layout, names = (unet_lavie_vsr.UPSCALER, unet_lavie_vsr) if kind == "upscaler" else (LAVIE, unet_lavie)
    json, written = layout.write(net)
    assert {key: tuple(value.shape) for key, value in written.items()} == {key: tuple(value.shape) for key, value in weights.items()}
    assert all(torch.allclose(written[key], value, rtol=1e-6, atol=0) for key, value in weights.items())
    assert names.config_of(json) == net.config


def test_a_stranger_a_lost_key_and_another_shape_are_named_in_each(peer):
    kind, _, weights = peer
    with pytest.raises(KeysDoNotFit, match=r"lavie.safetensors does not fit.*\n.*1 of no known name: stranger"):
        read(weights | {"stranger": torch.ones(1)}, kind)
    lost = next(key for key in weights if ".attn_temp" in key and key.endswith("to_v.weight"))
    with pytest.raises(KeysDoNotFit, match=r"1 missing: .*inserts.temporal_attention.branch.attention.v.weight"):
        read({key: value for key, value in weights.items() if key != lost}, kind)
    with pytest.raises(KeysDoNotFit, match=r"1 of another shape: .*to_v.weight \(3, 3\)"):
        read(weights | {lost: torch.ones(3, 3)}, kind)


def authors_json(**changes):
    """What LaVie's authors make of the configuration of Stable Diffusion 1.4."""
    return {
        "_class_name": "UNet3DConditionModel", "act_fn": "silu", "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280],
        "center_input_sample": False, "cross_attention_dim": 768, "down_block_types": ["CrossAttnDownBlock3D"] * 3 + ["DownBlock3D"],
        "downsample_padding": 1, "flip_sin_to_cos": True, "freq_shift": 0, "in_channels": 4, "layers_per_block": 2, "mid_block_scale_factor": 1,
        "norm_eps": 1e-05, "norm_num_groups": 32, "out_channels": 4, "sample_size": 64, "use_first_frame": False,
        "up_block_types": ["UpBlock3D"] + ["CrossAttnUpBlock3D"] * 3, **changes,
    }  # fmt: skip


UPSCALER_JSON = {
    "_class_name": "UNet3DVSRModel", "act_fn": "silu", "attention_head_dim": 8, "block_out_channels": [256, 512, 512, 1024], "cross_attention_dim": 1024,
    "down_block_types": ["DownBlock3D"] + ["CrossAttnDownBlock3D"] * 3, "up_block_types": ["CrossAttnUpBlock3D"] * 3 + ["UpBlock3D"], "in_channels": 7,
    "out_channels": 4, "layers_per_block": 2, "norm_eps": 1e-05, "norm_num_groups": 32, "num_class_embeds": 1000, "use_linear_projection": True,
    "only_cross_attention": [True, True, True, False], "down_temporal_idx": [0, 1, 2, 3], "mid_temporal": True, "up_temporal_idx": [0, 1, 2, 3],
    "temporal_module_config": unet_lavie_vsr.MODULE, "video_condition": False, "use_first_frame": False, "freeze_pretrained_2d_upsampler": True,
    "sample_size": 128,
}  # fmt: skip


def test_the_base_is_stable_diffusion_1_4_with_other_blocks():
    json = authors_json()
    assert config_of(json_of(config_of(json))) == config_of(json)
    with torch.device("meta"):
        nets = [UNet(config) for config in (config_of(json), IMAGE.config(PUBLIC["stable-diffusion-1.5"]))]
    video, still = (sum(p.numel() for p in net.parameters()) for net in nets)
    widths = 5 * [320] + 5 * [640] + 6 * [1280]                             # of the transformer blocks
    assert video - still == sum(4 * c * c + 3 * c + 32 * 8 for c in widths)


def test_the_systems_networks_are_those_that_the_authors_configurations_describe():
    """Apart from the norms, which span the clip in the checkpoints: a clip would not begin as the image model."""
    built = lambda config: replace(config, norm="frame", out_channels=None)
    assert built(config_of(authors_json())) == lavie.UNETS["base"]
    assert built(config_of(authors_json(use_first_frame=True, in_channels=8))) == lavie.UNETS["interpolation"]
    assert built(unet_lavie_vsr.config_of(UPSCALER_JSON)) == lavie.UNETS["upscaler"]


def test_what_is_no_checkpoint_of_lavie_is_refused_by_name(peer):
    kind, net, weights = peer
    with pytest.raises(ValueError, match="no weights of LaVie's"):
        unet_lavie.seen(net.state_dict())
    with pytest.raises(ValueError, match="no weights of LaVie's upscaler"):
        unet_lavie_vsr.seen(net.state_dict())
    if kind != "interpolation":                                             # nothing turns there
        turns = next(key for key in weights if key.endswith(FREQUENCIES))
        with pytest.raises(KeysDoNotFit, match="is not the frequencies of 32 channels"):
            read(weights | {turns: weights[turns] * 1.1}, kind)


def test_what_the_authors_classes_can_be_and_ours_cannot_is_refused_by_name():
    with pytest.raises(ValueError, match="with a value that this network cannot have: use_relative_position=True"):
        config_of(authors_json(use_relative_position=True))
    with pytest.raises(ValueError, match=r"cannot have: down_temporal_idx=\[0, 1\], video_condition=True"):
        unet_lavie_vsr.config_of(UPSCALER_JSON | {"video_condition": True, "down_temporal_idx": [0, 1]})
    with pytest.raises(ValueError, match="norms over the clip"):
        json_of(lavie.UNETS["base"])                                        # would be read as another network
    with pytest.raises(ValueError, match="norms over the clip"):
        unet_lavie_vsr.json_of(lavie.UNETS["upscaler"])
