"""The public U-Net classes that are read and written, by name, and the config.json of the checkpoints that made them known."""

from __future__ import annotations

from flipbook.interop.keys.unet_animatediff import MOTION
from flipbook.interop.keys.unet_common import Json, UNetLayout
from flipbook.interop.keys.unet_image import IMAGE
from flipbook.interop.keys.unet_modelscope import MODELSCOPE
from flipbook.interop.keys.unet_svd import SVD

LAYOUTS: dict[str, UNetLayout] = {layout.class_name: layout for layout in (IMAGE, MOTION, MODELSCOPE, SVD)}
"""Layouts by `_class_name`. A `MotionAdapter` is no network of its own: see `unet_animatediff.load_adapter`."""


def _blocks(kind: str, levels: int = 4) -> Json:
    return {
        "down_block_types": [f"CrossAttnDownBlock{kind}"] * (levels - 1) + [f"DownBlock{kind}"],
        "up_block_types": [f"UpBlock{kind}"] + [f"CrossAttnUpBlock{kind}"] * (levels - 1),
    }


_WIDTHS: Json = {"block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2}
_SD_1 = {**_WIDTHS, **_blocks("2D"), "in_channels": 4, "out_channels": 4, "cross_attention_dim": 768, "attention_head_dim": 8}
_SD_2 = {**_SD_1, "cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True}
_SVD = {
    **_WIDTHS, **_blocks("SpatioTemporal"), "in_channels": 8, "out_channels": 4, "cross_attention_dim": 1024, "num_attention_heads": [5, 10, 20, 20],
    "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 768, "transformer_layers_per_block": 1,
}  # fmt: skip
_ADAPTER = {"motion_layers_per_block": 2, "motion_num_attention_heads": 8, "motion_norm_num_groups": 32, "block_out_channels": [320, 640, 1280, 1280]}

PUBLIC: dict[str, Json] = {
    "stable-diffusion-1.5": {"_class_name": "UNet2DConditionModel", **_SD_1},
    "stable-diffusion-1.5-inpainting": {"_class_name": "UNet2DConditionModel", **_SD_1, "in_channels": 9},
    "stable-diffusion-2.1": {"_class_name": "UNet2DConditionModel", **_SD_2, "upcast_attention": True},
    "animatediff-v1": {"_class_name": "MotionAdapter", **_ADAPTER, "motion_max_seq_length": 24, "use_motion_mid_block": False},
    "animatediff-v2": {"_class_name": "MotionAdapter", **_ADAPTER, "motion_max_seq_length": 32, "use_motion_mid_block": True},
    "animatediff-v3": {"_class_name": "MotionAdapter", **_ADAPTER, "motion_max_seq_length": 32, "use_motion_mid_block": False},
    "modelscope-t2v": {
        "_class_name": "UNet3DConditionModel", **_WIDTHS, **_blocks("3D"), "in_channels": 4, "out_channels": 4,
        "cross_attention_dim": 1024, "attention_head_dim": 64,
    },
    "stable-video-diffusion": {"_class_name": "UNetSpatioTemporalConditionModel", **_SVD, "num_frames": 14},
    "stable-video-diffusion-xt": {"_class_name": "UNetSpatioTemporalConditionModel", **_SVD, "num_frames": 25},
}  # fmt: skip
"""The networks' part of well-known checkpoints, at full size: enough to build them, and to know what a file of theirs must hold."""
