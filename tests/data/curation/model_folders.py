"""Folders of public networks, written by transformers: the exact layout, tiny sizes, random numbers in every tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from clip_folder import write_clip_tokenizer

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", "a", "red", "blue", "ball", "cat", "rolls", "sleeps", "on", "grass", "ice")
THINGS = {0: "person", 1: "dog", 2: "car"}


def write_clip_model(folder: Path, width: int = 16) -> Path:
    """CLIP with vectors of `width`, as openai/clip-vit-large-patch14."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    write_clip_tokenizer(folder)
    layers = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {**layers, "vocab_size": 56, "max_position_embeddings": 16, "bos_token_id": 54, "eos_token_id": 55, "pad_token_id": 55}
    config = CLIPConfig(text_config=text, vision_config={**layers, "image_size": 32, "patch_size": 8}, projection_dim=width)
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    processor = CLIPProcessor(CLIPImageProcessor(**sizes), CLIPTokenizer.from_pretrained(folder))
    return saved(folder, CLIPModel(config), processor)


def write_blip(folder: Path) -> Path:
    """A captioner that knows ten words, as Salesforce/blip-image-captioning-base."""
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    layers = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {**layers, "encoder_hidden_size": 32, "vocab_size": len(WORDS), "max_position_embeddings": 24,
            "bos_token_id": 5, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}  # fmt: skip
    config = BlipConfig(text_config=text, vision_config={**layers, "image_size": 32, "patch_size": 8}, projection_dim=16)
    processor = BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), BertTokenizer(str(folder / "vocab.txt")))
    return saved(folder, BlipForConditionalGeneration(config), processor)


def write_detr(folder: Path) -> Path:
    """A detector of three kinds of things, as facebook/detr-resnet-50 (with the backbone of transformers, not of timm)."""
    from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessor, ResNetConfig

    backbone = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", out_features=["stage2"])
    config = DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone, d_model=32, num_queries=6,
        encoder_layers=1, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=32,
        decoder_ffn_dim=32, id2label=THINGS, label2id={word: i for i, word in THINGS.items()},
    )  # fmt: skip
    processor = DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    return saved(folder, DetrForObjectDetection(config), processor)


def write_segformer(folder: Path) -> Path:
    """A segmenter of three kinds of things, as nvidia/segformer-b0-finetuned-ade-512-512."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

    config = SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=16,
        id2label=THINGS, label2id={word: i for i, word in THINGS.items()},
    )  # fmt: skip
    return saved(folder, SegformerForSemanticSegmentation(config), SegformerImageProcessor(size={"height": 64, "width": 64}))


def write_vitpose(folder: Path) -> Path:
    """A finder of five joints, as usyd-community/vitpose-base-simple."""
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation, VitPoseImageProcessor

    layers = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "mlp_ratio": 2}
    backbone = VitPoseBackboneConfig(**layers, image_size=[64, 48], patch_size=[16, 16], out_indices=[2])
    joints = {i: f"joint {i}" for i in range(5)}
    config = VitPoseConfig(backbone_config=backbone, id2label=joints, label2id={word: i for i, word in joints.items()})
    return saved(folder, VitPoseForPoseEstimation(config), VitPoseImageProcessor(size={"height": 64, "width": 48}), scale=0.02)


def saved(folder: Path, model: Any, processor: Any, scale: float = 0.15) -> Path:
    """The folder, with seeded numbers in every tensor: zeros and ones of a fresh network would hide mistakes."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=scale)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
