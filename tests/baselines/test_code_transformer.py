"""The transformer over codes, and how codes are drawn from it."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from flipbook.baselines.code_transformer import CodeTransformer, CodeTransformerConfig, ConditionalNorm
from flipbook.long.codes import pick, roll_codes
from flipbook.nn.doors import Doors
from flipbook.nn.kv_cache import KVCache

GRID = (2, 3, 4)
TINY = CodeTransformerConfig(num_codes=16, in_channels=6, grid=GRID, dim=24, depth=2, num_heads=2, dropout=0.0, text_dim=8, vector_dim=3)


def net(seed=0, config=TINY):
    """Every weight random, so that all inputs matter."""
    torch.manual_seed(seed)
    model = CodeTransformer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.3)
    return model


def doors(batch=2, seed=1):
    g = torch.Generator().manual_seed(seed)
    mask = torch.ones(batch, 5, dtype=torch.bool)
    mask[:, 3:] = False
    return Doors(tokens=torch.randn(batch, 5, 8, generator=g), token_mask=mask, vector=torch.randn(batch, 3, generator=g))


def clip(batch=2, seed=2):
    return torch.randn(batch, 6, *GRID, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_what_is_said_of_a_code_depends_on_those_before_it_alone():
    model, z = net(), clip()
    said = model(z, doors())
    for n in (0, 1, 7, 23):
        changed = z.flatten(2).clone()
        changed[:, :, n:] += 1.0
        again = model(changed.view_as(z), doors())
        torch.testing.assert_close(again[:, : n + 1], said[:, : n + 1], atol=1e-6, rtol=0)
        if n < 23:
            assert (again[:, n + 1] - said[:, n + 1]).abs().max() > 1e-3    # and on each of those


@torch.no_grad()
def test_one_code_at_a_time_from_the_cache_is_the_whole_pass():
    model, z, given = net(), clip(), doors()
    whole = model(z, given)
    ready, cache, rows = model.prepare(given), KVCache(window=24), z.flatten(2)
    said = [model.step(n, rows[:, :, n - 1] if n else None, GRID, ready, cache, 2) for n in range(24)]
    torch.testing.assert_close(torch.stack(said, 1), whole, atol=1e-5, rtol=0)
    assert torch.equal(torch.stack(said, 1).argmax(-1), whole.argmax(-1))


@torch.no_grad()
def test_each_code_costs_one_token():
    model, seen = net(), []
    model.blocks[0].register_forward_hook(lambda _, arguments, __: seen.append(arguments[0].shape[1]))
    roll_codes(model, torch.randn(16, 6), GRID, [1], [(model.prepare(doors(1)), 1.0)])
    assert seen == [1] * 24


def test_before_training_every_code_is_as_likely():
    torch.manual_seed(0)
    model = CodeTransformer(TINY)
    codes = torch.randint(16, (2, 24))
    loss = F.cross_entropy(model(clip(), doors()).transpose(1, 2), codes)
    assert loss.item() == pytest.approx(math.log(16), abs=1e-6)


@torch.no_grad()
def test_text_class_and_place_are_heard():
    model, z, given = net(), clip(), doors()
    said = model(z, given)
    for changed in (given.with_(tokens=given.tokens.flip(0)), given.with_(vector=given.vector + 1.0)):
        assert (model(z, changed) - said).abs().max() > 1e-3
    padding = given.tokens.clone()
    padding[:, 3:] += 5.0                                                   # behind the mask
    torch.testing.assert_close(model(z, given.with_(tokens=padding)), said, atol=1e-6, rtol=0)
    assert len(torch.unique(model.positions(GRID)[0], dim=0)) == 24
    with pytest.raises(ValueError, match=r"\(3, 3, 4\) codes.*learned for \(2, 3, 4\)"):
        model.positions((3, 3, 4))


def test_a_conditional_norm_without_a_condition_or_at_birth_is_layer_norm():
    norm, x = ConditionalNorm(8, 3), torch.randn(2, 4, 8)
    plain = F.layer_norm(x, (8,))
    for vector in (None, torch.randn(2, 3)):
        torch.testing.assert_close(norm(x, vector), plain, atol=1e-6, rtol=0)
    with torch.no_grad():
        norm.move.bias.copy_(torch.cat([torch.ones(8), torch.full((8,), 3.0)]))
    torch.testing.assert_close(norm(x, torch.zeros(2, 3)), 2 * plain + 3.0, atol=1e-5, rtol=0)


def test_codes_are_drawn_as_often_as_they_are_likely():
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    u = (torch.arange(4000) + 0.5) / 4000
    share = lambda **how: torch.bincount(pick(logits.expand(4000, -1), u, **how), minlength=4) / 4000
    torch.testing.assert_close(share(), logits.softmax(-1)[0], atol=1e-3, rtol=0)
    torch.testing.assert_close(share(temperature=0.5), (2 * logits).softmax(-1)[0], atol=1e-3, rtol=0)
    cut = share(top_k=2)
    torch.testing.assert_close(cut[1:3], logits[0, 1:3].softmax(-1), atol=1e-3, rtol=0)
    assert cut[0] == cut[3] == 0
    assert share(temperature=0)[2] == 1
    assert pick(logits, torch.tensor([1.0 - 1e-17], dtype=torch.float64)).item() == 3      # chance never reaches past the last code


@torch.no_grad()
def test_each_code_has_a_chance_of_its_own_that_its_seed_decides():
    model, book = CodeTransformer(TINY).eval(), torch.randn(16, 6)          # at birth all 16 codes are as likely
    chance = torch.rand(24, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    assert roll_codes(model, book, GRID, [3, 7])[1].flatten().tolist() == (chance * 16).long().tolist()


@torch.no_grad()
def test_a_clips_codes_do_not_depend_on_its_batch():
    model, book, given = net(), torch.randn(16, 6, generator=torch.Generator().manual_seed(4)), doors(3)
    together = roll_codes(model, book, GRID, [5, 6, 7], [(model.prepare(given), 1.0)])
    alone = roll_codes(model, book, GRID, [6], [(model.prepare(given.select(slice(1, 2))), 1.0)])
    assert torch.equal(together[1:2], alone)
    assert not torch.equal(together[0], together[2])


@torch.no_grad()
def test_guidance_on_logits_of_weight_one_is_the_last_branch_and_of_weight_zero_the_first():
    model, book = net(), torch.randn(16, 6, generator=torch.Generator().manual_seed(4))
    null, text = (model.prepare(doors(2, seed=seed)) for seed in (8, 9))
    roll = lambda branches: roll_codes(model, book, GRID, [1, 2], branches, temperature=0)
    assert torch.equal(roll([(null, 1.0), (text, 1.0)]), roll([(text, 1.0)]))
    assert torch.equal(roll([(null, 1.0), (text, 0.0)]), roll([(null, 1.0)]))
    assert not torch.equal(roll([(text, 1.0)]), roll([(null, 1.0)]))
