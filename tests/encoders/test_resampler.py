"""The query resampler: equal to that of IP-Adapter in diffusers; its encoders and their names in VideoCrafter's files."""

from __future__ import annotations

import pytest
import torch

from autoencoder_peers import randomised
from flipbook.encoders.resampler import (
    QueryResampler,
    ResampledClipEncoder,
    ResampledPictureEncoder,
    ResampledPictureEncoderConfig,
)
from flipbook.interop.keys.picture_rows import (
    RESAMPLER,
    RESAMPLER_RULES,
    TOWER,
    resampler_config,
    tower_config,
    tower_rules,
)
from flipbook.interop.keys_apply import KeysDoNotFit, Rule, inverted, translate


def draw(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_it_computes_what_the_one_of_ip_adapter_does():
    """diffusers' copy keeps keys and values apart, where VideoCrafter's files hold them as one matrix."""
    embeddings = pytest.importorskip("diffusers.models.embeddings")
    theirs = randomised(embeddings.IPAdapterPlusImageProjection(
        embed_dims=12, output_dims=20, hidden_dims=16, depth=2, dim_head=4, heads=3, num_queries=5, ffn_ratio=2,
    )).eval()  # fmt: skip
    rules = (
        Rule("latents", "queries"), Rule("proj_in.{p}", "enter.{p}"), Rule("proj_out.{p}", "leave.{p}"), Rule("norm_out.{p}", "norm.{p}"),
        Rule("layers.{i}.ln0.{p}", "layers.{i}.norm_rows.{p}"), Rule("layers.{i}.ln1.{p}", "layers.{i}.norm_queries.{p}"),
        Rule("layers.{i}.attn.to_q.weight", "layers.{i}.q.weight"), Rule("layers.{i}.attn.to_out.0.weight", "layers.{i}.out.weight"),
        Rule(("layers.{i}.attn.to_k.weight", "layers.{i}.attn.to_v.weight"), "layers.{i}.kv.weight"),
        Rule("layers.{i}.ff.0.{p}", "layers.{i}.norm_mlp.{p}"), Rule("layers.{i}.ff.1.net.0.proj.weight", "layers.{i}.up.weight"),
        Rule("layers.{i}.ff.1.net.2.weight", "layers.{i}.down.weight"),
    )  # fmt: skip
    ours = QueryResampler(12, 16, 20, queries=5, depth=2, heads=3, head_dim=4, mult=2)
    ours.load_state_dict(translate(theirs.state_dict(), rules, ours.state_dict()))
    rows = draw(2, 7, 12)
    torch.testing.assert_close(ours(rows), theirs(rows), atol=1e-5, rtol=1e-5)


def resampler_file(net):
    return translate(net.state_dict(), inverted(RESAMPLER_RULES), None)


def test_its_names_in_a_file_and_its_sizes_are_read_back():
    net = randomised(QueryResampler(12, 16, 20, queries=5, depth=2, heads=3, head_dim=4, mult=2))
    file = resampler_file(net)
    assert file[f"{RESAMPLER}layers.1.0.to_kv.weight"].shape == (24, 16)
    assert file[f"{RESAMPLER}layers.1.1.3.weight"].shape == (16, 32)
    again = QueryResampler(**resampler_config(file, head_dim=4))
    again.load_state_dict(translate(file, RESAMPLER_RULES, again.state_dict()))
    assert torch.equal(again(draw(1, 3, 12)), net(draw(1, 3, 12)))
    with pytest.raises(KeysDoNotFit, match=r"1 missing: layers.1.up.weight"):
        translate({key: value for key, value in file.items() if "layers.1.1.1." not in key}, RESAMPLER_RULES, again.state_dict())


def tower(seed=0):
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPVisionConfig(
        hidden_size=64, intermediate_size=32, num_hidden_layers=2, num_attention_heads=1, image_size=28, patch_size=14, projection_dim=8, hidden_act="gelu",
    )  # fmt: skip
    return randomised(transformers.CLIPVisionModelWithProjection(config)).eval()


def tower_file(model):
    """As the authors' files hold the tower, with what they hold beside it."""
    file = translate({k: v for k, v in model.state_dict().items() if "position_ids" not in k}, inverted(tower_rules()), None)
    beside = {"logit_scale": torch.ones(()), "ln_final.weight": torch.ones(3), "text_projection": torch.ones(3, 3)}
    return file | {f"{TOWER}model.{name}": value for name, value in beside.items()}


def test_the_tower_in_a_file_has_the_names_of_open_clip_and_becomes_transformers():
    model = tower()
    file = tower_file(model)
    visual = f"{TOWER}model.visual."
    names = {
        "class_embedding": (64,), "positional_embedding": (5, 64), "proj": (64, 8), "conv1.weight": (64, 3, 14, 14), "ln_pre.bias": (64,),
        "ln_post.weight": (64,),
        "transformer.resblocks.1.attn.in_proj_weight": (192, 64), "transformer.resblocks.1.attn.in_proj_bias": (192,),
        "transformer.resblocks.1.mlp.c_fc.weight": (32, 64), "transformer.resblocks.0.ln_2.bias": (64,), "transformer.resblocks.0.attn.out_proj.bias": (64,),
    }  # fmt: skip
    assert {name: tuple(file[visual + name].shape) for name in names} == names
    config = tower_config(file)
    assert all(getattr(model.config, name) == value for name, value in config.items())
    again = translate(file, tower_rules(), {k: v for k, v in model.state_dict().items() if "position_ids" not in k})
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in again.items())


@torch.no_grad()
def test_it_reads_all_patches_before_the_towers_last_norm():
    model = tower()
    resampler = randomised(QueryResampler(64, 16, 20, queries=5, depth=1, heads=2, head_dim=8))
    encoder = ResampledClipEncoder(model, resampler)
    images = draw(2, 3, 40, 24).clamp(-1, 1)
    rows = encoder.encode(images)
    assert rows.shape == (2, 5, 20)
    hidden = model.vision_model(pixel_values=encoder.prepared(images), output_hidden_states=True).hidden_states[-1]
    assert hidden.shape == (2, 5, 64)                                       # four patches and the class's row
    torch.testing.assert_close(rows, resampler(hidden))


@torch.no_grad()
def test_the_small_encoder_makes_rows_of_any_picture_and_sees_where_things_are():
    torch.manual_seed(0)
    net = ResampledPictureEncoder(ResampledPictureEncoderConfig(dim=16, side=16, out_dim=12, rows=3, depth=1, heads=2))
    image = draw(1, 3, 24, 40).clamp(-1, 1)
    assert net.encode(image).shape == (1, 3, 12)
    assert (net.encode(image) - net.encode(image.flip(-1))).abs().max() > 1e-3
    with pytest.raises(ValueError, match="side=20"):
        ResampledPictureEncoderConfig(side=20)
