"""Latte: equal to the reference on random weights, and what makes its four variants what they are."""

from __future__ import annotations

import json

import pytest
import torch

pytest.importorskip("diffusers")

from autoencoder_peers import randomised, translated
from flipbook.denoisers.latte import Latte, LatteConfig, layout
from flipbook.interop.keys import transformer_latte as keys
from flipbook.interop.keys_apply import translate
from flipbook.nn.doors import Doors

TEXT, DIM = 20, 32
SIZES = {
    "num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4, "out_channels": 8, "num_layers": 2, "sample_size": 8, "patch_size": 2,
    "caption_channels": TEXT, "cross_attention_dim": DIM, "attention_bias": True, "activation_fn": "gelu-approximate", "norm_type": "ada_norm_single",
    "norm_elementwise_affine": False, "norm_eps": 1e-6, "num_embeds_ada_norm": 1000,
}  # fmt: skip


def peer(frames=3, **changes):
    from diffusers import LatteTransformer3DModel

    return randomised(LatteTransformer3DModel(**SIZES | {"video_length": frames} | changes))


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inputs(frames=3, height=8, width=8, words=5):
    """x, levels of a discrete schedule, t, doors."""
    k = torch.tensor([700, 13])
    mask = torch.arange(words) < torch.tensor([3, words])[:, None]
    return random(2, 4, frames, height, width), k, (k + 1) / 1000, Doors(tokens=random(2, words, TEXT, seed=2), token_mask=mask)


@pytest.fixture(scope="module")
def net():
    return translated(Latte, keys, peer())


@pytest.mark.parametrize(
    "changes",
    [{}, {"norm_eps": 1e-5, "out_channels": 4}, {"sample_size": 12, "patch_size": 1, "num_layers": 3}, {"sample_size": 128}],
    ids=["usual", "no variance", "other sizes", "larger frames"],
)
def test_the_answer_is_that_of_the_reference(changes):
    for frames, height, width in ((3, 8, 8), (1, 8, 8), (4, 4, 10)):
        theirs = peer(frames, **changes)
        net = translated(Latte, keys, theirs)
        x, k, t, doors = inputs(frames, height, width)
        wanted = theirs(x, k, doors.tokens).sample
        torch.testing.assert_close(net(x, t, doors.with_(token_mask=None)), wanted, atol=1e-4, rtol=0)


def test_words_behind_the_mask_are_not_read_as_in_the_reference(net):
    """The reference takes a mask for one row of frames, which leaves it one sample at a time."""
    x, k, t, doors = inputs()
    for row, words in ((0, 3), (1, 5)):
        rows = slice(row, row + 1)
        wanted = peer()(x[rows], k[rows], doors.tokens[rows, :words]).sample
        torch.testing.assert_close(net(x, t, doors)[rows], wanted, atol=1e-4, rtol=0)


def test_without_blocks_along_time_every_frame_is_by_itself_as_in_the_reference():
    theirs = peer(num_layers=1)
    weights = theirs.state_dict()
    still = Latte(LatteConfig(**{**vars(translated(Latte, keys, theirs).config), "layout": ("spatial",)}))
    still.load_state_dict(translate({key: v for key, v in weights.items() if "temporal" not in key}, keys.RULES, still.state_dict()))
    x, k, t, doors = inputs()
    doors = doors.with_(token_mask=None)
    out = still(x, t, doors)
    torch.testing.assert_close(out, theirs(x, k, doors.tokens, enable_temporal_attentions=False).sample, atol=1e-4, rtol=0)
    for frame in range(3):
        torch.testing.assert_close(out[:, :, frame : frame + 1], still(x[:, :, frame : frame + 1], t, doors), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"sample_size": 12, "interpolation_scale": 2}, {"sample_size": 128}], ids=str)
def test_an_image_transformer_of_pixart_runs_frame_by_frame(changes):
    from diffusers import PixArtTransformer2DModel

    theirs = randomised(PixArtTransformer2DModel(**SIZES | {"use_additional_conditions": False} | changes))
    config = json.loads(json.dumps(dict(theirs.config))) | {"_class_name": "PixArtTransformer2DModel"}
    net = Latte(keys.config(config, "config.json"))
    net.load_state_dict(translate(theirs.state_dict(), keys.RULES, net.state_dict()))
    assert keys.config(keys.their_config(net.config), "ours") == net.config
    x, k, t, doors = inputs()
    out = net(x, t, doors)
    for frame in range(3):
        wanted = theirs(x[:, :, frame], doors.tokens, k, {}, encoder_attention_mask=doors.token_mask).sample
        torch.testing.assert_close(out[:, :, frame], wanted, atol=1e-4, rtol=0)


def small(variant, depth=4, **changes):
    torch.manual_seed(0)
    sizes = {"text_dim": None, "vector_dim": 3, "dim": DIM, "num_heads": 2, "mlp_dim": 4 * DIM, "shared": False, "places": 4}
    return Latte(LatteConfig(**{**sizes, "layout": layout(variant, depth), **changes})).eval().requires_grad_(False)


@pytest.mark.parametrize("variant", ["V1", "V2", "V3", "V4"])
def test_at_birth_the_answer_is_zero_and_every_block_is_the_identity(variant):
    net = small(variant)
    x, _, t, _ = inputs()
    assert not net(x, t, Doors(vector=torch.eye(3)[:2])).any()
    tokens = random(2, 3, 4, DIM)
    for block in net.in_order():
        assert torch.equal(block(tokens, random(2, 1, DIM, seed=3)), tokens)


def test_the_text_model_too_answers_zero_at_birth():
    torch.manual_seed(0)
    net = Latte(LatteConfig(text_dim=TEXT, dim=DIM, num_heads=2, mlp_dim=64, layout=layout("V1", 2), places=4))
    x, _, t, doors = inputs()
    assert not net(x, t, doors).any()


def test_all_four_variants_have_as_many_weights_within_three_percent():
    with torch.device("meta"):
        counts = [sum(p.numel() for p in Latte(LatteConfig(text_dim=None, shared=False, layout=layout(v))).parameters()) for v in ("V1", "V2", "V3", "V4")]
    assert max(counts) < 1.03 * min(counts)


def hear(net, kinds):
    """Which frames of the answer, or of the tokens behind the first `kinds` blocks, feel a change of the last frame: bool (T,)."""
    randomised(net)
    x, _, t, _ = inputs()
    other = x.clone()
    other[:, :, 2] += 1.0
    answers = []

    def keep(module, told, out):
        answers.append(out)

    handle = net.in_order()[kinds - 1].register_forward_hook(keep)
    for clip in (x, other):
        net(clip, t, Doors(vector=torch.eye(3)[:2]))
    handle.remove()
    return ((answers[0] - answers[1]).abs().amax((0, 2, 3)) > 1e-6).tolist()


def test_the_first_half_of_v2_sees_frame_by_frame_and_v1_looks_along_time_at_its_second_block():
    assert hear(small("V2"), 2) == [False, False, True]
    assert hear(small("V2"), 3) == [True, True, True]
    assert hear(small("V1"), 1) == [False, False, True]
    assert hear(small("V1"), 2) == [True, True, True]
    assert hear(small("V3"), 1) == [True, True, True]


def test_v4_sees_frame_by_frame_once_its_heads_along_time_are_silent():
    net = small("V4")
    assert hear(net, 4) == [True, True, True]
    randomised(net)
    for block in net.in_order():
        block.attention[0].out.weight[:, DIM // 2 :] = 0.0                  # the second half of the heads
    x, _, t, _ = inputs()
    doors = Doors(vector=torch.eye(3)[:2])
    out = net(x, t, doors, frame_index=torch.zeros(1, 3))
    for frame in (0, 2):
        single = net(x[:, :, [frame, frame]], t, doors, frame_index=torch.zeros(1, 2))
        torch.testing.assert_close(out[:, :, frame], single[:, :, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", ["V1", "V2"])
def test_images_behind_a_clip_skip_all_that_looks_along_time_and_leave_the_clip_alone(variant):
    net = randomised(small(variant))
    x, _, t, _ = inputs(5)
    doors, clip = Doors(vector=torch.eye(3)[:2]), torch.tensor([[False, False, False, True, True]] * 2)
    out = net(x, t, doors, image_only=clip)
    torch.testing.assert_close(out[:, :, :3], net(x[:, :, :3], t, doors), atol=1e-5, rtol=1e-5)
    spatial = Latte(LatteConfig(**{**vars(net.config), "layout": ("spatial",) * 2})).eval()
    spatial.load_state_dict({key: v for key, v in net.state_dict().items() if "temporal" not in key})
    torch.testing.assert_close(out[:, :, 3:], spatial(x[:, :, 3:], t, doors), atol=1e-5, rtol=1e-5)


def test_a_class_a_level_of_each_frame_and_its_place_in_time_are_told():
    net = randomised(small("V1"))
    x, _, t, _ = inputs()
    doors = Doors(vector=torch.eye(3)[:2])
    out = net(x, t, doors)
    torch.testing.assert_close(net(x, t[:, None].expand(2, 3), doors), out, atol=1e-5, rtol=1e-5)
    for other in ({"doors": Doors(vector=torch.eye(3)[1:])}, {"t": torch.rand(2, 3)}, {"frame_index": torch.tensor([[0.0, 0.5, 1.0]])}):
        assert (net(**{"x": x, "t": t, "doors": doors} | other) - out).abs().max() > 1e-4


def test_preparing_once_changes_nothing_and_a_sample_does_not_depend_on_its_batch(net):
    x, _, t, doors = inputs()
    prepared = net.prepare(doors)
    assert len(prepared.keys_values) == 2                                   # blocks along time read no text
    assert torch.equal(net(x, t, prepared), net(x, t, doors))
    for rows in (slice(0, 1), slice(1, 2)):
        torch.testing.assert_close(net(x[rows], t[rows], prepared.select(rows)), net(x, t, doors)[rows], atol=1e-5, rtol=1e-5)


def test_a_causal_mask_hides_the_future(net):
    x, _, t, doors = inputs()
    causal = torch.ones(3, 3).tril().bool()
    other = x.clone()
    other[:, :, 2] += 1.0
    torch.testing.assert_close(net(other, t, doors, frame_attends=causal)[:, :, :2], net(x, t, doors, frame_attends=causal)[:, :, :2], atol=1e-5, rtol=1e-5)
    assert (net(other, t, doors) - net(x, t, doors))[:, :, :2].abs().max() > 1e-3


def test_what_cannot_work_is_refused_by_name(net):
    x, _, t, doors = inputs()
    for changes, message in (
        ({"x": x[..., :3]}, "latent size 8x3 .* Try 8x2"), ({"doors": None}, "empty sentence"), ({"cache": {}}, "cache=None"),
        ({"doors": doors.with_(channels=x)}, "channels=None"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            net(**{"x": x, "t": t, "doors": doors} | changes)
    with pytest.raises(ValueError, match="layout of V1 or V2"):
        small("V3")(x, t, image_only=torch.zeros(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="Try 6"):
        layout("V1", 5)
    with pytest.raises(ValueError, match="one of V1, V2, V3, V4"):
        layout("V5", 4)
    with pytest.raises(ValueError, match=r"\['diagonal'\] are unknown"):
        LatteConfig(layout=("diagonal",))
    for changes in ({"attention_bias": False}, {"norm_type": "layer_norm"}, {"cross_attention_dim": 8}, {"depth": 3}):
        with pytest.raises(ValueError, match=f"config.json: .*{next(iter(changes))}"):
            keys.config(SIZES | changes, "config.json")
    for odd in (small("V1"), Latte(LatteConfig(**{**vars(net.config), "layout": layout("V2", 4)}))):
        with pytest.raises(ValueError, match="this network"):
            keys.their_config(odd.config)
