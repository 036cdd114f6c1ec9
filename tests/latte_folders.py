"""A folder of Latte's pipeline, written by diffusers: the exact layout, tiny sizes, random weights in every tensor."""

from __future__ import annotations

from pathlib import Path

import torch

from public_folders import randomised
from wan_folders import LETTERS, tokenizer

FRAMES = 3


def write_latte(folder: Path) -> Path:
    """Text to video."""
    import diffusers
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    net = diffusers.LatteTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=8, num_layers=2, sample_size=8, patch_size=2, caption_channels=16,
        cross_attention_dim=32, attention_bias=True, activation_fn="gelu-approximate", norm_type="ada_norm_single", norm_elementwise_affine=False,
        norm_eps=1e-6, num_embeds_ada_norm=1000, video_length=FRAMES,
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=8
    )
    config = T5Config(vocab_size=len(LETTERS), d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4)
    scheduler = diffusers.DDIMScheduler(beta_schedule="linear", beta_start=1e-4, beta_end=0.02, clip_sample=False)
    diffusers.LattePipeline(
        tokenizer=tokenizer(folder / "tokenizer"), text_encoder=T5EncoderModel(config).eval(), vae=randomised(vae), transformer=randomised(net),
        scheduler=scheduler,
    ).save_pretrained(folder)  # fmt: skip
    return folder
