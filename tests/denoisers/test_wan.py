"""Wan's video transformer: equal to the reference on random weights, and what makes it what it is."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("diffusers")

from autoencoder_peers import randomised, translated
from flipbook.denoisers.wan import Wan, WanConfig
from flipbook.interop.keys import transformer_wan as keys
from flipbook.nn.doors import Doors

TEXT, WORDS, ROWS = 20, 512, 7        # the reference takes the 512 rows of the text encoder for granted where it also reads pictures


def peer(**changes):
    from diffusers import WanTransformer3DModel

    sizes = {"num_attention_heads": 2, "attention_head_dim": 16, "text_dim": TEXT, "freq_dim": 32, "ffn_dim": 48, "num_layers": 2}
    sizes |= {"in_channels": 4, "out_channels": 4}
    return randomised(WanTransformer3DModel(**sizes | changes))


PICTURE = {"in_channels": 9, "image_dim": 12, "added_kv_proj_dim": 32}
VARIANTS = {
    "text": {},
    "odd sizes": {"attention_head_dim": 22, "ffn_dim": 37, "num_attention_heads": 3, "freq_dim": 14, "patch_size": (1, 1, 1)},
    "no norm before the text": {"cross_attn_norm": False, "eps": 1e-5},
    "picture": PICTURE,
    "two pictures": PICTURE | {"pos_embed_seq_len": 2 * ROWS},
}


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sentences(lengths=(5, 512)):
    """Rows of sentences, zeros behind their end, and the mask."""
    mask = torch.arange(WORDS) < torch.tensor(lengths)[:, None]
    return random(len(lengths), WORDS, TEXT, seed=2) * mask[..., None], mask


def inputs(net, frames=3, height=4, width=6):
    """x, t (B,), doors and what the reference is given."""
    c = net.config
    x = random(2, c.in_channels, frames, height, width)
    tokens, mask = sentences()
    doors = Doors(tokens=tokens, token_mask=mask)
    given = {"encoder_hidden_states": tokens}
    if c.channel_door:
        doors = doors.with_(channels=random(2, c.channel_door, frames, height, width, seed=3))
    if c.picture_dim:
        rows = random(2, c.picture_positions or ROWS, c.picture_dim, seed=4)
        doors, given = doors.with_(picture_tokens=rows), given | {"encoder_hidden_states_image": rows}
    return x, torch.tensor([0.7, 0.999]), doors, given


@pytest.fixture(scope="module")
def net():
    return translated(Wan, keys, peer())


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_the_answer_is_that_of_the_reference(changes):
    theirs = peer(**changes)
    net = translated(Wan, keys, theirs)
    for shape in ((3, 4, 6), (1, 2, 2), (5, 6, 2)):
        x, t, doors, given = inputs(net, *shape)
        if net.config.picture_positions:                                    # there, the rows of two pictures of a sample come as two samples
            given["encoder_hidden_states_image"] = given["encoder_hidden_states_image"].reshape(4, ROWS, -1)
        wanted = theirs(x if doors.channels is None else torch.cat([x, doors.channels], 1), 1000 * t, **given).sample
        torch.testing.assert_close(net(x, t, doors), wanted, atol=1e-4, rtol=0)
        torch.testing.assert_close(net(x, t, doors.with_(token_mask=None)), wanted, atol=1e-4, rtol=0)


def test_levels_of_their_own_for_each_frame_are_those_of_the_reference_for_each_token(net):
    theirs = peer()
    x, _, doors, given = inputs(net)
    t = torch.rand(2, 3, generator=torch.Generator().manual_seed(5))
    wanted = theirs(x, 1000 * t.repeat_interleave(6, 1), **given).sample
    torch.testing.assert_close(net(x, t, doors), wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(net(x, t[:, :1].expand(2, 3), doors), net(x, t[:, 0], doors), atol=1e-5, rtol=1e-5)


def test_one_row_stands_for_all_behind_the_end_of_a_sentence(net):
    """Rows behind the mask are read as zeros, all of them: as many as there are, whatever stands in them."""
    x, t, doors, _ = inputs(net)
    prepared = net.prepare(doors.with_(tokens=doors.tokens[:1], token_mask=doors.token_mask[:1]))
    assert prepared.keys_values[0][0].shape == (1, 6, 2, 16)
    noisy = doors.with_(tokens=torch.where(doors.token_mask[..., None], doors.tokens, 9.0))
    torch.testing.assert_close(net(x, t, noisy), net(x, t, doors), atol=0, rtol=0)
    fewer = doors.with_(tokens=doors.tokens[:1, :100], token_mask=doors.token_mask[:1, :100])
    assert (net(x[:1], t[:1], fewer) - net(x, t, doors)[:1]).abs().max() > 1e-3


def test_preparing_once_changes_nothing(net):
    picture = translated(Wan, keys, peer(**PICTURE))
    for one in (net, picture):
        x, t, doors, _ = inputs(one)
        prepared = one.prepare(doors)
        assert len(prepared.keys_values) == (4 if one is picture else 2)
        assert torch.equal(one(x, t, prepared), one(x, t, doors))
        assert prepared.with_(picture_tokens=None).keys_values is None


def test_a_sample_does_not_depend_on_its_batch(net):
    """Also where its sentence is the shorter one."""
    x, t, doors, _ = inputs(net)
    both = net(x, t, doors)
    for row in (0, 1):
        rows = slice(row, row + 1)
        torch.testing.assert_close(net(x[rows], t[rows], doors.select(rows)), both[rows], atol=1e-5, rtol=1e-5)


def test_only_distances_in_time_count_and_time_is_real(net):
    x, t, doors, _ = inputs(net)
    clock = torch.arange(3.0).expand(2, 3)
    torch.testing.assert_close(net(x, t, doors, frame_index=clock + 37), net(x, t, doors), atol=1e-4, rtol=1e-4)
    assert (net(x, t, doors, frame_index=clock / 2) - net(x, t, doors)).abs().max() > 1e-3


def test_a_causal_mask_hides_the_future(net):
    x, t, doors, _ = inputs(net)
    causal = torch.ones(3, 3).tril().bool()
    other = x.clone()
    other[:, :, 2] += 1.0
    torch.testing.assert_close(net(other, t, doors, frame_attends=causal)[:, :, :2], net(x, t, doors, frame_attends=causal)[:, :, :2], atol=1e-5, rtol=1e-5)
    assert (net(other, t, doors) - net(x, t, doors))[:, :, :2].abs().max() > 1e-3


def test_residuals_enter_behind_their_block(net):
    x, t, doors, _ = inputs(net)
    silent = doors.with_(residuals=(torch.zeros(2, 32, 3, 2, 3),))
    assert torch.equal(net(x, t, silent), net(x, t, doors))
    heard = [net(x, t, doors.with_(residuals=r)) for r in ((random(2, 32, 3, 2, 3),), (torch.zeros(2, 32, 3, 2, 3), random(2, 32, 3, 2, 3)))]
    assert not torch.allclose(heard[0], heard[1], atol=1e-3)


def test_at_birth_the_prediction_is_zero():
    torch.manual_seed(0)
    net = Wan(WanConfig(in_channels=4, text_dim=TEXT, dim=32, depth=1, num_heads=2, mlp_dim=32))
    x, t, doors, _ = inputs(net)
    assert not net(x, t, doors).any()


def test_what_cannot_work_is_refused_by_name(net):
    x, t, doors, _ = inputs(net)
    for changes, message in (
        ({"x": x[..., :3]}, "latent size 4x3 .* Try 4x2"),
        ({"doors": None}, "empty sentence"),
        ({"doors": doors.with_(vector=torch.ones(2, 1))}, "vector=None"),
        ({"cache": {}}, "cache=None"),
        ({"doors": doors.with_(picture_tokens=torch.ones(2, 1, 3))}, "image-to-video"),
    ):
        with pytest.raises(ValueError, match=message):
            net(**{"x": x, "t": t, "doors": doors} | changes)
    with pytest.raises(ValueError, match="Try heads of"):
        WanConfig(dim=30, num_heads=4)
    theirs = dict(peer().config)
    for changes in ({"patch_size": (2, 2, 2)}, {"added_kv_proj_dim": 8}, {"qk_norm": None}, {"vace_layers": [1]}, {"out_channels": 5}):
        with pytest.raises(ValueError, match=f"config.json: .*{next(iter(changes))}"):
            keys.config(theirs | changes, "config.json")
