"""Folders of Wan 2.1's pipelines, written by diffusers: the exact layout, tiny sizes, random weights in every tensor."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import torch

from public_folders import randomised

SIDE = 16
LETTERS = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_lowercase, "▁red"]


def write_wan(folder: Path, *, pictures: int = 0, euler: bool = False) -> Path:
    """Text to video, or from one picture or two. euler: with the scheduler of flow matching in place of UniPC."""
    import diffusers

    net = diffusers.WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=12 if pictures else 4, out_channels=4, text_dim=16, freq_dim=16, ffn_dim=32,
        num_layers=2, image_dim=16 if pictures else None, added_kv_proj_dim=24 if pictures else None,
        pos_embed_seq_len=10 if pictures == 2 else None,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 2, 2], num_res_blocks=1, latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.5, 0.8, 1.0, 2.0],
    )  # fmt: skip
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0) if euler else diffusers.UniPCMultistepScheduler(**flow)
    parts = {"transformer": randomised(net), "vae": randomised(vae), "scheduler": scheduler, "text_encoder": umt5()}
    parts["tokenizer"] = tokenizer(folder / "tokenizer")
    if not pictures:
        diffusers.WanPipeline(**parts).save_pretrained(folder)
    else:
        diffusers.WanImageToVideoPipeline(**parts, image_encoder=vision(), image_processor=processor()).save_pretrained(folder)
    return folder


def umt5() -> Any:
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    config = UMT5Config(vocab_size=len(LETTERS), d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4, tie_word_embeddings=True)
    return UMT5EncoderModel(config).eval()


def vision() -> Any:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=4, image_size=16, patch_size=8)
    torch.manual_seed(1)
    return randomised(CLIPVisionModel(config))


def processor() -> Any:
    import transformers

    make = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
    return make(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})


def tokenizer(folder: Path) -> Any:
    """A unigram model of letters and one word, in the layout of T5's tokenizers."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import AutoTokenizer

    scores = [0.0, 0.0, 0.0, -2.0, *(-3.0 for _ in string.ascii_lowercase), -1.0]
    made = Tokenizer(models.Unigram(list(zip(LETTERS, scores, strict=True)), unk_id=2))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "T5Tokenizer", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "extra_ids": 0}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return AutoTokenizer.from_pretrained(folder)
