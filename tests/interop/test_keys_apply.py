"""Key maps are read both ways, and no key is lost on either side."""

from __future__ import annotations

import pytest
import torch

from flipbook.interop.keys_apply import KeysDoNotFit, Rule, inverted, translate

RULES = (
    Rule("down.{i}.conv.{p}", "levels.{i}.conv.{p}"),
    Rule(("attn.to_q.weight", "attn.to_k.weight", "attn.to_v.weight"), "attn.qkv.weight"),
    Rule("proj.weight", "proj.weight", unit_axes=True),
    Rule("text.matrix", "text.weight", transposed=True),
    Rule("tail.{rest*}", "end.{rest*}"),
    Rule("position_ids", ()),
)


def theirs():
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "down.0.conv.weight": (4, 3), "down.1.conv.bias": (5,), "proj.weight": (4, 3), "text.matrix": (2, 3), "tail.a.b": (1,),
        "attn.to_q.weight": (2, 3), "attn.to_k.weight": (2, 3), "attn.to_v.weight": (2, 3),
    }  # fmt: skip
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}


WANTED = {
    "levels.0.conv.weight": torch.Size([4, 3]), "levels.1.conv.bias": torch.Size([5]), "proj.weight": torch.Size([4, 3, 1, 1]),
    "text.weight": torch.Size([3, 2]), "end.a.b": torch.Size([1]), "attn.qkv.weight": torch.Size([6, 3]),
}  # fmt: skip


def test_names_shapes_and_joined_parts_are_translated():
    given = theirs()
    ours = translate(given | {"position_ids": torch.arange(3)}, RULES, WANTED)
    assert {key: value.shape for key, value in ours.items()} == WANTED
    assert torch.equal(ours["attn.qkv.weight"][2:4], given["attn.to_k.weight"])
    assert torch.equal(ours["text.weight"], given["text.matrix"].T)
    assert torch.equal(ours["proj.weight"][..., 0, 0], given["proj.weight"])


def test_the_way_back_gives_the_same_file():
    given = theirs()
    back = translate(translate(given, RULES, WANTED), inverted(RULES), given)
    assert back.keys() == given.keys()
    assert all(torch.equal(back[key], given[key]) for key in given)


def test_every_key_that_does_not_fit_is_listed_in_one_error():
    given = theirs()
    given["stranger.weight"] = torch.zeros(1)
    given["tail.unknown"] = torch.zeros(1)
    given["down.0.conv.weight"] = torch.zeros(4, 2)
    del given["down.1.conv.bias"], given["attn.to_k.weight"]
    with pytest.raises(KeysDoNotFit) as error:
        translate(given, RULES, WANTED, origin="model.safetensors")
    message = str(error.value)
    assert message.startswith("model.safetensors does not fit")
    assert "1 of no known name: stranger.weight" in message
    assert "3 missing: attn.qkv.weight, attn.to_k.weight, levels.1.conv.bias" in message
    assert "1 not used: tail.unknown" in message
    assert "1 of another shape: down.0.conv.weight (4, 2), not (4, 3)" in message


def test_two_sources_of_one_weight_are_an_error():
    rules = (Rule("a", "x"), Rule("b", "x"))
    with pytest.raises(KeysDoNotFit, match=r"1 given twice: x \(from a and b\)"):
        translate({"a": torch.zeros(1), "b": torch.zeros(1)}, rules, {"x": torch.Size([1])})


def test_unit_axes_and_equal_parts_do_not_hide_a_wrong_shape():
    with pytest.raises(KeysDoNotFit, match=r"proj.weight \(3, 4\), not \(4, 3, 1, 1\)"):
        translate(theirs() | {"proj.weight": torch.zeros(3, 4)}, RULES, WANTED)
    with pytest.raises(KeysDoNotFit, match=r"qkv \(7, 2\), not 3 equal parts"):
        translate({"qkv": torch.zeros(7, 2)}, (Rule("qkv", ("q", "k", "v")),), {})
