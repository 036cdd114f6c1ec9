"""Folders of public pipelines, written by diffusers: the exact layout, tiny sizes, random weights in every tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from clip_folder import write_clip_tokenizer

WIDTHS = {"block_out_channels": (32, 32, 64, 64), "layers_per_block": 2, "cross_attention_dim": 32}
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False, "steps_offset": 1}
SIDE, FRAMES = 128, 3


def write_image_pipeline(folder: Path) -> Path:
    """Stable Diffusion 1.x."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    unet = UNet2DConditionModel(**WIDTHS, **_blocks("2D"), attention_head_dim=4, sample_size=SIDE // 8)
    scheduler = DDIMScheduler(**BETAS, beta_schedule="scaled_linear", set_alpha_to_one=False)
    pipeline = StableDiffusionPipeline(
        vae=_vae(), text_encoder=_text_encoder(), tokenizer=_tokenizer(folder), unet=randomised(unet), scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    return _saved(pipeline, folder)


def write_motion_adapter(folder: Path, version: int = 2) -> Path:
    """AnimateDiff's motion modules alone, v1, v2 or v3."""
    from diffusers import MotionAdapter

    adapter = MotionAdapter(
        block_out_channels=WIDTHS["block_out_channels"], motion_num_attention_heads=4, motion_max_seq_length=24 if version == 1 else 32,
        use_motion_mid_block=version == 2,
    )  # fmt: skip
    randomised(adapter, keep="pos_embed").save_pretrained(folder)
    return folder


def write_motion_pipeline(folder: Path, image: Path, adapter: Path) -> Path:
    """AnimateDiff: an image pipeline joined with a motion adapter, saved as one network."""
    from diffusers import AnimateDiffPipeline, DDIMScheduler, MotionAdapter

    pipeline = AnimateDiffPipeline.from_pretrained(image, motion_adapter=MotionAdapter.from_pretrained(adapter))
    pipeline.scheduler = DDIMScheduler(**BETAS, beta_schedule="linear")
    return _saved(pipeline, folder)


def write_modelscope_pipeline(folder: Path) -> Path:
    """ModelScopeT2V and Zeroscope."""
    from diffusers import DDIMScheduler, TextToVideoSDPipeline, UNet3DConditionModel

    unet = UNet3DConditionModel(**WIDTHS, **_blocks("3D"), attention_head_dim=8, sample_size=SIDE // 8)
    scheduler = DDIMScheduler(**BETAS, beta_schedule="scaled_linear", set_alpha_to_one=False)
    pipeline = TextToVideoSDPipeline(vae=_vae(), text_encoder=_text_encoder(), tokenizer=_tokenizer(folder), unet=randomised(unet), scheduler=scheduler)
    return _saved(pipeline, folder)


def write_svd_pipeline(folder: Path) -> Path:
    """Stable Video Diffusion."""
    from diffusers import (
        AutoencoderKLTemporalDecoder,
        EulerDiscreteScheduler,
        StableVideoDiffusionPipeline,
        UNetSpatioTemporalConditionModel,
    )
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    unet = UNetSpatioTemporalConditionModel(
        **WIDTHS, **_blocks("SpatioTemporal"), num_attention_heads=(2, 4, 8, 8), addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=48, sample_size=SIDE // 8, num_frames=FRAMES,
    )  # fmt: skip
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32, 32, 32), down_block_types=("DownEncoderBlock2D",) * 4, layers_per_block=2, sample_size=SIDE,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=224, patch_size=56, projection_dim=32,
    )  # fmt: skip
    torch.manual_seed(3)
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction", timestep_type="continuous",
        timestep_spacing="leading", steps_offset=1, use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0,
    )  # fmt: skip
    pipeline = StableVideoDiffusionPipeline(
        vae=randomised(vae), image_encoder=randomised(CLIPVisionModelWithProjection(vision)), unet=randomised(unet), scheduler=scheduler,
        feature_extractor=CLIPImageProcessor(),
    )  # fmt: skip
    return _saved(pipeline, folder)


def randomised(net: Any, seed: int = 0, keep: str = "") -> Any:
    """No tensor of the network is left at zero, or at one as norms are born, so that none can be forgotten; except those with `keep` in their name."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if keep and keep in name:
                continue
            fan = parameter[0].numel() if parameter.ndim > 1 else 64
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.6 / fan**0.5))
            if parameter.ndim == 1 and name.endswith("weight"):
                parameter.add_(1.0)
    return net.eval().requires_grad_(False)


def _blocks(kind: str) -> dict[str, tuple[str, ...]]:
    return {
        "down_block_types": (f"CrossAttnDownBlock{kind}",) * 3 + (f"DownBlock{kind}",),
        "up_block_types": (f"UpBlock{kind}",) + (f"CrossAttnUpBlock{kind}",) * 3,
    }


def _vae() -> Any:
    from diffusers import AutoencoderKL

    return randomised(AutoencoderKL(
        block_out_channels=(32, 32, 32, 32), down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, sample_size=SIDE,
    ))  # fmt: skip


def _text_encoder() -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=56, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=16,
        bos_token_id=54, eos_token_id=55, pad_token_id=55,
    )  # fmt: skip
    return randomised(CLIPTextModel(config))


def _tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    write_clip_tokenizer(folder / "tokenizer")
    return CLIPTokenizer.from_pretrained(folder / "tokenizer", model_max_length=16)


def _saved(pipeline: Any, folder: Path) -> Path:
    pipeline.save_pretrained(folder)
    return folder
