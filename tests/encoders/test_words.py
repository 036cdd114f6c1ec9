import json
from dataclasses import replace

import pytest
import torch

from flipbook.encoders.text_prior import TextPrior, TextPriorConfig
from flipbook.encoders.words import WordEncoder, WordEncoderConfig, split_words
from flipbook.interop.registry import from_config, to_config

CONFIG = WordEncoderConfig(words=("a", "red", "blue", "circle", "moves"), dim=16, depth=1, num_heads=2, max_words=20, num_spare=8)


def encoder():
    torch.manual_seed(0)
    return WordEncoder(CONFIG).eval()


def test_words_are_lower_case_without_punctuation():
    assert split_words("A Red circle, moves-right; it's 3 o'clock!") == ["a", "red", "circle", "moves", "right", "it's", "3", "o'clock"]


def test_a_sentence_does_not_depend_on_its_neighbours_in_the_batch():
    alone, mask = encoder().encode(["a red circle"])
    both, masks = encoder().encode(["a red circle", "a blue circle moves a red circle moves a blue circle"])
    assert mask.sum() == 4                                   # start row and three words
    torch.testing.assert_close(both[0][masks[0]], alone[0][mask[0]], atol=1e-5, rtol=1e-5)


def test_the_order_of_words_is_told():
    one, mask = encoder().encode(["red circle blue"])
    other, _ = encoder().encode(["blue circle red"])
    assert (one[0][mask[0]] - other[0][mask[0]]).abs().max() > 1e-3


def test_an_empty_sentence_is_the_start_row_alone():
    _, mask = encoder().encode([""])
    assert mask.sum() == 1


def test_words_of_other_scripts_are_whole():
    assert split_words("Ein Kreis fällt, 円 падает") == ["ein", "kreis", "fällt", "円", "падает"]
    assert split_words("a_b 3rd") == ["a", "b", "3rd"]


def test_words_behind_the_last_one_read_are_named():
    text = " ".join(["a red circle moves"] * 6)
    assert encoder().unread_words(text) == ["a", "red", "circle", "moves"]
    assert encoder().unread_words("a red circle") == []


def test_unknown_words_are_named_once_in_order_and_say_nothing_before_they_are_trained():
    assert encoder().unknown_words("A red dragon eats a DRAGON castle") == ["dragon", "eats", "castle"]
    rows, mask = encoder().encode(["a dragon"])
    others, _ = encoder().encode(["a castle"])
    torch.testing.assert_close(rows[0][mask[0]], others[0][mask[0]])


def test_long_sentences_are_cut_at_the_longest_that_training_saw():
    rows, mask = encoder().encode(["red " * 50])
    assert rows.shape[1] == CONFIG.max_words + 1
    assert mask.all()


def test_words_met_while_the_encoder_learns_are_known_from_then_on():
    learning = encoder().train()
    learning.encode(["A red dragon", "a castle " + "moves " * 18 + "unread"])
    assert learning.config.taught == ("castle", "dragon")                       # in order, without those it had and what lies behind the last one read
    assert learning.unknown_words("a dragon unread by a knight") == ["unread", "by", "knight"]


def test_an_encoder_that_does_not_learn_is_taught_nothing():
    asked, frozen = encoder(), encoder().train().requires_grad_(False)
    asked.encode(["a dragon"])
    frozen.encode(["a dragon"])
    with torch.no_grad():
        asked.train().encode(["a dragon"])
    assert asked.config.taught == frozen.config.taught == ()


def test_a_taught_word_keeps_its_row_and_all_rows_their_bits():
    plain, taught = encoder(), encoder()
    taught.teach(["dragon"])
    assert torch.equal(plain.encode(["a red dragon"])[0], taught.encode(["a red dragon"])[0])
    assert plain.state_dict().keys() == taught.state_dict().keys()


@pytest.mark.parametrize(("taught", "message"), [("dragon", r"Try \['dragon'\]"), (["red"], "'red'"), (["Two words"], "Leave it out"), ([7], "taught=7")])
def test_what_is_no_new_word_cannot_have_been_taught(taught, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, taught=taught)


def test_a_text_prior_tells_and_keeps_what_its_encoder_was_taught():
    torch.manual_seed(0)
    prior = TextPrior(TextPriorConfig(words=CONFIG, dim=8, depth=1, num_heads=2, steps=2)).train()
    prior.loss(torch.randn(1, 8), ["a dragon"], torch.tensor([0.5]), torch.randn(1, 8))
    again = from_config(json.loads(json.dumps(to_config(prior))), "here")
    assert again.unknown_words("a dragon knight") == prior.unknown_words("a dragon knight") == ["knight"]
