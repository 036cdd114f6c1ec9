"""Public text encoders behind our face, on towers with random weights and tokenizers of a few letters."""

from __future__ import annotations

import json
import string
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from clip_folder import write_clip, write_clip_tokenizer
from flipbook.encoders.hub import ClipTextEncoder, T5TextEncoder

TEXTS = ["a red ball", "", "a very long sentence that goes on and on beyond the end of every row"]


def write_t5_tokenizer(folder: Path) -> None:
    """A unigram model of letters and two words; the layout of the T5 tokenizers."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    pieces = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        ("▁", -2.0),
        *((c, -3.0) for c in string.ascii_lowercase),
        ("▁red", -1.0),
    ]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "T5Tokenizer",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "extra_ids": 0,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder and its tokenizer in one folder."""
    from transformers import T5Config, T5EncoderModel

    folder = tmp_path_factory.mktemp("t5")
    write_t5_tokenizer(folder)
    torch.manual_seed(0)
    T5EncoderModel(T5Config(vocab_size=31, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)).save_pretrained(
        folder
    )
    return folder


@pytest.mark.parametrize("layer", [-1, -2])
def test_clip_rows_are_those_of_transformers(clip, layer):
    from transformers import CLIPTextModel, CLIPTokenizer

    rows, mask = ClipTextEncoder.from_pretrained(clip, subfolder="text_encoder", layer=layer).encode(TEXTS)
    tower = CLIPTextModel.from_pretrained(clip / "text_encoder").eval()
    ids = CLIPTokenizer.from_pretrained(clip / "tokenizer")(
        TEXTS, padding="max_length", truncation=True, max_length=16, return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        hidden = tower(ids, output_hidden_states=True).hidden_states
        expected = getattr(tower, "text_model", tower).final_layer_norm(hidden[layer])
    assert rows.shape == (3, 16, 32)
    assert torch.allclose(rows, expected, atol=1e-6)
    assert bool(mask.all())
    assert not torch.allclose(rows[0], rows[1])


def test_t5_rows_are_those_of_transformers(t5):
    from transformers import AutoTokenizer, T5EncoderModel

    rows, mask = T5TextEncoder.from_pretrained(t5, max_tokens=20).encode(TEXTS)
    tokens = AutoTokenizer.from_pretrained(t5)(
        TEXTS, padding="max_length", truncation=True, max_length=20, return_tensors="pt"
    )
    with torch.no_grad():
        expected = (
            T5EncoderModel.from_pretrained(t5)
            .eval()(tokens.input_ids, attention_mask=tokens.attention_mask)
            .last_hidden_state
        )
    assert rows.shape == (3, 20, 32)
    assert torch.equal(mask, tokens.attention_mask.bool())
    assert torch.allclose(rows[mask], expected[mask], atol=1e-6)
    assert rows[~mask].abs().max() == 0
    assert mask.sum(1).tolist() == [9, 1, 20]  # pieces and the end; only the end; cut


def test_a_t5_sentence_does_not_depend_on_its_neighbours(t5):
    encoder = T5TextEncoder.from_pretrained(t5, max_tokens=20)
    together, _ = encoder.encode(TEXTS)
    assert all(torch.allclose(encoder.encode([text])[0][0], together[i], atol=1e-6) for i, text in enumerate(TEXTS))


@pytest.mark.parametrize("which", ["clip", "t5"])
def test_words_that_do_not_fit_are_named_and_are_those_that_change_nothing(which, clip, t5):
    encoder = ClipTextEncoder.from_pretrained(clip, subfolder="text_encoder") if which == "clip" else T5TextEncoder.from_pretrained(t5, max_tokens=20)
    words = [f"{'abc'[i % 3]}{'abc'[i // 3 % 3]}" for i in range(60)]
    unread = encoder.unread_words(" ".join(words))
    fit = len(words) - len(unread)
    assert unread == words[fit:]
    assert 0 < fit < 60
    rows = lambda some: encoder.encode([" ".join(some)])[0]
    assert torch.equal(rows(words), rows([*words[: fit + 1], "c", "a"]))     # of the first that does not fit a piece may be read
    assert not torch.equal(rows(words), rows([*words[: fit - 1], "c", *words[fit:]]))
    assert encoder.unread_words(" ".join(words[:fit])) == encoder.unread_words("") == []


def test_no_word_is_unknown_and_nothing_learns(clip, t5):
    for encoder in (ClipTextEncoder.from_pretrained(clip, subfolder="text_encoder"), T5TextEncoder.from_pretrained(t5)):
        assert encoder.unknown_words("a zebra") == []
        assert not encoder.encode(["x"])[0].requires_grad


def test_what_is_not_there_is_refused_by_name(clip, tmp_path):
    with pytest.raises(ValueError, match="no CLIPTextModel in safetensors"):
        ClipTextEncoder.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="this tower has 3 layers"):
        ClipTextEncoder.from_pretrained(clip, subfolder="text_encoder", layer=-9)


def test_weights_are_never_unpickled(clip, tmp_path):
    from transformers import CLIPTextModel

    tower = CLIPTextModel.from_pretrained(clip / "text_encoder")
    write_clip_tokenizer(tmp_path)
    tower.config.save_pretrained(tmp_path)
    torch.save(tower.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="no CLIPTextModel in safetensors"):
        ClipTextEncoder.from_pretrained(tmp_path)


def test_the_missing_extra_is_named(monkeypatch, clip):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'flipbook\[hub\]'"):
        ClipTextEncoder.from_pretrained(clip, subfolder="text_encoder")
